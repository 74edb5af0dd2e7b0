"""`fastetl backfill`, `resync` and `reload`: what is older than the stream, was missed by it, or is to be made anew."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import msgspec
import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fastetl.aws import StateMachine, open_clients
from fastetl.backfill import (
    Backfiller,
    DataFile,
    Export,
    ExportFolder,
    Throttle,
    Unfinished,
    convert_on_lambda,
    scan_table,
)
from fastetl.cli.output import (
    DEFAULT_CONFIG,
    ConfigPath,
    Since,
    Until,
    choose_pipeline,
    echo_json,
    parse_hours,
    problems,
)
from fastetl.cli.reach import Reach, run
from fastetl.config import Pipeline
from fastetl.errors import ExportError, SourceError, StaleStepError
from fastetl.model import Backfill
from fastetl.operate import Reloaded
from fastetl.versions import EpochStart

POLL_SECONDS = 5.0

Which = Annotated[str, typer.Argument(help="The pipeline, where there are several.")]
Location = Annotated[
    str,
    typer.Option("--export", help="An export that is there: s3://bucket/…/AWSDynamoDB/<id>, or a folder's path."),
]
ByScan = Annotated[bool, typer.Option("--scan", help="Read the table itself instead of exporting it.")]
Rate = Annotated[float, typer.Option(help="Read units a second for --scan; 0 sets no limit.")]
Workers = Annotated[int, typer.Option(help="Processes; 0 takes as many as there are cores.")]
Distributed = Annotated[str, typer.Option("--distributed", help="ARN of the stack's state machine: convert there.")]
Wait = Annotated[bool, typer.Option(help="Wait until everything is loaded.")]


class Options(msgspec.Struct, frozen=True):
    """How to go about it."""

    config: Path
    resync: bool
    export: str = ""
    scan: bool = False
    rate: float = 0.0
    workers: int = 0
    distributed: str = ""
    wait: bool = True
    read_since_export: bool = False
    despite_rejects: bool = False


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backfill)
    app.command()(resync)
    app.command()(reload)


def backfill(
    pipeline: Which = "",
    config: ConfigPath = DEFAULT_CONFIG,
    export: Location = "",
    read_since_export: Annotated[
        bool, typer.Option(help="The stream has been read without a gap since before --export was taken.")
    ] = False,
    scan: ByScan = False,
    rate: Rate = 0.0,
    workers: Workers = 0,
    distributed: Distributed = "",
    wait: Wait = True,
) -> None:
    """Carry over what is in the table already. Started again, it goes on where it was.

    Changes have to flow first: the stack deployed, the stream read.
    """
    options = Options(config, False, export, scan, rate, workers, distributed, wait, read_since_export)
    run(config, lambda reach: _carry_over(reach, choose_pipeline(reach.config, pipeline), options))


def resync(
    pipeline: Which = "",
    config: ConfigPath = DEFAULT_CONFIG,
    export: Location = "",
    scan: ByScan = False,
    rate: Rate = 0.0,
    workers: Workers = 0,
    distributed: Distributed = "",
    wait: Wait = True,
    despite_rejects: Annotated[
        bool, typer.Option(help="Delete rows although items of the export were rejected, theirs among them.")
    ] = False,
) -> None:
    """Mend a gap: carry everything over again, then delete rows that the table no longer has."""
    options = Options(config, True, export, scan, rate, workers, distributed, wait, despite_rejects=despite_rejects)
    run(config, lambda reach: _carry_over(reach, choose_pipeline(reach.config, pipeline), options))


def reload(
    into: Annotated[str, typer.Option(help="schema.table; not the pipeline's own.")],
    pipeline: Which = "",
    config: ConfigPath = DEFAULT_CONFIG,
    since: Since = "",
    until: Until = "",
) -> None:
    """Make a table anew from the files on S3, beside the running pipeline. Started again, it goes on."""
    schema, _, target = into.partition(".")
    hours = parse_hours(since, until)

    async def work(reach: Reach) -> Reloaded:
        reloader = reach.reloader(choose_pipeline(reach.config, pipeline), (schema, target))
        with _progress() as progress:
            task = progress.add_task("files loaded", total=None)

            def show(done: Reloaded) -> None:
                what = f"{done.restoring} files come from the archive" if done.restoring else "files loaded"
                progress.update(task, completed=done.loaded, total=done.files, description=what)

            return await reloader.reload(*hours, show)

    echo_json(run(config, work))


async def _carry_over(reach: Reach, pipeline: Pipeline, options: Options) -> None:
    backfiller = reach.backfiller(pipeline)
    with _progress() as progress:
        location = options.export or await _export(reach, pipeline, backfiller, options, progress)
        export, files = await ExportFolder(reach.s3, location).read()
        opened = await backfiller.open(
            location, export, files, resync=options.resync, read_since_export=options.read_since_export
        )
        left = await backfiller.left(opened, files)
        items = sum(file.items for file in left)
        task = progress.add_task(f"items of {export.kind} export", total=export.items, completed=export.items - items)
        failed: list[str] = []
        async for file, problem in _convert(reach, opened, export, left, options):
            progress.advance(task, 0 if problem else file.items)
            failed += [problem] * bool(problem)
            if problem:
                problems.print(problem, style="red", markup=False, soft_wrap=True)
        if failed:
            raise ExportError(f"{len(failed)} of {len(files)} data files are not done; mend them, and start again")
        if options.wait:
            await _wait(reach, backfiller, opened, export, options, progress)


async def _export(
    reach: Reach, pipeline: Pipeline, backfiller: Backfiller, options: Options, progress: Progress
) -> str:
    """Have the table exported, or go on with an export that was begun; give its folder."""
    table = await reach.source(pipeline).describe()
    if pipeline.source == "stream" and table.view_type not in {"NEW_IMAGE", "NEW_AND_OLD_IMAGES"}:
        raise SourceError(f"{table.name} has no stream with new images; enable one, and deploy, before a backfill")
    start = await _epoch(reach, pipeline, backfiller)
    if (known := await reach.ledger.backfill(pipeline.name, start.epoch)) and known.state != "FINISHED":
        return known.location
    waiting = progress.add_task(f"epoch {start.epoch} begins", total=None)
    await backfiller.wait_for(start)
    progress.remove_task(waiting)
    folder = f"{reach.config.prefix}exports/{pipeline.name}/{start.epoch:04d}"
    if options.scan:
        task = progress.add_task("segments read")
        await scan_table(
            reach.source(pipeline),
            reach.bucket,
            f"{folder}/AWSDynamoDB/scan-{start.epoch:04d}",
            Throttle(options.rate, time.time, asyncio.sleep),
            exported_at=int(time.time()),
            on_segment=lambda done, of: progress.update(task, completed=done, total=of),
        )
        return f"s3://{reach.config.bucket}/{folder}/AWSDynamoDB/scan-{start.epoch:04d}"
    token = f"fastetl-{start.epoch}-{start.starts_at}"
    arn = await reach.source(pipeline).export(reach.config.bucket, folder, token)
    task = progress.add_task("DynamoDB exports the table", total=None)
    while not await reach.source(pipeline).exported(arn):  # noqa: ASYNC110 - it can only be polled
        await asyncio.sleep(POLL_SECONDS)
    progress.remove_task(task)
    return f"s3://{reach.config.bucket}/{folder}/AWSDynamoDB/{arn.rpartition('/')[2]}"


async def _epoch(reach: Reach, pipeline: Pipeline, backfiller: Backfiller) -> EpochStart:
    """Begin an epoch, unless the last one has not been used to its end."""
    head = await reach.ledger.head(pipeline.name)
    if head and head.epochs:
        last = max(head.epochs, key=lambda start: start.epoch)
        known = await reach.ledger.backfill(pipeline.name, last.epoch)
        if known is None or known.state != "FINISHED":
            return last
    return await backfiller.begin_epoch()


async def _convert(
    reach: Reach, backfill: Backfill, export: Export, files: Sequence[DataFile], options: Options
) -> AsyncIterator[tuple[DataFile, str]]:
    """Convert data files, here or in the stack; give each as it is done, and what went wrong with it."""
    if not files:
        return
    if options.distributed:
        (client,) = await open_clients("stepfunctions", region=reach.config.region)
        async with client:
            machine = StateMachine(client, options.distributed)
            async for file in convert_on_lambda(machine, backfill, export, files, reach.ledger, started_at=time.time()):
                yield file, ""
        return
    config = options.config.resolve()
    os.environ |= {"FASTETL_CONFIG": str(config), "LAMBDA_TASK_ROOT": str(config.parent)}
    os.environ |= {"POLARS_MAX_THREADS": "1", "POWERTOOLS_LOG_LEVEL": "WARNING"}
    workers = min(options.workers or os.cpu_count() or 1, len(files))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()

        async def convert(file: DataFile) -> tuple[DataFile, str]:
            task = {"pipeline": backfill.pipeline, "epoch": backfill.epoch, "file": msgspec.to_builtins(file)}
            try:
                await loop.run_in_executor(pool, convert_here, orjson.dumps(task))
            except Exception as error:  # noqa: BLE001 - of another process; the other files go on
                return file, f"{file.key}: {type(error).__name__}: {error}"
            return file, ""

        for done in asyncio.as_completed([convert(file) for file in files]):
            yield await done


def convert_here(task: bytes) -> None:
    """Do what the backfill function does, in a process of its own."""
    from fastetl.lambdas.backfill import handler  # noqa: PLC0415 - it opens clients

    handler(orjson.loads(task))


async def _wait(
    reach: Reach, backfiller: Backfiller, backfill: Backfill, export: Export, options: Options, progress: Progress
) -> None:
    task = progress.add_task("waiting for loads", total=None)
    while left := await backfiller.finish(backfill, despite_rejects=options.despite_rejects):
        if not left.pending:
            raise ExportError(explain(left))
        try:
            await reach.operator(reach.config.pipeline(backfill.pipeline)).load_now()
        except StaleStepError:
            continue
        await asyncio.sleep(POLL_SECONDS)
    progress.remove_task(task)
    what = "carried over, and what is gone deleted" if backfill.resync else "carried over"
    problems.print(f"{export.items:,} items {what}", highlight=False)


def explain(left: Unfinished) -> str:
    """Say what keeps a backfill from its end, and what to do."""
    reasons = (
        (left.data_files, "data files are not converted", "start again"),
        (left.quarantined, "files are in quarantine", "`fastetl quarantine list`, then retry or drop them"),
        (left.rejected, "items of the export are rejects", "mend the columns and export anew, or --despite-rejects"),
    )
    return "; ".join(f"{count} {what}: {remedy}" for count, what, remedy in reasons if count)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(show_speed=True), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=problems)
