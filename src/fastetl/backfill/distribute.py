"""Data files of an export converted by the stack's own functions, many at once: a Distributed Map of Step Functions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aioboto3
import orjson
from botocore.exceptions import BotoCoreError, ClientError

from fastetl.aws import Ledger
from fastetl.backfill.export_format import DataFile, Export
from fastetl.errors import ExportError
from fastetl.model import Backfill

POLL_SECONDS = 5.0


def build_input(backfill: Backfill, export: Export) -> dict[str, Any]:
    """Build what the state machine is started with; see `template.yaml`, `BackfillMap`."""
    if not backfill.location.startswith("s3://"):
        raise ExportError(f"{backfill.location} is on this machine: copy it to a bucket, or leave --distributed out")
    bucket = backfill.location.removeprefix("s3://").partition("/")[0]
    return {"pipeline": backfill.pipeline, "epoch": backfill.epoch, "bucket": bucket, "key": export.files_key}


async def convert_on_lambda(
    state_machine: str, backfill: Backfill, export: Export, files: Sequence[DataFile], ledger: Ledger, region: str
) -> AsyncIterator[DataFile]:
    """Start the state machine, and give each data file as the ledger says that it is done.

    Raises:
        ExportError: the execution failed; starting it again goes on.
    """
    session: Any = aioboto3.Session(region_name=region or None)
    left = {file.name: file for file in files}
    async with session.client("stepfunctions") as client:
        execution = await _call(
            client.start_execution(
                stateMachineArn=state_machine,
                name=f"{backfill.pipeline}-{backfill.epoch}-{int(time.time())}",
                input=orjson.dumps(build_input(backfill, export)).decode(),
            )
        )
        status = "RUNNING"
        while status == "RUNNING":
            await asyncio.sleep(POLL_SECONDS)
            status = (await _call(client.describe_execution(executionArn=execution["executionArn"])))["status"]
            for name in left.keys() & (await ledger.converted(backfill)).keys():
                yield left.pop(name)
    if left or status != "SUCCEEDED":
        raise ExportError(f"{execution['executionArn']}: {status}, {len(left)} data files are not done; start again")


async def _call(call: Any) -> Any:
    try:
        return await call
    except (ClientError, BotoCoreError) as error:
        raise ExportError(f"Step Functions: {error}") from error
