"""Have the stack's functions convert data files of an export, many at once, by a Distributed Map (Step Functions)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastetl.aws import Ledger, StateMachine
from fastetl.backfill.export_format import DataFile, Export
from fastetl.errors import ExportError
from fastetl.model import Backfill

POLL_SECONDS = 5.0


def build_input(backfill: Backfill, export: Export) -> dict[str, Any]:
    """Build what the state machine is started with; see `template.yaml`, `BackfillMap`."""
    if not backfill.location.startswith("s3://"):
        raise ExportError(f"{backfill.location} is on this machine: copy it to a bucket, or leave --distributed out")
    bucket = backfill.location.removeprefix("s3://").partition("/")[0]
    asked = {"pipeline": backfill.pipeline, "epoch": backfill.epoch, "export": backfill.name}
    return {**asked, "bucket": bucket, "key": export.files_key}


async def convert_on_lambda(
    machine: StateMachine,
    backfill: Backfill,
    export: Export,
    files: Sequence[DataFile],
    ledger: Ledger,
    *,
    started_at: float,
    poll_seconds: float = POLL_SECONDS,
) -> AsyncIterator[DataFile]:
    """Start the state machine, and give each data file as the ledger says that it is done.

    Args:
        machine: the stack's.
        backfill: what is carried over.
        export: its export.
        files: those that are not done.
        ledger: where the functions write down what they have done.
        started_at: Unix seconds, now; names the execution.
        poll_seconds: between two looks.

    Raises:
        ExportError: the execution failed; starting it again goes on.
        StackError: Step Functions did not take a call.
    """
    left = {file.name: file for file in files}
    name = f"{backfill.pipeline}-{backfill.epoch}-{int(started_at)}"
    execution = await machine.start(name, build_input(backfill, export))
    status = "RUNNING"
    while status == "RUNNING":
        await asyncio.sleep(poll_seconds)
        status = await machine.status(execution)
        for done in await ledger.backfills.converted(backfill, left):
            yield left.pop(done)
    if left or status != "SUCCEEDED":
        raise ExportError(f"{execution}: {status}, {len(left)} data files are not done; start again")
