"""The packaged ingest function as Lambda runs it: its own Python, its folder alone, the real runtime client.

`make test-package` builds the folder for this machine and names it in FASTETL_PACKAGE.
"""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import boto3
import orjson
import pytest
from finish import RUNTIME, find_interpreter

from fastetl.ledger import TABLE_SCHEMA
from fastetl.local.lambda_environment import FunctionSettings
from fastetl.local.lambda_runtime import Function
from fastetl.local.moto_process import MotoProcess
from fastetl.local.stack import BUCKET, CREDENTIALS, LEDGER_TABLE

FOLDER = Path(os.environ["FASTETL_PACKAGE"]).resolve()
CLIENT = Path(os.environ["FASTETL_RUNTIME"]).resolve()
"""The runtime client, which on Lambda is the runtime's own."""

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"


@pytest.mark.asyncio
async def test_one_event_in_one_file_out() -> None:
    interpreter = find_interpreter()
    assert interpreter, f"Python {RUNTIME} is needed to run the package: .venv/bin/uv python install {RUNTIME}"
    moto = MotoProcess(0)
    await moto.start()
    try:
        environment = {
            **CREDENTIALS, "AWS_ENDPOINT_URL": moto.endpoint_url, "FASTETL_BUCKET": BUCKET,
            "FASTETL_LEDGER_TABLE": LEDGER_TABLE, "FASTETL_REDSHIFT_WORKGROUP": "local", "PATH": os.environ["PATH"],
            "LAMBDA_TASK_ROOT": str(FOLDER), "PYTHONPATH": f"{FOLDER}:{CLIENT}", "PYTHONNOUSERSITE": "1",
        }  # fmt: skip
        credentials = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        s3 = boto3.client("s3", endpoint_url=moto.endpoint_url, **credentials)
        s3.create_bucket(Bucket=BUCKET)
        dynamodb = boto3.client("dynamodb", endpoint_url=moto.endpoint_url, **credentials)
        dynamodb.create_table(TableName=LEDGER_TABLE, BillingMode="PAY_PER_REQUEST", **TABLE_SCHEMA)
        # The stand-in names this process's interpreter; the package has one of its own.
        wrapper = ("sh", "-c", f'shift; exec "{interpreter}" "$@"', "sh")
        settings = FunctionSettings("ingest", "fastetl.lambdas.ingest.handler", environment, wrapper=wrapper)
        record = {
            "eventID": "e1", "eventName": "INSERT", "eventSourceARN": ARN,
            "dynamodb": {
                "ApproximateCreationDateTime": int(time.time()), "SequenceNumber": "1",
                "Keys": {"id": {"N": "1"}}, "NewImage": {"id": {"N": "1"}, "note": {"S": "packed"}},
            },
        }  # fmt: skip
        async with Function(settings) as function:
            result = await function.invoke(orjson.dumps({"Records": [record]}))
        assert not result.error, result
        (key,) = [each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET, Prefix="data/")["Contents"]]
        line = gzip.decompress(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).decode()
        assert line.startswith("N=1;,")
        assert line.endswith(",1,packed\n")
        (item,) = [each for each in dynamodb.scan(TableName=LEDGER_TABLE)["Items"] if each["pk"]["S"].startswith("F#")]
        assert item["key"]["S"] == key
    finally:
        await moto.stop()
