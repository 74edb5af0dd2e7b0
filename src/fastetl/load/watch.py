"""Look from time to time whether the stream is still read, and up to when everything is loaded.

A look shows no item to the coordinator and wakes no warehouse. It asks Lambda for the mapping, DynamoDB for the
stream's shards and, where the watermark may have moved, S3 for the names of the files since it, and the ledger for
their items. S3's lists and
reads of the ledger's items are strongly consistent; the ledger's index is not, and nothing rests on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from fastetl.aws import Deployment, Mapping, Stream, StreamWatch
from fastetl.errors import FastetlError
from fastetl.keys import (
    FAILURES_PREFIX,
    data_prefix,
    hour_prefixes,
    parse_data_key,
    parse_rejects_key,
    rejects_prefix,
)
from fastetl.load.batches import list_members
from fastetl.load.complete import KEEPS_MS, LIST_MS, Seen, asks_for_files, follow
from fastetl.model import Backfill, Batch, FileItem, Watermark

LOOK_SECONDS = 120
"""Between two looks. To ask Lambda for a mapping and DynamoDB for a stream's shards costs nothing."""

RECENT_HOURS, DEEP_HOURS = 2, 26
"""Hours whose files a look lists where the watermark is older, and where it is not known, in which case a stream may
still hold changes of the last 24 hours; the latter once in `LIST_MS`."""

AHEAD_MS = 300_000
"""By how much a change may be of the future, as this clock tells it."""

MAX_HOURS = 24 * 14
"""A watermark that is older stands still, until what holds it is mended."""

READING = {"Enabled", "Creating", "Enabling", "Updating"}
"""States of a mapping in which Lambda reads, or is about to (AWS Lambda API reference, GetEventSourceMapping)."""

FORESEE_SECONDS = 10
"""A load waits for a look no longer."""

PROBLEM = "PROBLEM"
"""How Lambda begins its words on a processing that failed."""


