"""Look at how far a pipeline is: what waits, what is under way, and what is wrong."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec

from fastetl.errors import SourceError
from fastetl.ingest import describe_unknown_epochs
from fastetl.keys import rejects_prefix
from fastetl.model import UNROUTED, Batch, FileItem, Head, Watermark
from fastetl.operate.recent_files import read_latest_files
from fastetl.operate.streams import REMEDY, describe_other_stream, find_last_label

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from fastetl.aws import Deployment


Thing = TypeVar("Thing")

COUNTED = 20_000
"""Files that wait or are in quarantine, and objects with rejects, are counted up to this number."""


class OpenBatch(msgspec.Struct, frozen=True):
    """A batch on its way."""

    batch_id: str
    state: str
    attempt: int
    files: int
    bytes: int
    step: str
    """The step of the load that failed; empty where none did."""
    failure: str
    """Whose fault it was: `data`, `infrastructure`, `transient`; see `fastetl.model.Failure`."""
    error: str
    """What the warehouse said, which may quote an item."""
    next_try_seconds: float
    """Seconds until the coordinator tries it again; 0 where it does not wait."""


class Status(msgspec.Struct, frozen=True):
    """How far a pipeline is."""

    pipeline: str
    pending_files: int
    pending_bytes: int
    oldest_pending_seconds: float
    open_batches: tuple[OpenBatch, ...]
    loads: int
    """Loads that succeeded since this ledger began."""
    last_load: str
    """When the last one was seen to have succeeded: ISO 8601, UTC; empty before the first."""
    last_load_seconds: float
    """How long ago that was; -1 before the first."""
    last_file_seconds: float
    """How long ago ingest wrote the latest file; -1 before the first."""
    ingest_lag_seconds: float
    """How old that file's latest change was when the file was written; -1 before the first."""
    ingest_error: str
    """What ingest failed with since it wrote its latest file; empty where it did not. Without item content."""
    ingest_error_seconds: float
    """How long ago; -1 where it did not."""
    quarantined: int
    rejects: int
    """Objects with rejects that are still kept."""
    counted_up_to: int
    """Where the counts of files and objects end: there may be more."""
    paused: str
    paused_by: str
    load_requested: bool
    stream_problem: str
    """What is odd about the table's stream; empty where nothing is."""
    table_error: str
    """Why the table cannot be looked at; empty where it can."""
    complete_up_to: str
    """Every change that the table made before is loaded, a reject, or in quarantine: ISO 8601, UTC; empty where that is
    not known."""
    complete_seconds: float
    """How long ago that was; -1 where it is not known."""
    complete_held_by: str
    """What keeps it from being later; empty before the coordinator's first look."""
    stream_troubles: tuple[str, ...]
    """What keeps the stream from being read, and which changes may be missing, as the coordinator last saw it."""
    possible_gaps: int
    """Files of the last days that began where the stream was about to forget: changes before them may be missing."""
    unrouted: dict[str, int]
    """With several targets: items that no target took, in the latest files, by what tells their kind, the most frequent
    first."""


