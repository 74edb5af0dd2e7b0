"""The packages as Lambda runs them: its own Python, their folders alone, the real runtime client.

`make test-package` builds them for this machine, and names them in FASTETL_INGEST and FASTETL_COORDINATOR.
"""

from __future__ import annotations

import gzip
import os
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from finish import RUNTIME, find_interpreter

from fastetl.aws import build_deployment
from fastetl.local.environment import BUCKET
from fastetl.local.functions import Function, FunctionSettings
from fastetl.local.stack import Embedded
from fastetl.operate import Operator
from fastetl.sql import Statement

CONFIG = Path("fastetl.toml").read_text()
FOLDERS = {name: Path(os.environ[f"FASTETL_{name.upper()}"]).resolve() for name in ("ingest", "coordinator")}
CLIENT = Path(os.environ["FASTETL_RUNTIME"]).resolve()
"""The runtime client, which on Lambda is the runtime's own."""

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
tracing = pytest.mark.parametrize("tracing", ["false", "true"])


def get_function(stack: Embedded, root: str, package: str, tracing: str) -> Function:
    """Give the function of a root, run from a package."""
    interpreter = find_interpreter()
    assert interpreter, f"Python {RUNTIME} is needed to run the package: .venv/bin/uv python install {RUNTIME}"
    folder = FOLDERS[package]
    environment = {
        **stack.environment, "PATH": os.environ["PATH"], "FASTETL_TRACING": tracing, "LAMBDA_TASK_ROOT": str(folder),
        "PYTHONPATH": f"{folder}:{CLIENT}", "PYTHONNOUSERSITE": "1",
    }  # fmt: skip
    # The stand-in names this process's interpreter; the package has one of its own.
    wrapper = ("sh", "-c", f'shift; exec "{interpreter}" "$@"', "sh")
    return Function(FunctionSettings(root, f"fastetl.lambdas.{root}.handler", environment, wrapper=wrapper))


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[Embedded]:
    """Give services and tables, without functions that would read or load anything themselves."""
    async with Embedded(CONFIG) as stack:
        await stack.create_tables()
        yield stack


@pytest.mark.asyncio
@tracing
async def test_one_event_in_one_row_in_the_mirror_out(stack: Embedded, tracing: str) -> None:
    record = {
        "eventID": "e1", "eventName": "INSERT", "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": int(time.time()), "SequenceNumber": "1",
            "Keys": {"id": {"N": "1"}}, "NewImage": {"id": {"N": "1"}, "note": {"S": "packed"}},
        },
    }  # fmt: skip
    async with get_function(stack, "ingest", "ingest", tracing) as function:
        result = await function.invoke(orjson.dumps({"Records": [record]}))
    assert not result.error, result
    (ingested,) = [record for record in result.records if record.get("message") == "ingested"]
    assert (ingested["DecodedNative"], ingested["NativeMissing"], ingested["NativeErrors"]) == (1, 0, 0)
    (key,) = [each["Key"] for each in (await stack.s3.list_objects_v2(Bucket=BUCKET, Prefix="data/"))["Contents"]]
    line = gzip.decompress(await (await stack.s3.get_object(Bucket=BUCKET, Key=key))["Body"].read()).decode()
    assert line.startswith("N=1;,")
    assert line.endswith(",1,packed\n")

    (pipeline,) = stack.config.pipelines
    clients = {"s3": stack.s3, "dynamodb": stack.dynamodb, "redshift-data": stack.redshift}
    deployment = build_deployment(stack.config, pipeline, clients, clock=time.time, new_name=lambda: uuid.uuid4().hex)
    await Operator(deployment).load_now()
    assert not (FOLDERS["coordinator"] / "polars").exists()
    rows: list[dict[str, Any]] = []
    async with get_function(stack, "coordinator", "coordinator", tracing) as function:
        deadline = time.monotonic() + 60
        while not rows and time.monotonic() < deadline:
            result = await function.invoke(b"{}")
            assert not result.error, result
            ((*rows,),) = await stack.run_sql(pipeline, (Statement("read", 'SELECT "note" FROM public.orders'),))
    assert rows == [{"stringValue": "packed"}]


@pytest.mark.asyncio
@tracing
async def test_the_backfill_function_looks_for_its_backfill(stack: Embedded, tracing: str) -> None:
    file = {"dataFileS3Key": "data/a.json.gz", "itemCount": 1, "md5Checksum": "x"}
    async with get_function(stack, "backfill", "ingest", tracing) as function:
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