class Watch:
    """Looks after one pipeline's stream."""

    def __init__(self, deployment: Deployment, watch: StreamWatch, mappings: Sequence[str]) -> None:
        """Describe what is looked at.

        Args:
            deployment: of the pipeline.
            watch: describes streams and mappings.
            mappings: UUIDs of the mappings of the deployment; one of them reads the pipeline's stream.
        """
        self._config = deployment.config
        self._pipeline = deployment.pipeline
        self._bucket = deployment.bucket
        self._ledger = deployment.ledger
        self._clock = deployment.clock
        self._watch = watch
        self._mappings = mappings
        self._items: dict[str, FileItem] = {}
        """As they were read last."""
        self._generation = -1
        """HEAD's, before they were read."""
        self._loads = -1
        self._open: set[str] = set()
        """HEAD's count of loads and its batches, before they were listed; and what was opened since."""
        self._stream: Stream | None = None
        """As it was described before they were listed."""
        self._listed_at = self._listed_all_at = 0
        """Unix milliseconds of the last list, and of the last one since an old watermark."""

    def note_loaded(self, batch: Batch) -> None:
        """Note what this process has just seen loaded, so that it need not be read again.

        Args:
            batch: whose files are all marked as loaded.
        """
        known = {file_id: self._items[file_id] for file_id in list_members(batch) if file_id in self._items}
        self._items |= {file_id: msgspec.structs.replace(item, state="LOADED") for file_id, item in known.items()}

    async def foresee(self, batch: Batch) -> int:
        """Tell up to when everything will be loaded once a batch is, by a look.

        Args:
            batch: that is about to be loaded.

        Returns:
            Unix milliseconds; 0 where it is not known, or cannot be found out now: no load waits for it.
        """
        try:
            async with asyncio.timeout(FORESEE_SECONDS):
                return (await self.look(at_once=True, loading=frozenset(list_members(batch)))).complete_up_to
        except (FastetlError, TimeoutError):
            return 0

    async def look(self, *, at_once: bool = False, loading: frozenset[str] = frozenset()) -> Watermark:
        """Look, unless somebody has just looked.

        Args:
            at_once: look even so, as after a load.
            loading: ids of files that are about to be loaded; the answer, and nothing that is kept, takes them for
                loaded.

        Returns:
            The watermark as it is known now.

        Raises:
            StaleStepError: another coordinator looked in the same moment.
            LedgerError, SourceError, StorageError: it could not be found out; the next look may.
        """
        name, now_ms = self._pipeline.name, int(self._clock() * 1000)
        before = await self._ledger.watermarks.read(name)
        if before and not at_once and 0 <= now_ms - before.checked_at < LOOK_SECONDS * 1000:
            return before
        known = before or Watermark(name)
        mapping = await self._find_mapping()
        stream = await self._describe(mapping)
        stop = _find_stop(mapping, stream)
        fails = "" if stop else _find_failure(mapping)
        backfill = await self._ledger.backfills.read_latest(name)
        seen = await self._see(known, mapping, stream, now_ms, always=bool(loading))
        is_mended = backfill is not None and backfill.resync and backfill.state == "FINISHED"
        mended_at = backfill.exported_at * 1000 if backfill and is_mended else 0
        seen = msgspec.structs.replace(seen, mended_at=mended_at, is_read=not stop, fails=bool(fails))
        now = follow(known, seen)
        # One batch that fails is tried again: only what fails at two looks is told.
        problems = [stop or fails] if now.unread_since else []
        problems += _describe_export(backfill, now_ms)
        problems += [_describe_gap(gap.shard_id, gap.since, gap.until) for gap in now.gaps]
        now = msgspec.structs.replace(now, problems=tuple(problems))
        await self._ledger.watermarks.put(now, before)
        return follow(known, _without(seen, loading)) if loading else now

    async def _describe(self, mapping: Mapping) -> Stream:
        if mapping.stream_arn and self._pipeline.source == "stream":
            return await self._watch.describe(mapping.stream_arn)
        # Of a Kinesis stream the mapping alone is looked after: when a change reaches the stream is not documented.
        return Stream(mapping.stream_arn, "ENABLED" if mapping.stream_arn else "GONE")

    async def _find_mapping(self) -> Mapping:
        """Find the mapping that reads the pipeline's stream; of a deployment with one mapping, that one."""
        found = [await self._watch.mapping(uuid) for uuid in self._mappings]
        ours = [each for each in found if each.stream_arn and self._pipeline.reads(each.stream_arn)]
        if ours:
            return ours[0]
        gone = [each for each in found if not each.stream_arn]
        return gone[0] if gone and len(self._mappings) == 1 else Mapping("", state="Gone")

    async def _see(self, known: Watermark, mapping: Mapping, stream: Stream, now_ms: int, *, always: bool) -> Seen:
        if not stream.shards:
            return Seen(stream, now_ms)
        head = await self._ledger.batches.head(self._pipeline.name)
        generation = head.generation if head else 0
        ended = (head.loads if head else 0) != self._loads or not self._open <= set(head.open if head else ())
        is_changed = always or ended or stream != self._stream
        self._open |= set(head.open if head else ())
        if not asks_for_files(known, is_changed=is_changed, listed_at=self._listed_at, now_ms=now_ms):
            return Seen(stream, now_ms)
        since = await self._choose_since(known, now_ms)
        hours, place = _hours(since, now_ms + AHEAD_MS), (self._config.prefix, self._pipeline.name)
        files_of_stream = f"{data_prefix(*place)}{stream.arn.rpartition('/')[2]}/"
        rejected = [parse_rejects_key(key) async for key in self._list(rejects_prefix(*place), hours)]
        # Whatever was registered before a file of the first list is in the second one.
        first = [parse_data_key(key)[1] async for key in self._list(files_of_stream, hours)]
        second = [parse_data_key(key)[1] async for key in self._list(files_of_stream, hours)] if first else []
        ids = dict.fromkeys((*rejected, *second))
        files = await self._read(list(ids), generation)
        gave_up = [key async for key in self._bucket.list_keys(f"{FAILURES_PREFIX}{mapping.uuid}/")]
        self._stream, self._listed_at = stream, now_ms
        self._loads, self._open = (head.loads, set(head.open)) if head else (0, set())
        return Seen(stream, now_ms, files, since, frozenset((*rejected, *first)), has_given_up=bool(gave_up))

    async def _choose_since(self, known: Watermark, now_ms: int) -> int:
        """Choose since when files are listed: since the watermark, but not at every look where it is old."""
        recent = _floor_hour(now_ms - (RECENT_HOURS - 1) * 3_600_000)
        if known.complete_up_to >= recent:
            return _floor_hour(known.complete_up_to)
        oldest = known.complete_up_to or now_ms - DEEP_HOURS * 3_600_000
        is_time = now_ms - self._listed_all_at >= LIST_MS
        if not is_time or (not known.complete_up_to and await self._waits_since(oldest)):
            return recent
        self._listed_all_at = now_ms
        return _floor_hour(max(oldest, now_ms - MAX_HOURS * 3_600_000))

    async def _waits_since(self, moment_ms: int) -> bool:
        """Tell whether a file was registered before a moment and waits on: long enough ago for the index to know."""
        async for file in self._ledger.files.pending(self._pipeline.name):
            return file.created < moment_ms
        return False

    async def _list(self, folder: str, hours: Iterable[str]) -> AsyncIterator[str]:
        for prefix in hour_prefixes(folder, hours):
            async for key in self._bucket.list_keys(prefix):
                yield key

    async def _read(self, ids: Sequence[str], generation: int) -> tuple[FileItem, ...]:
        """Read the files' items; those that wait again only after HEAD has changed, since a load changes it."""
        kept = {
            file_id: item
            for file_id in ids
            if (item := self._items.get(file_id))
            and (item.state in {"LOADED", "REJECTED"} or (item.state == "PENDING" and generation == self._generation))
        }
        self._items = kept | await self._ledger.files.read([file_id for file_id in ids if file_id not in kept])
        self._generation = generation
        return tuple(self._items.values())


