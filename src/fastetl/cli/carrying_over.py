"""Carry a table over, for `fastetl backfill` and `fastetl resync`: an epoch, an export, conversion, loads."""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fastetl.aws import Deployment, StateMachine, open_clients
from fastetl.backfill import (
    CLOCK_SLACK_SECONDS,
    Backfiller,
    DataFile,
    Export,
    ExportFolder,
    Throttle,
    Unfinished,
    convert_on_lambda,
    scan_table,
)
from fastetl.cli.deployments import Deployments
from fastetl.cli.failures import find_problems, write
from fastetl.cli.output import tell, write_count, write_duration
from fastetl.errors import ConfigError, ExportError, FastetlError, Problem, SourceError, StaleStepError
from fastetl.model import Backfill
from fastetl.operate import Operator
from fastetl.versions import EpochStart

POLL_SECONDS = 5.0


class Options(msgspec.Struct, frozen=True):
    """How to go about it."""

    config: Path
    resync: bool = False
    export: str = ""
    scan: bool = False
    rate: float = 0.0
    workers: int = 0
    distributed: str = ""
    wait: bool = True
    read_since_export: bool = False
    despite_rejects: bool = False


def open_progress() -> Progress:
    """Open progress bars on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(show_speed=True), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def check_options(options: Options) -> None:
    """Check the options that only some others make sense with.

    Raises:
        ConfigError: two contradict each other, or one has no meaning.
    """
    bucket, _, prefix = options.export.removeprefix("s3://").partition("/")
    wrong = (
        (
            options.export and options.scan,
            "--scan",
            "an export that is there is not read from the table",
            "Leave one out",
        ),
        (options.rate and not options.scan, "--rate", "only --scan reads the table", "Add --scan, or leave it out"),
        (
            options.read_since_export and not options.export,
            "--read-since-export",
            "it is about an export that is there",
            "Name that with --export, or leave it out",
        ),
        (
            options.export.startswith("s3://") and not (bucket and prefix),
            "--export",
            f"{options.export!r} is not an export's folder",
            "Write it like s3://bucket/prefix/AWSDynamoDB/01234-abcd",
        ),
        (
            options.distributed and not options.distributed.startswith("arn:"),
            "--distributed",
            f"{options.distributed!r} is not an ARN",
            "`aws cloudformation describe-stacks` shows it as the output BackfillStateMachine",
        ),
    )
    if problems := tuple(Problem(*each) for is_wrong, *each in wrong if is_wrong):
        raise ConfigError(problems)


async def carry_over(deployments: Deployments, pipeline: str, options: Options) -> Backfill:
    """Carry a pipeline's table over, from where an earlier run has stopped; give what was carried over.

    Raises:
        ExportError: some data files could not be converted, or something keeps the backfill from its end.
    """
    deployment = deployments.choose(pipeline)
    backfiller = Backfiller(deployment)
    with open_progress() as progress:
        location = options.export or await _export(deployment, backfiller, options, progress)
        export, files = await ExportFolder(deployments.clients["s3"], location).read()
        opened = await backfiller.open(
            location, export, files, resync=options.resync, read_since_export=options.read_since_export
        )
        left = await backfiller.left(opened, files)
        items = sum(file.items for file in left)
        task = progress.add_task(f"items of {export.kind} export", total=export.items, completed=export.items - items)
        failed: list[str] = []
        async for file, problem in _convert(deployment, opened, export, left, options):
            progress.advance(task, 0 if problem else file.items)
            failed += [problem] * bool(problem)
            if problem:
                tell(problem, colour="red")
        if failed:
            remedy = "mend them, and start again, or end this backfill with `fastetl backfill --give-up`"
            raise ExportError(f"{len(failed)} of {len(files)} data files are not done; {remedy}")
        if options.wait:
            await _wait(deployment, backfiller, opened, options, progress)
    return opened


async def give_up(deployments: Deployments, pipeline: str, location: str) -> list[Backfill]:
    """End backfills that are under way, as they are; give them.

    Raises:
        ExportError: there is none.
    """
    return await Backfiller(deployments.choose(pipeline)).give_up(location)


async def _export(deployment: Deployment, backfiller: Backfiller, options: Options, progress: Progress) -> str:
    """Have the table exported, or go on with an export that was begun; give its folder."""
    pipeline, source = deployment.pipeline, deployment.source
    table = await source.describe()
    if pipeline.source == "stream" and table.view_type not in {"NEW_IMAGE", "NEW_AND_OLD_IMAGES"}:
        raise SourceError(f"{table.name} has no stream with new images; enable one, and deploy, before a backfill")
    start = await _epoch(backfiller)
    if begun := [each.location for each in await backfiller.under_way() if each.epoch == start.epoch]:
        return begun[-1]
    await _wait_for_epoch(backfiller, start, progress)
    folder = f"{deployment.config.prefix}exports/{pipeline.name}/{start.epoch:04d}"
    if options.scan:
        task = progress.add_task("segments read")
        await scan_table(
            source,
            deployment.bucket,
            f"{folder}/AWSDynamoDB/scan-{start.epoch:04d}",
            Throttle(options.rate, time.time, asyncio.sleep),
            exported_at=int(time.time()),
            on_segment=lambda done, of: progress.update(task, completed=done, total=of),
        )
        return f"s3://{deployment.config.bucket}/{folder}/AWSDynamoDB/scan-{start.epoch:04d}"
    token = ("export", deployment.config.ledger_table, deployment.pipeline.name, start.epoch, start.starts_at)
    arn = await source.export(deployment.config.bucket, folder, token)
    task = progress.add_task("DynamoDB exports the table", total=None)
    while not await source.exported(arn):  # noqa: ASYNC110 - it can only be polled
        await asyncio.sleep(POLL_SECONDS)
    progress.remove_task(task)
    return f"s3://{deployment.config.bucket}/{folder}/AWSDynamoDB/{arn.rpartition('/')[2]}"


async def _wait_for_epoch(backfiller: Backfiller, start: EpochStart, progress: Progress) -> None:
    """Wait until an export of the epoch may be taken, and count down to it."""
    task = progress.add_task("", total=None)
    waiting = asyncio.create_task(backfiller.wait_for(start))
    is_told = progress.console.is_terminal
    while not waiting.done():
        left = max(0.0, start.starts_at + CLOCK_SLACK_SECONDS - time.time())
        what = f"epoch {start.epoch}: waiting {write_duration(left)} until every ingest function stamps changes with it"
        progress.update(task, description=what)
        if not is_told:  # in a pipe the bars are written at the end
            tell(what)
            is_told = True
        await asyncio.wait([waiting], timeout=1)
    await waiting
    progress.remove_task(task)


async def _epoch(backfiller: Backfiller) -> EpochStart:
    """Begin an epoch, unless the last one has not been used to its end."""
    return await backfiller.last_epoch() or await backfiller.begin_epoch()


async def _convert(
    deployment: Deployment, backfill: Backfill, export: Export, files: Sequence[DataFile], options: Options
) -> AsyncIterator[tuple[DataFile, str]]:
    """Convert data files, here or in the stack; give each as it is done, and what went wrong with it."""
    if not files:
        return
    if options.distributed:
        ledger, began = deployment.ledger, time.time()
        (client,) = await open_clients("stepfunctions", region=deployment.config.region)
        async with client:
            machine = StateMachine(client, options.distributed)
            async for file in convert_on_lambda(machine, backfill, export, files, ledger, started_at=began):
                yield file, ""
        return
    config = options.config.resolve()
    os.environ |= {"FASTETL_CONFIG": str(config), "LAMBDA_TASK_ROOT": str(config.parent)}
    os.environ |= {"POLARS_MAX_THREADS": "1", "POWERTOOLS_LOG_LEVEL": "WARNING"}  # a spawned process reads them
    workers = min(options.workers or os.cpu_count() or 1, len(files))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()

        async def convert(file: DataFile) -> tuple[DataFile, str]:
            asked = {"pipeline": backfill.pipeline, "epoch": backfill.epoch, "export": backfill.name}
            task = {**asked, "file": msgspec.to_builtins(file)}
            try:
                await loop.run_in_executor(pool, convert_here, orjson.dumps(task))
            except Exception as error:  # noqa: BLE001 - of another process; the other files go on
                return file, " ".join(f"{file.key}: {write(problem)}" for problem in find_problems(error))
            return file, ""

        for done in asyncio.as_completed([convert(file) for file in files]):
            yield await done


def convert_here(task: bytes) -> None:
    """Do what the backfill function does, in a process of its own; the user's modules lie beside the configuration.

    Raises:
        ExportError: it failed; the error itself may not travel between processes.
    """
    sys.path[:0] = [os.environ["LAMBDA_TASK_ROOT"], str(Path.cwd())]
    try:
        _load_handler()(orjson.loads(task))
    except FastetlError as error:
        raise ExportError(" ".join(map(write, find_problems(error)))) from None


@cache
def _load_handler() -> Callable[[Any], Any]:
    """Load the backfill function, which opens clients, and have them closed when this process ends."""
    from fastetl.lambdas import backfill

    atexit.register(backfill.close)
    return backfill.handler


async def _wait(
    deployment: Deployment, backfiller: Backfiller, backfill: Backfill, options: Options, progress: Progress
) -> None:
    task = progress.add_task("", total=None)
    while left := await backfiller.finish(backfill, despite_rejects=options.despite_rejects):
        if not left.pending:
            raise ExportError(explain(left))
        progress.update(task, description=f"waiting for the load of {write_count(left.pending, 'file')}")
        try:
            await Operator(deployment).load_now()
        except StaleStepError:
            continue
        await asyncio.sleep(POLL_SECONDS)
    progress.remove_task(task)


def explain(left: Unfinished) -> str:
    """Say what keeps a backfill from its end, and what to do."""
    reasons = (
        (left.data_files, "data file", "not converted", "start again, or end it with `fastetl backfill --give-up`"),
        (left.quarantined, "file", "in quarantine", "`fastetl quarantine list`, then retry or drop"),
        (
            left.rejected,
            "item",
            "rejected",
            "mend the columns, end it with `fastetl backfill --give-up` and begin another, or add --despite-rejects",
        ),
    )
    return "; ".join(f"{write_count(count, noun)} {state}: {remedy}" for count, noun, state, remedy in reasons if count)
