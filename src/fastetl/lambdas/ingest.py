"""The ingest function: events of DynamoDB Streams (or Kinesis) become files on S3. Wiring only; the story is `ingest`.

Lambda is told of success when object and FILE item exist, of everything else by an exception: the batch comes again.
"""

from __future__ import annotations

import gc

# Of what imports make nearly everything stays: looking through it, again and again, is a tenth of a cold start.
gc.disable()

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from fastetl.lambdas.environment import (
    ENVIRON,
    METRICS_NAMESPACE,
    TASK_ROOT,
    build_deployments,
    limit_threads,
    read_config,
    trace,
)

limit_threads()

from fastetl.aws import ABORT_LIMIT_SECONDS, References, is_transient, open_clients
from fastetl.decode import cut_name, free_rows, is_windowed, parse_source_arn
from fastetl.enrich import Enricher, Router, make_enricher
from fastetl.errors import ConfigError, EnrichmentError, FastetlError, LedgerError, find_places
from fastetl.ingest import Ingest, Outcome
from fastetl.lambdas.raw_events import install_raw_events
from fastetl.model import IngestError, follows_gap

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

    from fastetl.config import Pipeline

DEADLINE_MARGIN_SECONDS = ABORT_LIMIT_SECONDS + 1
"""Kept of the time that Lambda gives, to abort an upload and to say what happened."""

NOTE_LIMIT_SECONDS = 0.5
"""How long writing an error into the ledger may take."""

REFERENCES_KEPT_SECONDS = 300
"""How long files that enrichments read are used before S3 is asked whether they have changed."""

NAMES_LOGGED = 20
"""One log line names at most this many undeclared attributes."""

logger = Logger(service="ingest")
metrics = Metrics(service="ingest", namespace=METRICS_NAMESPACE)

_raw_events = install_raw_events()
_config, _problems = read_config()
_runner = asyncio.Runner()
_s3, _dynamodb = _runner.run(open_clients("s3", "dynamodb", region=_config.region))
_deployments = build_deployments(_config, {"s3": _s3, "dynamodb": _dynamodb})
_references = References(
    _s3, _config.references, root=TASK_ROOT, folder=Path(tempfile.gettempdir(), "fastetl-references")
)
for _problem in _problems:
    logger.error("a pipeline cannot be set up", problem=str(_problem))
_references_read_at = time.monotonic()
_enrichers: dict[str, Enricher | Router] = {}
_ingests: dict[str, Ingest] = {}


def _set_up(pipeline: Pipeline) -> None:
    """Make a pipeline ready.

    Raises:
        ConfigError: it cannot work as it is configured, or a file that an enrichment reads is missing.
    """
    enricher = make_enricher(pipeline, ENVIRON, _references.paths)
    ingest = Ingest(_deployments[pipeline.name], enricher, time.monotonic)
    if ingest.native_missing:
        what = "no native pass: an event takes some fifteen times the CPU time"
        logger.warning(what, pipeline=pipeline.name, reason=ingest.native_missing)
    _ingests[pipeline.name], _enrichers[pipeline.name] = ingest, enricher


for _pipeline in _config.pipelines:
    if not _references.has_all(_pipeline.references):
        # Fetched with the first event, which has the function's whole timeout: starting has ten seconds (AWS Lambda
        # Developer Guide, "Understanding the Lambda execution environment lifecycle").
        logger.info("an enrichment's files are fetched with the first event", pipeline=_pipeline.name)
        continue
    # One that cannot be set up keeps no other from working. Its events are tried again, and so is setting it up.
    try:
        _set_up(_pipeline)
    except ConfigError as _error:
        logger.error("a pipeline cannot be set up", pipeline=_pipeline.name, problem=str(_error))  # noqa: TRY400
    except Exception as _error:  # noqa: BLE001 - a defect in one pipeline's set-up is no other's trouble
        _what = f"unexpected {type(_error).__name__}"
        logger.error("a pipeline cannot be set up", pipeline=_pipeline.name, problem=_what, where=find_places(_error))  # noqa: TRY400
logger.info("ready", pipelines=sorted(_ingests), raw_events=_raw_events)
if not _raw_events:
    logger.warning("events come as dicts, which takes several times the CPU time: this runtime has no known marshaller")

# What is here now stays: the collector need not ever look through it. It pauses while an event is worked on, where
# it would walk through thousands of records that are all still needed, and catches up in between.
gc.freeze()
gc.enable()


