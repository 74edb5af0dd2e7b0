"""Show and change what operators may: how far a pipeline is, its pause, its quarantine, its rejects."""

from __future__ import annotations

import contextlib
import gzip
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from fastetl.errors import LedgerError, SourceError, StaleStepError
from fastetl.ingest import describe_unknown_epochs
from fastetl.keys import parse_rejects_key, rejects_prefix
from fastetl.model import UNROUTED, Batch, FileItem, Head, Reject, Watermark, follows_gap
from fastetl.operate.streams import REMEDY, describe_other_stream, find_last_label
from fastetl.operate.watermark import RACES, requeue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.aws import Deployment


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
    """With several targets: items that no target took, in the files of the ledger, by what tells their kind, the most
    frequent first."""


class Operator:
    """Looks at one pipeline, and changes what an operator may change."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe the pipeline to look at.

        Args:
            deployment: of the pipeline.
        """
        self._deployment = deployment
        self._config = deployment.config
        self._pipeline = deployment.pipeline
        self._bucket = deployment.bucket
        self._ledger = deployment.ledger
        self._source = deployment.source
        self._owner = deployment.owner
        self._clock = deployment.clock

    async def status(self) -> Status:
        """Look at ledger and bucket; reads the whole ledger."""
        name = self._pipeline.name
        head = await self._ledger.batches.head(name) or Head(name, 0, (), "")
        batches = [await self._ledger.batches.read(batch_id) for batch_id in head.open]
        every = [file async for file in self._ledger.files.scan(name)]
        files = [file for file in every if file.state in {"PENDING", "QUARANTINED"}]
        pending = [file for file in files if file.state == "PENDING"]
        # A later epoch came with an export of everything.
        mended = max((start.starts_at for start in head.epochs), default=0)
        now = self._clock()
        oldest = min((file.created for file in pending), default=int(now * 1000))
        latest = max(every, key=lambda file: file.created, default=None)
        failed = await self._ledger.ingest_errors.read(name)
        if failed and latest and failed.at < latest.created:
            failed = None
        waits = "" if head.stack == self._owner else describe_unknown_epochs(name)
        stream_problem, table_error = await self._look_at_stream(every)
        watermark = await self._ledger.watermarks.read(name) or Watermark(name)
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
            quarantined=len(files) - len(pending),
            rejects=len(await self.reject_keys()),
            paused=head.paused,
            paused_by=head.paused_by,
            load_requested=head.load_requested,
            stream_problem=stream_problem,
            table_error=table_error,
            complete_up_to=_moment(watermark.complete_up_to) if watermark.complete_up_to else "",
            complete_seconds=_ago(watermark.complete_up_to, now),
            complete_held_by=watermark.held_by,
            stream_troubles=watermark.problems,
            possible_gaps=sum(follows_gap(file) for file in every if file.created > mended * 1000),
            unrouted=count_unrouted(every),
        )

    async def _look_at_stream(self, files: Sequence[FileItem]) -> tuple[str, str]:
        """Give what is odd about the table's stream, and why the table cannot be looked at."""
        label = find_last_label(files)
        if self._pipeline.source != "stream" or not label:
            return "", ""
        try:
            table = await self._source.describe()
        except SourceError as error:
            return "", str(error)
        problem = describe_other_stream(table, label)
        return f"{problem}; {REMEDY}" if problem else "", ""

    async def load_now(self) -> int:
        """Have the next wake-up load whatever waits; give how many batches need not wait for their retry any more."""
        head = await self._change_head(load_requested=True)
        return await self._skip_waiting(head)

    async def pause(self, reason: str) -> None:
        """Begin no load until `resume`; what runs goes on, and so does ingest.

        Args:
            reason: shown by `status` and in the log.
        """
        await self._change_head(paused=reason[:500], paused_by="operator")

    async def resume(self) -> int:
        """End any pause; give how many batches need not wait for their retry any more."""
        head = await self._change_head(paused="", paused_by="", probe_at=0)
        return await self._skip_waiting(head)

    async def _skip_waiting(self, head: Head) -> int:
        """Let batches that wait for a retry be tried at the next wake-up; nothing else of them changes.

        How an attempt ended is settled by the same rules, and so is what becomes of a file that fails again.
        """
        now, skipped = int(self._clock() * 1000), 0
        for batch_id in head.open:
            batch = await self._ledger.batches.read(batch_id)
            if batch.state != "RETRY" or batch.not_before <= now:
                continue
            with contextlib.suppress(StaleStepError):  # a coordinator has just taken it up
                await self._ledger.batches.advance(batch, not_before=now)
                skipped += 1
        return skipped

    async def quarantined(self) -> list[FileItem]:
        """Find the files in quarantine, oldest first."""
        files = [file async for file in self._ledger.files.scan(self._pipeline.name, "QUARANTINED")]
        return sorted(files, key=lambda file: file.created)

    async def retry(self, file_id: str) -> FileItem:
        """Let a quarantined file wait for a load again, after its cause was corrected.

        Nothing that has been loaded meanwhile is overwritten by it, where it is newer.

        Args:
            file_id: of a file in quarantine.

        Raises:
            LedgerError: it is not in quarantine, or coordinators look all the time.
        """
        for _ in range(RACES):
            file = await self._in_quarantine(file_id)
            with contextlib.suppress(StaleStepError):
                await requeue(self._deployment, file)
                return file
        raise LedgerError(f"{file_id}, or the watermark of {self._pipeline.name}, changes all the time; try again")

    async def drop(self, file_id: str) -> FileItem:
        """Give a quarantined file up; its changes will be missing. Its object stays on S3.

        Args:
            file_id: of a file in quarantine.
        """
        file = await self._in_quarantine(file_id)
        await self._ledger.files.drop(file)
        return file

    async def reject_keys(self) -> list[str]:
        """List the objects that hold rejects."""
        prefix = rejects_prefix(self._config.prefix, self._pipeline.name)
        return [key async for key in self._bucket.list_keys(prefix)]

    async def rejects(self, key: str) -> list[Reject]:
        """Read the rejects of an object; they are item content.

        Args:
            key: of the object, as `reject_keys` lists it.
        """
        lines = gzip.decompress(await self._bucket.get(key)).splitlines()
        return [msgspec.json.decode(line, type=Reject) for line in lines]

    async def end_rejects(self, key: str) -> None:
        """Delete an object of rejects that were replayed or are given up, and note it with their file.

        The note comes first: should the object stay, it is listed on, and deleting it again does the rest.

        Args:
            key: of the object, as `reject_keys` lists it.
        """
        await self._ledger.files.end_rejects(parse_rejects_key(key))
        await self._bucket.delete(key)

    async def _in_quarantine(self, file_id: str) -> FileItem:
        for file in await self.quarantined():
            if file.file_id == file_id:
                return file
        raise LedgerError(f"{file_id} is not in the quarantine of {self._pipeline.name}; list it first")

    async def _change_head(self, **changes: object) -> Head:
        for _ in range(RACES):
            head = await self._ledger.batches.head(self._pipeline.name)
            if head is None:
                raise LedgerError(
                    f"{self._pipeline.name} has no HEAD yet; the coordinator makes it when it first wakes"
                )
            try:
                return await self._ledger.batches.change_head(head, **changes)
            except StaleStepError:
                continue
        raise LedgerError(f"HEAD of {self._pipeline.name} changes all the time; try again")


def count_unrouted(files: Iterable[FileItem]) -> dict[str, int]:
    """Count the items that no target took, by what tells their kind, the most frequent first.

    Args:
        files: of the ledger.
    """
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