def _without(seen: Seen, loading: frozenset[str]) -> Seen:
    files = (msgspec.structs.replace(file, state="LOADED") if file.file_id in loading else file for file in seen.files)
    return msgspec.structs.replace(seen, files=tuple(files))


def _find_stop(mapping: Mapping, stream: Stream) -> str:
    """Say what keeps the stream from being read; nothing where it is read."""
    if mapping.state == "Gone":
        return "no event source mapping of this stack reads its stream any more: deploy again"
    if mapping.state not in READING:
        return (
            f"the event source mapping {mapping.uuid} is {mapping.state}: enable it, before the stream forgets changes"
        )
    if stream.status not in {"ENABLED", "ENABLING"}:
        status = "is gone" if stream.status == "GONE" else f"is {stream.status}"
        return f"the stream {stream.arn} {status}: deploy with the table's stream of now, then run `fastetl resync`"
    return ""


def _find_failure(mapping: Mapping) -> str:
    """Say that the last batch failed of some shard; nothing where it did not."""
    if mapping.last_result.startswith(PROBLEM):
        return f"Lambda cannot process the stream ({mapping.last_result}): look at ingest's log and at its role"
    return ""


def _describe_export(backfill: Backfill | None, now_ms: int) -> list[str]:
    if backfill is None or backfill.state != "CONVERTING" or now_ms - backfill.exported_at * 1000 < KEEPS_MS:
        return []
    hours = (now_ms // 1000 - backfill.exported_at) // 3600
    return [f"the export {backfill.export_id} is being carried over for {hours} hours: start `fastetl backfill` again"]


def _describe_gap(shard_id: str, since: int, until: int) -> str:
    where = f"shard {shard_id}" if shard_id else "the stream"
    return f"changes of {where} from {_write(since)} to {_write(until)} may be missing: `fastetl resync`"


def _write(moment_ms: int) -> str:
    return f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _floor_hour(moment_ms: int) -> int:
    return moment_ms // 3_600_000 * 3_600_000


def _hours(since_ms: int, until_ms: int) -> list[str]:
    first = datetime.fromtimestamp(_floor_hour(since_ms) / 1000, UTC)
    count = (until_ms - _floor_hour(since_ms)) // 3_600_000 + 1
    return [f"{first + timedelta(hours=n):%Y/%m/%d/%H}" for n in range(count)]