@trace
@logger.inject_lambda_context(log_event=False, clear_state=True)
def handler(event: bytes | bytearray | dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Ingest one event; see `Ingest.ingest` for what it raises.

    Where the mapping has a window, an answer without a state is a failure (AWS Lambda Developer Guide, "Implementing
    stateful DynamoDB stream processing in Lambda"). Nothing is kept in it.
    """
    gc.disable()
    try:
        _runner.run(_ingest(event, context))
    finally:
        # No frame of this event is left: what its rows pointed into need not wait for the next event.
        free_rows()
        gc.enable()
    answer: dict[str, Any] = {"batchItemFailures": []}
    return answer | {"state": {}} if is_windowed(event) else answer


async def _ingest(event: bytes | bytearray | dict[str, Any], context: LambdaContext) -> None:
    """Give an event to every pipeline that reads its stream; one that fails keeps no other from its records."""
    pipelines = _config.pipelines_for(parse_source_arn(event, _config.reads), context.invoked_function_arn)
    remaining_seconds = context.get_remaining_time_in_millis() / 1000
    failed: list[Exception] = []
    async with asyncio.timeout(remaining_seconds - DEADLINE_MARGIN_SECONDS):
        await _refresh_references()
        for pipeline in pipelines:
            logger.append_keys(pipeline=pipeline.name)
            try:
                outcome = await (await _get_ready(pipeline)).ingest(event)
            except FastetlError as error:
                if isinstance(error, EnrichmentError) and error.__cause__:
                    where = find_places(error.__cause__)
                    logger.error("a step of an enrichment failed", reason=str(error), where=where)  # noqa: TRY400
                # What goes away by itself is tried again in a moment; a ledger that refuses takes no note either.
                if not isinstance(error, LedgerError) and not is_transient(error):
                    await _write_down(pipeline.name, str(error))
                failed.append(error)
            except Exception as error:  # noqa: BLE001 - to keep its message, not the error, to itself
                failed.append(_without_content(error))
                await _write_down(pipeline.name, str(failed[-1]))
            else:
                _report(outcome, as_dict=isinstance(event, dict))
    if failed:
        for other in failed[1:]:
            logger.error("failed", error=f"{type(other).__name__}: {other}")
        raise failed[0]
    _report_unread(outcome.passed_over, {pipeline.table for pipeline in pipelines})


async def _write_down(pipeline: str, message: str) -> None:
    """Write into the ledger what failed, for `fastetl status`; should that fail as well, the log has it."""
    failed = IngestError(pipeline, int(time.time() * 1000), message[:500])
    try:
        async with asyncio.timeout(NOTE_LIMIT_SECONDS):
            await _deployments[pipeline].ledger.ingest_errors.put(failed)
    except (FastetlError, TimeoutError) as error:
        logger.warning("the error is not in the ledger", reason=str(error))


def _without_content(error: Exception) -> Exception:
    """Log where an error that is not fastetl's own was raised, and give one that quotes no item."""
    logger.error("unexpected error", error=type(error).__name__, where=find_places(error))
    return RuntimeError(f"unexpected {type(error).__name__}; the log says where")


async def _get_ready(pipeline: Pipeline) -> Ingest:
    """Give what ingests a pipeline's events, set up if it was not; what its enrichments read is fetched first."""
    if pipeline.name not in _ingests:
        for reason in (await _references.refresh(pipeline.references))[1]:
            logger.error("a pipeline cannot be set up", problem=reason)
        _set_up(pipeline)
    return _ingests[pipeline.name]


async def _refresh_references() -> None:
    """Read files of enrichments again, where they changed; an older file serves better than none."""
    global _references_read_at  # noqa: PLW0603 - one function, one process
    if time.monotonic() - _references_read_at < REFERENCES_KEPT_SECONDS:
        return
    _references_read_at = time.monotonic()
    used = [name for pipeline in _config.pipelines if pipeline.name in _ingests for name in pipeline.references]
    changed, failures = await _references.refresh(used)
    for reason in failures:
        logger.warning("a reference stays as it was", reason=reason)
    for name, enricher in _enrichers.items() if changed else ():
        try:
            enricher.open(_references.paths)
        except ConfigError as error:
            logger.warning("references stay as they were", pipeline=name, reason=str(error))
    if changed:
        logger.info("references read again")


def _report(outcome: Outcome, *, as_dict: bool) -> None:
    file = outcome.file
    counts: dict[str, Any] = {
        "Records": outcome.records,
        "Files": int(file is not None and bool(file.key) and not outcome.already_there),
        "Rows": file.rows if file else 0,
        "Rejects": sum(outcome.rejects.values()),
        "Misfits": sum(outcome.misfits.values()),
        "IgnoredAttributes": sum(outcome.ignored.values()),
        "DecodedNative": outcome.decoded_native,
        "DecodedGeneral": outcome.decoded_general,
        "NativeErrors": int(bool(outcome.native_error)),
        "NativeMissing": int(bool(_ingests[outcome.pipeline].native_missing)),
        "EventsAsDict": int(as_dict),
        "Ties": outcome.ties,
        "AlreadyThere": int(outcome.already_there),
        "PossibleGap": int(file is not None and not outcome.already_there and follows_gap(file)),
    }
    if outcome.native_error:
        logger.error("the native pass failed; the reference decoded the event", error=outcome.native_error)
    logger.info(
        "ingested",
        file_id=outcome.file_id,
        key=file.key if file else "",
        bytes=file.bytes if file else 0,
        **counts,
        rejects_by_reason={"/".join(what): count for what, count in outcome.rejects.items()},
        misfits_by_reason={"/".join(what): count for what, count in outcome.misfits.items()},
        ignored=[cut_name(name) for name in sorted(outcome.ignored)[:NAMES_LOGGED]],
        enrichment=outcome.enrichment,
    )
    if outcome.enrichment_errors:
        logger.warning("enrichments raised", errors=outcome.enrichment_errors)
    metrics.add_dimension("pipeline", outcome.pipeline)
    for name, count in counts.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    metrics.add_metric("Bytes", MetricUnit.Bytes, file.bytes if file else 0)
    metrics.flush_metrics()
    for (column, reason), count in outcome.rejects.items():
        with single_metric("RejectsByReason", MetricUnit.Count, count, namespace=METRICS_NAMESPACE) as metric:
            for name, value in (("pipeline", outcome.pipeline), ("column", column or "-"), ("reason", reason)):
                metric.add_dimension(name, value)


def _report_unread(passed_over: dict[str, int], read: set[str]) -> None:
    """Count, by table, the records of a Kinesis stream that no pipeline reads."""
    unread = {table: count for table, count in passed_over.items() if table not in read}
    if unread:
        logger.info("passed over", records_by_table=unread)
    for table, count in unread.items():
        with single_metric("UnreadRecords", MetricUnit.Count, count, namespace=METRICS_NAMESPACE) as metric:
            metric.add_dimension("table", table)
