"""Look from time to time whether the stream is still read, and up to when everything is loaded.

A look shows no item to the coordinator and wakes no warehouse. It asks Lambda for the mapping, DynamoDB for the
stream's shards and, where the watermark may have moved, S3 for the names of the files since it, and the ledger for
their items. S3's lists and reads of the ledger's items are strongly consistent. The ledger's index is not: it is asked
where the watermark is older than a day or not known, for what has waited for hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from fastetl.aws import Deployment, Mapping, Stream, StreamWatch
from fastetl.errors import FastetlError, StaleStepError
from fastetl.keys import (
    FAILURES_PREFIX,
    data_prefix,
    hour_prefixes,
    parse_data_key,
    parse_rejects_key,
    rejects_prefix,
)
from fastetl.load.batches import list_members
from fastetl.load.complete import KEEPS_MS, Seen, follow, read_moment
from fastetl.load.listing import DEEP_MS, RECENT_MS, Listed, asks_for_files, asks_for_older, choose_since
from fastetl.model import Backfill, Batch, FileItem, Watermark

LOOK_SECONDS = 120
"""Between two looks. To ask Lambda for a mapping and DynamoDB for a stream's shards costs nothing."""

AHEAD_MS = 300_000
"""By how much a change may be of the future, as this clock tells it."""

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
        self._listed = Listed()
        self._unknown_until = 0
        """The watermark's: where it changes, files that were loaded may wait."""

    def note_loaded(self, batch: Batch) -> None:
        """Note what this process has just seen loaded, so that it need not be read again.

        Args:
            batch: whose files are all marked as loaded.
        """
        self._note_late(batch)
        known = {file_id: self._items[file_id] for file_id in list_members(batch) if file_id in self._items}
        self._items |= {file_id: msgspec.structs.replace(item, state="LOADED") for file_id, item in known.items()}

    async def foresee(self, batch: Batch) -> int:
        """Tell up to when everything will be loaded once a batch is, by a look.

        Args:
            batch: that is about to be loaded.

        Returns:
            Unix milliseconds; 0 where it is not known, or cannot be found out now: no load waits for it.
        """
        self._note_late(batch)
        try:
            async with asyncio.timeout(FORESEE_SECONDS):
                return (await self.look(at_once=True, loading=frozenset(list_members(batch)))).complete_up_to
        except (FastetlError, TimeoutError):
            return 0

    def _note_late(self, batch: Batch) -> None:
        if batch.changed_min and read_moment(batch.changed_min) < int(self._clock() * 1000) - RECENT_MS:
            self._listed = msgspec.structs.replace(self._listed, is_late=True)

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
        is_mended = backfill is not None and backfill.resync and backfill.state == "FINISHED"
        mended_at = backfill.exported_at * 1000 if backfill and is_mended else 0
        plain = Seen(stream, now_ms, mended_at=mended_at, is_read=not stop, fails=bool(fails))
        seen = await self._see(known, mapping, plain, always=bool(loading))
        now = follow(known, seen)
        if self._listed.at == now_ms and asks_for_older(now, self._listed, now_ms):
            # By the recent files no shard holds it any more.
            seen = await self._see(now, mapping, plain, always=True)
            now = follow(known, seen)
        # One batch that fails is tried again: only what fails at two looks is told.
        problems = [stop or fails] if now.unread_since else []
        problems += _describe_export(backfill, now_ms)
        problems += [_describe_gap(gap.shard_id, gap.since, gap.until) for gap in now.gaps]
        now = msgspec.structs.replace(now, problems=tuple(problems))
        try:
            now = await self._ledger.watermarks.put(now, before)
        except StaleStepError:
            # What was listed is in no watermark: the next look lists it again.
            self._listed = Listed()
            raise
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

    async def _see(self, known: Watermark, mapping: Mapping, plain: Seen, *, always: bool) -> Seen:
        """Add the files to what a look has seen, where it has to list them."""
        stream, now_ms = plain.stream, plain.now_ms
        if not stream.shards:
            return plain
        head = await self._ledger.batches.head(self._pipeline.name)
        generation = head.generation if head else 0
        ended = (head.loads if head else 0) != self._loads or not self._open <= set(head.open if head else ())
        is_changed = always or ended or stream != self._stream
        self._listed = msgspec.structs.replace(self._listed, has_loaded=self._listed.has_loaded or ended)
        self._open |= set(head.open if head else ())
        if not asks_for_files(known, self._listed, is_changed=is_changed, now_ms=now_ms):
            return plain
        is_old = known.proved_up_to < now_ms - DEEP_MS
        waits_since = await self._find_longest_wait(now_ms) if is_old else now_ms
        since, none_older_waits = choose_since(known, self._listed, waits_since=waits_since, now_ms=now_ms)
        hours, place = _hours(since, now_ms + AHEAD_MS), (self._config.prefix, self._pipeline.name)
        # Asked before and after the files: meanwhile Lambda may give events up, and an operator replay them.
        gave_up = await self._has_given_up(mapping)
        files_of_stream = f"{data_prefix(*place)}{stream.arn.rpartition('/')[2]}/"
        rejected = [parse_rejects_key(key) async for key in self._list(rejects_prefix(*place), hours)]
        # Whatever was registered before a file of the first list is in the second one.
        first = [parse_data_key(key)[1] async for key in self._list(files_of_stream, hours)]
        second = [parse_data_key(key)[1] async for key in self._list(files_of_stream, hours)] if first else []
        ids = dict.fromkeys((*rejected, *second, *(file.file_id for file in known.put_back)))
        files = await self._read(list(ids), generation, known.unknown_until)
        gave_up = await self._has_given_up(mapping) or gave_up
        self._stream = stream
        has_older = since < now_ms - RECENT_MS
        self._listed = Listed(now_ms, now_ms) if has_older else msgspec.structs.replace(self._listed, at=now_ms)
        self._loads, self._open = (head.loads, set(head.open)) if head else (0, set())
        listed_before = frozenset((*rejected, *first))
        is_listed = since <= max(known.proved_up_to, now_ms - DEEP_MS)
        return msgspec.structs.replace(
            plain, files=files, is_listed=is_listed, none_older_waits=none_older_waits, listed_before=listed_before,
            has_given_up=gave_up,
        )  # fmt: skip

    async def _has_given_up(self, mapping: Mapping) -> bool:
        return await anext(self._bucket.list_keys(f"{FAILURES_PREFIX}{mapping.uuid}/"), None) is not None

    async def _find_longest_wait(self, now_ms: int) -> int:
        """Find when the file was registered that waits longest, as the index says."""
        async for file in self._ledger.files.pending(self._pipeline.name):
            return file.created
        return now_ms

    async def _list(self, folder: str, hours: Iterable[str]) -> AsyncIterator[str]:
        for prefix in hour_prefixes(folder, hours):
            async for key in self._bucket.list_keys(prefix):
                yield key

    async def _read(self, ids: Sequence[str], generation: int, unknown_until: int) -> tuple[FileItem, ...]:
        """Read the files' items; those that wait again only after HEAD has changed, since a load changes it."""
        if unknown_until != self._unknown_until:
            self._items, self._unknown_until = {}, unknown_until
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
