"""The packages as Lambda runs them: its own Python, their folders alone, the real runtime client.

`make test-package` builds them for this machine, and names them in FASTETL_INGEST and FASTETL_COORDINATOR.
"""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest
import pytest_asyncio
from finish import RUNTIME, find_interpreter

from fastetl.aws.ledger import TABLE_SCHEMA
from fastetl.local.environment import BUCKET, CREDENTIALS, LEDGER_TABLE
from fastetl.local.functions.lambda_environment import FunctionSettings
from fastetl.local.functions.lambda_runtime import Function
from fastetl.local.moto_process import MotoProcess

FOLDERS = {name: Path(os.environ[f"FASTETL_{name.upper()}"]).resolve() for name in ("ingest", "coordinator")}
CLIENT = Path(os.environ["FASTETL_RUNTIME"]).resolve()
"""The runtime client, which on Lambda is the runtime's own."""

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
SDK = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}

tracing = pytest.mark.parametrize("tracing", ["false", "true"])


class Services:
    """A bucket and a ledger."""

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        self.s3: Any = boto3.client("s3", endpoint_url=endpoint_url, **SDK)
        self.dynamodb: Any = boto3.client("dynamodb", endpoint_url=endpoint_url, **SDK)
        self.s3.create_bucket(Bucket=BUCKET)
        self.dynamodb.create_table(TableName=LEDGER_TABLE, BillingMode="PAY_PER_REQUEST", **TABLE_SCHEMA)

    def function(self, root: str, package: str, tracing: str) -> Function:
        """Give the function of a root, run from a package."""
        interpreter = find_interpreter()
        assert interpreter, f"Python {RUNTIME} is needed to run the package: .venv/bin/uv python install {RUNTIME}"
        folder = FOLDERS[package]
        environment = {
            **CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint_url, "FASTETL_BUCKET": BUCKET,
            "FASTETL_LEDGER_TABLE": LEDGER_TABLE, "FASTETL_REDSHIFT_WORKGROUP": "local", "PATH": os.environ["PATH"],
            "FASTETL_TRACING": tracing, "LAMBDA_TASK_ROOT": str(folder), "PYTHONPATH": f"{folder}:{CLIENT}",
            "PYTHONNOUSERSITE": "1",
        }  # fmt: skip
        # The stand-in names this process's interpreter; the package has one of its own.
        wrapper = ("sh", "-c", f'shift; exec "{interpreter}" "$@"', "sh")
        return Function(FunctionSettings(root, f"fastetl.lambdas.{root}.handler", environment, wrapper=wrapper))

    def items(self, prefix: str) -> list[dict[str, Any]]:
        """Read the ledger's items of one kind."""
        every = self.dynamodb.scan(TableName=LEDGER_TABLE)["Items"]
        return [item for item in every if item["pk"]["S"].startswith(prefix)]


@pytest_asyncio.fixture
async def services() -> AsyncIterator[Services]:
    moto = MotoProcess(0)
    await moto.start()
    yield Services(moto.endpoint_url)
    await moto.stop()


@pytest.mark.asyncio
@tracing
async def test_one_event_in_one_file_out(services: Services, tracing: str) -> None:
    record = {
        "eventID": "e1", "eventName": "INSERT", "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": int(time.time()), "SequenceNumber": "1",
            "Keys": {"id": {"N": "1"}}, "NewImage": {"id": {"N": "1"}, "note": {"S": "packed"}},
        },
    }  # fmt: skip
    async with services.function("ingest", "ingest", tracing) as function:
        result = await function.invoke(orjson.dumps({"Records": [record]}))
    assert not result.error, result
    (ingested,) = [record for record in result.records if record.get("message") == "ingested"]
    assert (ingested["DecodedNative"], ingested["NativeMissing"], ingested["NativeErrors"]) == (1, 0, 0)
    (key,) = [each["Key"] for each in services.s3.list_objects_v2(Bucket=BUCKET, Prefix="data/")["Contents"]]
    line = gzip.decompress(services.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).decode()
    assert line.startswith("N=1;,")
    assert line.endswith(",1,packed\n")
    (item,) = services.items("F#")
    assert item["key"]["S"] == key


@pytest.mark.asyncio
@tracing
async def test_the_coordinator_wakes_up(services: Services, tracing: str) -> None:
    assert not (FOLDERS["coordinator"] / "polars").exists()
    async with services.function("coordinator", "coordinator", tracing) as function:
        result = await function.invoke(b"{}")
    assert not result.error, result
    assert orjson.loads(result.payload) == {"orders": []}
    assert len(services.items("P#")) == 1


@pytest.mark.asyncio
@tracing
async def test_the_backfill_function_looks_for_its_backfill(services: Services, tracing: str) -> None:
    file = {"dataFileS3Key": "data/a.json.gz", "itemCount": 1, "md5Checksum": "x"}
    async with services.function("backfill", "ingest", tracing) as function:
        result = await function.invoke(
            orjson.dumps({"pipeline": "orders", "epoch": 1, "export": "1" * 32, "file": file})
        )
    assert "orders has no backfill of this export in epoch 1" in result.payload.decode()


@pytest.mark.parametrize("package", FOLDERS)
def test_the_code_is_compiled_for_the_runtime(package: str) -> None:
    version = RUNTIME.replace(".", "")
    sources = list((FOLDERS[package] / "fastetl").rglob("*.py"))
    assert sources
    missing = [
        path for path in sources if not (path.parent / "__pycache__" / f"{path.stem}.cpython-{version}.pyc").exists()
    ]
    assert not missing


@pytest.mark.parametrize("package", FOLDERS)
def test_a_package_holds_neither_the_command_line_nor_the_stand_ins_nor_the_tuner(package: str) -> None:
    folder = FOLDERS[package] / "fastetl"
    assert (folder / "lambdas").is_dir()
    assert not [name for name in ("cli", "local", "tune") if (folder / name).exists()]
