"""The coordinator function: every wake-up moves each pipeline's load on. Wiring only; the story is `load`.

It is woken by the schedule, by the Data API's completion events, and by hand, all alike: what is due is read from the
ledger, never from the event. Two wake-ups at once do no harm, so that its concurrency needs no limit. Only an event of
`fastetl verify-account` asks for something: a step of a rehearsal, which touches no pipeline's tables.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from fastetl.aws import StreamWatch, open_clients
from fastetl.errors import FastetlError, StaleStepError, find_places
from fastetl.lambdas.environment import MAPPINGS, METRICS_NAMESPACE, build_deployments, read_config, trace
from fastetl.load import Loader, Rounds, Watch, take_step

if TYPE_CHECKING:
    from collections.abc import Collection

    from aws_lambda_powertools.utilities.typing import LambdaContext

    from fastetl.load import Moved, Step
    from fastetl.model import Watermark

DEADLINE_MARGIN_SECONDS = 10
"""A step begun later than this before the end might be cut off; the next wake-up takes it instead."""

STEPS_WITHOUT_ROWS = {
    "batch_execute_statement", "lock", "bump", "gate_row", "gate_batch", "gate_fence", "gate_source", "gate_files",
    "stage_files", "copy_files", "stage", "stamps", "load_files", "loads", "source",
}  # fmt: skip
"""The steps of a load that read no rows: their errors quote no item."""

REHEARSE = "rehearse"
"""The member of a test event that asks for a step of a rehearsal."""

logger = Logger(service="coordinator")
metrics = Metrics(service="coordinator", namespace=METRICS_NAMESPACE)

_config, _problems = read_config()
_runner = asyncio.Runner()
_s3, _dynamodb, _redshift, _streams, _functions = _runner.run(
    open_clients("s3", "dynamodb", "redshift-data", "dynamodbstreams", "lambda", region=_config.region)
)
_deployments = build_deployments(_config, {"s3": _s3, "dynamodb": _dynamodb, "redshift-data": _redshift})
_watches = {
    name: Watch(deployment, StreamWatch(_streams, _functions), MAPPINGS) for name, deployment in _deployments.items()
}
_loaders = {
    name: Loader(deployment, *([_watches[name].foresee] if MAPPINGS else []))
    for name, deployment in _deployments.items()
}
_rounds = Rounds(_loaders, _config.pipelines)
logger.info("ready", pipelines=sorted(_loaders))
for _problem in _problems:
    logger.error("a pipeline cannot be set up", problem=str(_problem))


@trace
@logger.inject_lambda_context(log_event=False, clear_state=True)
def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Take, for every pipeline, the steps that are due, and give their names; or take one step of a rehearsal.

    Raises:
        RuntimeError: some pipelines could not be moved on; the others were.
        FastetlError: the step of the rehearsal could not be taken.
    """
    if isinstance(event, dict) and REHEARSE in event:
        answer: dict[str, Any] = msgspec.to_builtins(_runner.run(take_step(event[REHEARSE], _deployments)))
        return answer
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - DEADLINE_MARGIN_SECONDS
    moved = _runner.run(_rounds.wake_up(_observe, lambda: deadline - time.monotonic()))
    failed = []
    for name, each in moved.items():
        _measure(name, each)
        if each.error:
            _explain(name, each.error)
            failed.append(name)
    # Loads come first: what is told of the streams may wait for the next wake-up.
    if MAPPINGS and deadline > time.monotonic():
        loaded = {name for name, each in moved.items() if "loaded" in each.actions}
        _runner.run(_look(deadline - time.monotonic(), loaded))
    if failed:
        raise RuntimeError(f"cannot move on: {', '.join(failed)}; the log says why")
    return {name: each.actions for name, each in moved.items()}


