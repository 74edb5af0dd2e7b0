"""The backfill function: one data file of an export becomes files on S3. Wiring only; the story is `backfill`.

Step Functions calls it for every data file, and `fastetl backfill` does so in processes of its own. What it has done it
writes down in the ledger; done again, it changes nothing.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aws_lambda_powertools import Logger

from fastetl.lambdas.environment import (
    ENVIRON,
    TASK_ROOT,
    build_deployments,
    limit_threads,
    read_config,
)

limit_threads()

from fastetl.aws import References, open_clients
from fastetl.backfill import Converter, DataFile, Export, ExportFolder
from fastetl.enrich import make_enricher
from fastetl.errors import ExportError, FastetlError, find_places
from fastetl.ingest import FileStore
from fastetl.model import Backfill, Converted
from fastetl.versions import EpochStart

if TYPE_CHECKING:
    from fastetl.config import Pipeline

logger = Logger(service="backfill")


class Task(msgspec.Struct, frozen=True):
    """What the function is given."""

    pipeline: str
    epoch: int
    export: str
    """`Backfill.name`."""
    file: DataFile
    """A line of the export's manifest-files.json."""


class _Opened(msgspec.Struct, frozen=True):
    backfill: Backfill
    folder: Any
    export: Export
    epochs: tuple[EpochStart, ...]


_config, _problems = read_config()
_runner = asyncio.Runner()
_s3, _dynamodb = _runner.run(open_clients("s3", "dynamodb", region=_config.region))
_deployments = build_deployments(_config, {"s3": _s3, "dynamodb": _dynamodb})
_references = References(
    _s3, _config.references, root=TASK_ROOT, folder=Path(tempfile.gettempdir(), "fastetl-references")
)
for _problem in _problems:
    logger.error("a pipeline cannot be set up", problem=str(_problem))
_converters: dict[str, Converter] = {}
_opened: dict[tuple[str, int, str], _Opened] = {}


def handler(event: Any, _context: Any = None) -> dict[str, Any]:
    """Convert a `Task`; give the `Converted`, both as JSON.

    Raises:
        ExportError, StorageError, LedgerError: it is not done; try again.
        RuntimeError: a defect, of which the log has the place; its own message may quote an item.
    """
    task = _parse(event)
    try:
        converted = _runner.run(_convert(task))
    except FastetlError:
        raise
    except Exception as error:  # noqa: BLE001 - to keep its message to itself; other pipelines' tasks go on
        what = type(error).__name__
        logger.error("unexpected error", pipeline=task.pipeline, error=what, where=find_places(error))  # noqa: TRY400
        raise RuntimeError(f"unexpected {what}; the log says where") from None
    counts: dict[str, Any] = msgspec.to_builtins(converted)
    logger.info("converted", pipeline=task.pipeline, epoch=task.epoch, key=task.file.key, counts=counts)
    return counts


def _parse(event: Any) -> Task:
    try:
        task = msgspec.convert(event, Task)
    except msgspec.ValidationError as error:
        raise ExportError(f"no task of a backfill: {error}; begin one with `fastetl backfill`") from error
    if task.pipeline not in _deployments:
        raise ExportError(f"{task.pipeline} is no pipeline here, or cannot be set up; the function's log says why")
    return task


def close() -> None:
    """Close the clients. Lambda's environments just end; a process of `fastetl backfill` does so in silence."""

    async def close_each() -> None:
        for client in (_s3, _dynamodb):
            await client.close()

    _runner.run(close_each())


async def _convert(task: Task) -> Converted:
    opened = await _open(task.pipeline, task.epoch, task.export)
    converter = await _converter(_config.pipeline(task.pipeline))
    with tempfile.TemporaryDirectory(prefix="fastetl-export-") as directory:
        path = Path(directory, "data.json.gz")
        await opened.folder.fetch(task.file, path)
        converted = await converter.convert(opened.export, task.file, path, opened.epochs, opened.backfill.split_bytes)
    await _deployments[task.pipeline].ledger.backfills.put_converted(opened.backfill, converted)
    return converted


async def _open(pipeline: str, epoch: int, export_name: str) -> _Opened:
    asked = (pipeline, epoch, export_name)
    if asked not in _opened:
        deployment = _deployments[pipeline]
        backfill = await deployment.ledger.backfills.read(pipeline, epoch, export_name)
        if backfill is None:
            raise ExportError(
                f"{pipeline} has no backfill of this export in epoch {epoch}; begin it with `fastetl backfill`"
            )
        head = await deployment.ledger.batches.head(pipeline)
        if head is None or head.stack != deployment.owner:
            # HEAD was lost. The epochs that a coordinator gives it again must be there: rows are stamped by them.
            raise ExportError(
                f"the epochs of {pipeline} are not known: the coordinator reads them from the warehouse when it next"
                " wakes; its log says what keeps it. Then start `fastetl backfill` again: it goes on where it was"
            )
        folder = ExportFolder(_s3, backfill.location)
        export, _ = await folder.read()
        _opened[asked] = _Opened(backfill, folder, export, head.epochs)
    return _opened[asked]


async def _converter(pipeline: Pipeline) -> Converter:
    if pipeline.name not in _converters:
        # Not while the function starts: Lambda gives that ten seconds.
        for reason in (await _references.refresh(pipeline.references))[1]:
            logger.error("a pipeline cannot be set up", pipeline=pipeline.name, problem=reason)
        files = FileStore(_deployments[pipeline.name])
        _converters[pipeline.name] = Converter(pipeline, files, make_enricher(pipeline, ENVIRON, _references.paths))
    return _converters[pipeline.name]