async def read_status(deployment: Deployment) -> Status:
    """Look at ledger, bucket and table of a pipeline. What it reads does not grow with the files that are loaded.

    Args:
        deployment: of the pipeline.
    """
    name, ledger = deployment.pipeline.name, deployment.ledger
    head = await ledger.batches.head(name) or Head(name, 0, (), "")
    batches = [await ledger.batches.read(batch_id) for batch_id in head.open]
    pending = [file async for file in _take(ledger.files.pending(name), COUNTED)]
    files = await read_latest_files(ledger, name)
    # A later epoch came with an export of everything.
    mended = max((start.starts_at for start in head.epochs), default=0)
    now = deployment.clock()
    oldest = pending[0].created if pending else int(now * 1000)
    latest = files[0] if files else None
    failed = await ledger.ingest_errors.read(name)
    if failed and latest and failed.at < latest.created:
        failed = None
    prefix = rejects_prefix(deployment.config.prefix, name)
    waits = "" if head.stack == deployment.owner else describe_unknown_epochs(name)
    stream_problem, table_error = await _look_at_stream(deployment, files)
    watermark = await ledger.watermarks.read(name) or Watermark(name)
    return Status(
        pipeline=name,
        pending_files=len(pending),
        pending_bytes=sum(file.bytes for file in pending),
        oldest_pending_seconds=round(max(0.0, now - oldest / 1000), 1),
        open_batches=tuple(_describe_batch(batch, now) for batch in batches),
        loads=head.loads,
        last_load=_moment(head.last_load) if head.last_load else "",
        last_load_seconds=_ago(head.last_load, now),
        last_file_seconds=_ago(latest.created, now) if latest else -1,
        ingest_lag_seconds=_lag(latest) if latest else -1,
        ingest_error=waits or (failed.message if failed else ""),
        ingest_error_seconds=0.0 if waits else _ago(failed.at, now) if failed else -1,
        quarantined=await _count(ledger.files.quarantined(name)),
        rejects=await _count(deployment.bucket.list_keys(prefix)),
        counted_up_to=COUNTED,
        paused=head.paused,
        paused_by=head.paused_by,
        load_requested=head.load_requested,
        stream_problem=stream_problem,
        table_error=table_error,
        complete_up_to=_moment(watermark.complete_up_to) if watermark.complete_up_to else "",
        complete_seconds=_ago(watermark.complete_up_to, now),
        complete_held_by=watermark.held_by,
        stream_troubles=watermark.problems,
        possible_gaps=await _count(ledger.files.possible_gaps(name, mended * 1000 + 1)),
        unrouted=_count_unrouted(files),
    )


async def _count(things: AsyncIterator[str]) -> int:
    return len([thing async for thing in _take(things, COUNTED)])


async def _take(things: AsyncIterator[Thing], most: int) -> AsyncIterator[Thing]:
    async for thing in things:
        yield thing
        most -= 1
        if not most:
            return


async def _look_at_stream(deployment: Deployment, files: Sequence[FileItem]) -> tuple[str, str]:
    """Give what is odd about the table's stream, and why the table cannot be looked at."""
    label = find_last_label(files)
    if deployment.pipeline.source != "stream" or not label:
        return "", ""
    try:
        table = await deployment.source.describe()
    except SourceError as error:
        return "", str(error)
    problem = describe_other_stream(table, label)
    return f"{problem}; {REMEDY}" if problem else "", ""


def _count_unrouted(files: Iterable[FileItem]) -> dict[str, int]:
    """Count the items that no target took, by what tells their kind, the most frequent first."""
    total: Counter[str] = Counter()
    for file in files:
        kinds = {what: count for what, count in file.drift.items() if what.startswith(UNROUTED)}
        total.update({what.removeprefix(UNROUTED): count for what, count in kinds.items()})
    return dict(sorted(total.items(), key=lambda each: (-each[1], each[0])))


def _describe_batch(batch: Batch, now: float) -> OpenBatch:
    step, _, _ = batch.error.partition(": ")
    return OpenBatch(
        batch.batch_id,
        batch.state,
        batch.attempt,
        batch.files,
        batch.bytes,
        step if step in batch.steps else "",
        batch.failure,
        batch.error,
        round(max(0.0, batch.not_before / 1000 - now), 1) if batch.state == "RETRY" else 0.0,
    )


def _ago(milliseconds: int, now: float) -> float:
    return round(max(0.0, now - milliseconds / 1000), 1) if milliseconds else -1


def _lag(file: FileItem) -> float:
    if not file.changed_max:
        return -1
    changed = datetime.fromisoformat(file.changed_max).replace(tzinfo=UTC).timestamp()
    return round(max(0.0, file.created / 1000 - changed), 1)


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