async def _look(seconds: float, loaded: Collection[str]) -> None:
    """Look after every pipeline's stream, at once after a load.

    What cannot be found out is told, and keeps no load from being done.
    """
    try:
        async with asyncio.timeout(seconds):
            for name, watch in _watches.items():
                try:
                    _report_watermark(await watch.look(at_once=name in loaded))
                except StaleStepError:
                    continue
                except Exception as error:  # noqa: BLE001 - one pipeline's stream says nothing of another's
                    _explain(name, error)
                    _emit(name, ("LookFailed", MetricUnit.Count, 1))
    except TimeoutError:
        logger.warning("time is up before every stream was looked after")


def _report_watermark(watermark: Watermark) -> None:
    for problem in watermark.problems:
        logger.error("its stream needs somebody", pipeline=watermark.pipeline, problem=problem)
    measured = [("StreamProblems", MetricUnit.Count, float(len(watermark.problems)))]
    if watermark.complete_up_to:
        behind = max(0.0, time.time() - watermark.complete_up_to / 1000)
        measured.append(("CompleteBehindSeconds", MetricUnit.Seconds, behind))
    _emit(watermark.pipeline, *measured)


def _explain(name: str, error: Exception) -> None:
    """Write why a pipeline could not be moved on into the log, without content."""
    if isinstance(error, FastetlError | TimeoutError):
        logger.error("cannot move on", pipeline=name, error=f"{type(error).__name__}: {error}")
        return
    logger.error("unexpected error", pipeline=name, error=type(error).__name__, where=find_places(error))


async def _observe(name: str, step: Step) -> None:
    _report(name, step)
    if step.action == "loaded" and step.batch:
        _watches[name].note_loaded(step.batch)
    await _report_missing(name, _loaders[name], step)


def _report(name: str, step: Step) -> None:
    batch = step.batch
    described: dict[str, Any] = {}
    if batch:
        for field in ("batch_id", "state", "attempt", "files", "rows", "bytes", "failure"):
            described[field] = getattr(batch, field)
        described["error"] = _without_content(batch.error)
    logger.info(step.action, pipeline=name, paused=bool(step.paused), **described)
    counted = {"loaded": "Loaded", "retry": "Failed", "split": "Failed", "quarantined": "Quarantined"}
    if metric := counted.get(step.action):
        _emit(name, (metric, MetricUnit.Count, 1))
    if step.action == "loaded" and batch:
        _emit(
            name,
            ("LoadedRows", MetricUnit.Count, batch.rows),
            ("LoadedBytes", MetricUnit.Bytes, batch.bytes),
            # From submitting the attempt until it was found to have loaded.
            ("LoadSeconds", MetricUnit.Seconds, max(0.0, time.time() - batch.began / 1000)),
        )


def _without_content(error: str) -> str:
    """Cut from an error what may quote an item: the warehouse's words on a step that works on rows.

    The ledger keeps all of it, and `fastetl status` shows it.
    """
    step, _, message = error.partition(": ")
    if step in STEPS_WITHOUT_ROWS:
        return error
    return step if message else ""


async def _report_missing(name: str, loader: Loader, step: Step) -> None:
    """Count the rows that a column, added since their files were written, is NULL in."""
    if step.action == "loaded" and step.batch and (columns := await loader.columns_left_null(step.batch)):
        logger.info("loaded without columns", pipeline=name, columns=columns, rows=step.batch.rows)
        _emit(name, ("RowsWithoutColumns", MetricUnit.Count, step.batch.rows))


def _measure(name: str, moved: Moved) -> None:
    """Say how much waits, for alarms and the dashboard."""
    if moved.backlog is None:
        return
    head = moved.head
    _emit(
        name,
        ("PendingFiles", MetricUnit.Count, moved.backlog.files),
        ("PendingBytes", MetricUnit.Bytes, moved.backlog.bytes),
        ("OldestPendingSeconds", MetricUnit.Seconds, moved.backlog.oldest_age_seconds),
        ("OpenBatches", MetricUnit.Count, len(head.open) if head else 0),
        ("Paused", MetricUnit.Count, int(bool(head and head.paused))),
    )


def _emit(pipeline: str, *measured: tuple[str, MetricUnit, float]) -> None:
    metrics.add_dimension("pipeline", pipeline)
    for name, unit, value in measured:
        metrics.add_metric(name, unit, value)
    metrics.flush_metrics()
