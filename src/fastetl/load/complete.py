"""Find up to when everything is loaded, as far as that can be proved. Pure.

What is known of a shard, and by what:

- **Its newest record that is in a file.** The records of a shard come in its order, and Lambda goes on only after a
  batch is acknowledged (AWS Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB"), which is after its file
  is registered. So every change that the shard holds before that record is in a file.
- **That it is finished.** It is closed, and the newest record in a file is its last one: DescribeStream tells its
  number (DynamoDB Streams API, SequenceNumberRange). Or a child of it is being read: Lambda reads a shard after its
  parent (DynamoDB Developer Guide, "Reading and processing a stream").
- **When it began:** not before its parent's last change, and not before a look at the stream that did not show it.

Nothing tells that an open shard is drained. An empty page of GetRecords does not: "it might take multiple calls to get
to a portion of the shard that contains stream records" (DynamoDB Streams API). GetShardIterator's LATEST gives a place
that nobody can read. An open shard that rests is therefore known up to its last change and no further.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from fastetl.aws import Stream
from fastetl.limits import STREAM_KEEPS_SECONDS
from fastetl.model import FileItem, Gap, PutBack, ShardProgress, Watermark

CREATION_SLACK_MS = 2_000
"""DynamoDB's time of creation is approximate and rounded down to the second (DynamoDB Streams API, StreamRecord)."""

LISTING_SLACK_MS = 300_000
"""A shard may be listed later than it takes changes, by no more than this: nothing is documented."""

KEEPS_MS = STREAM_KEEPS_SECONDS * 1000

CATCH_UP_MS = 900_000
"""After this time of reading an open shard has shown a file of whatever it held: Lambda polls a shard four times a
second (AWS Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB")."""

ONE_GAP_MS = 600_000
"""Two gaps of a shard with less between them are told as one."""

WAIT = "files that wait for their load"
"""What holds a watermark where a file waits."""


class Seen(msgspec.Struct, frozen=True):
    """What one look found."""

    stream: Stream
    now_ms: int
    files: tuple[FileItem, ...] = ()
    """Every file with a change of the hours that were listed, and those that are put back, as the ledger has them, read
    after the stream was described."""
    is_listed: bool = False
    """Whether files were listed, since the watermark or of more than a day."""
    none_older_waits: bool = False
    """Whether it is certain that no file waits with a change of an earlier hour, apart from those that are put back."""
    listed_before: frozenset[str] = frozenset()
    """Ids of the files that an earlier list had already. Only these count as read: whatever was registered before one
    of them is among `files`, while a list is not of one moment."""
    is_read: bool = True
    """Whether Lambda reads the stream, as the mapping says."""
    fails: bool = False
    """Whether it is read, and the last batch of some shard failed. It is tried again: at one look this tells nothing,
    at two in a row it is as if nothing were read."""
    has_given_up: bool = False
    """Whether events that Lambda gave up wait for `fastetl replay`, or waited while the files were listed."""
    mended_at: int = 0
    """Unix milliseconds: a resync has carried the table over as it was then; 0 where none has."""


def follow(known: Watermark, seen: Seen) -> Watermark:
    """Bring a watermark up to what one look found.

    Args:
        known: the watermark of the look before; without a stream at the first.
        seen: the stream, its files, and whether it is read.

    Returns:
        The watermark of now; its problems are still those of before.
    """
    if seen.stream.shards and known.stream_arn != seen.stream.arn:
        known = _begin(known, seen)
    known = _note_reading(known, seen)
    shards = _advance(known, seen)
    done = _find_finished(shards, known, seen)
    listed = {shard.shard_id for shard in seen.stream.shards}
    left = tuple(
        _begin_after_parent(shard, shards[shard.parent_id] if shard.parent_id in done & shards.keys() else None)
        for shard_id, shard in shards.items()
        if shard_id not in done
    )
    following = msgspec.structs.replace(
        known,
        checked_at=seen.now_ms,
        shards=_note_unread(left, known, seen),
        finished=tuple(sorted(({*known.finished} | done) & listed)),
        gaps=_find_gaps(known, seen),
        put_back=_find_put_back(known, seen),
    )
    if not seen.is_listed or not seen.none_older_waits:
        # What waits may be older than what was looked at.
        return following
    up_to, held_by = _find_lowest(following, seen)
    if seen.has_given_up and up_to > known.proved_up_to:
        up_to, held_by = known.proved_up_to, "events that Lambda gave up: `fastetl replay`"
    following = msgspec.structs.replace(following, proved_up_to=up_to, held_by=held_by)
    return msgspec.structs.replace(following, held_by=WAIT) if is_held(following) else following


def is_held(watermark: Watermark) -> bool:
    """Tell whether a file that was put back holds a watermark."""
    return watermark.complete_up_to < watermark.proved_up_to


def _find_put_back(known: Watermark, seen: Seen) -> tuple[PutBack, ...]:
    """Find which of the files that were put back wait still, as far as this look has read them."""
    done = {file.file_id for file in seen.files if file.state != "PENDING"}
    return tuple(file for file in known.put_back if file.file_id not in done)


def _begin(known: Watermark, seen: Seen) -> Watermark:
    """Follow another stream. What the one before still held, and what was made between the two, may be missing."""
    gaps = known.gaps
    if known.stream_arn:
        gaps += tuple(Gap(shard.shard_id, shard.up_to, seen.stream.created_at) for shard in known.shards)
        gaps += () if known.shards else (Gap("", known.proved_up_to, seen.stream.created_at),)
    return Watermark(
        known.pipeline, seen.stream.arn, gaps=gaps, proved_up_to=known.proved_up_to, put_back=known.put_back,
        unknown_until=known.unknown_until, generation=known.generation,
    )  # fmt: skip


def _note_reading(known: Watermark, seen: Seen) -> Watermark:
    """Note since when the stream is read, or is not."""
    if seen.is_read and not seen.fails:
        return msgspec.structs.replace(known, unread_since=0, read_since=known.read_since or seen.now_ms)
    if seen.is_read and (known.read_since or not known.checked_at):
        # The first look at which a batch fails.
        return msgspec.structs.replace(known, read_since=0)
    return msgspec.structs.replace(known, unread_since=known.unread_since or seen.now_ms, read_since=0)


def _note_unread(shards: tuple[ShardProgress, ...], known: Watermark, seen: Seen) -> tuple[ShardProgress, ...]:
    """Note which shards are perhaps not read: all of them while nothing is, and then each until it has caught up.

    The stream goes on forgetting while Lambda catches up, and what has not been read by then is lost as well.

    Args:
        shards: that are not finished.
        known: the watermark, with since when the stream is read.
        seen: the stream.
    """
    open_shards = {shard.shard_id for shard in seen.stream.shards if not shard.ending}
    read_before = {shard.shard_id: shard.sequence for shard in known.shards}
    unread = {shard.shard_id: shard.unread_since for shard in shards}
    has_time = bool(known.read_since) and seen.now_ms - known.read_since >= CATCH_UP_MS
    noted = []
    for shard in shards:
        is_open = not seen.stream.shards or shard.shard_id in open_shards
        caught_up_from = min(known.read_since or seen.now_ms, seen.now_ms - CATCH_UP_MS)
        has_caught_up = seen.is_read and shard.read_up_to >= caught_up_from
        # A shard that is closed and not finished holds records that nobody has read, and its children wait for it.
        waits = not is_open or shard.parent_id in unread
        rests = seen.is_listed and shard.sequence == read_before.get(shard.shard_id)
        is_drained = has_time and rests and not waits
        since = shard.unread_since or unread.get(shard.parent_id, 0) or known.unread_since
        closed_by = 0 if is_open else shard.closed_by or seen.now_ms
        noted.append(
            msgspec.structs.replace(
                shard, unread_since=0 if has_caught_up or is_drained else since, closed_by=closed_by
            )
        )
    return tuple(noted)


def _find_gaps(known: Watermark, seen: Seen) -> tuple[Gap, ...]:
    """Add what the stream has forgotten of shards that were not read."""
    gaps = [gap for gap in known.gaps if gap.until > seen.mended_at]
    lost_until = seen.now_ms - KEEPS_MS
    for shard in known.shards:
        since = max(shard.up_to or shard.unread_since, seen.mended_at)
        until = min(lost_until, shard.closed_by or lost_until)
        if not shard.unread_since or until <= since or lost_until <= shard.unread_since:
            continue
        last = next((gap for gap in reversed(gaps) if gap.shard_id == shard.shard_id), None)
        if last and since - last.until < ONE_GAP_MS:
            gaps.remove(last)
            since, until = min(since, last.since), max(until, last.until)
        gaps.append(Gap(shard.shard_id, since, until))
    return tuple(gaps)


def _advance(known: Watermark, seen: Seen) -> dict[str, ShardProgress]:
    """Give the progress of every shard that is not known to be finished."""
    shards = {shard.shard_id: shard for shard in known.shards}
    for shard in seen.stream.shards:
        if shard.shard_id not in shards and shard.shard_id not in known.finished:
            shards[shard.shard_id] = ShardProgress(shard.shard_id, shard.parent_id, _find_beginning(known, seen))
    for file in seen.files:
        progress = shards.get(file.shard_id) if file.file_id in seen.listed_before else None
        if progress and _number(file.last_sequence) > _number(progress.sequence):
            shards[file.shard_id] = msgspec.structs.replace(
                progress, sequence=file.last_sequence, read_up_to=max(progress.read_up_to, file.last_changed)
            )
    return shards


def _find_beginning(known: Watermark, seen: Seen) -> int:
    """Give when a shard that was not there at the last look began, at the earliest; 0 at the first look."""
    if known.checked_at:
        return known.checked_at - LISTING_SLACK_MS
    # All shards of a stream that is younger than its retention are there.
    return seen.stream.created_at if seen.now_ms - seen.stream.created_at < KEEPS_MS else 0


def _find_finished(shards: Mapping[str, ShardProgress], known: Watermark, seen: Seen) -> set[str]:
    """Find the shards of which everything is in files, or that the stream has forgotten while Lambda read it."""
    was_read = seen.is_read and bool(known.read_since) and seen.now_ms - known.read_since > KEEPS_MS
    endings = {shard.shard_id: shard.ending for shard in seen.stream.shards}
    parents = {shard.shard_id: shard.parent_id for shard in seen.stream.shards}
    finished = set()
    for shard_id, shard in shards.items():
        ending = endings.get(shard_id, "")
        if ending and shard.sequence and _number(shard.sequence) >= _number(ending):
            finished.add(shard_id)
        if shard_id not in endings and was_read:
            finished.add(shard_id)
        ancestor = shard.parent_id if shard.sequence else ""
        while ancestor and ancestor not in finished:
            finished.add(ancestor)
            ancestor = parents.get(ancestor, "")
    return finished


def _begin_after_parent(shard: ShardProgress, parent: ShardProgress | None) -> ShardProgress:
    """Let a shard begin no earlier than the last change of its parent, which is finished."""
    began = max(shard.began, parent.up_to) if parent else shard.began
    return msgspec.structs.replace(shard, began=began)


def _find_lowest(watermark: Watermark, seen: Seen) -> tuple[int, str]:
    """Find the first change that is perhaps not loaded, and what it is that is not."""
    is_put_back = {file.file_id for file in watermark.put_back}
    waits = [
        (read_moment(file.changed_min), WAIT)
        for file in seen.files
        if file.state == "PENDING" and file.changed_min and file.file_id not in is_put_back
    ]
    gaps = [(gap.since, "a gap: `fastetl resync`") for gap in watermark.gaps]
    bounds = [(shard.up_to, name_holder(shard.shard_id)) for shard in watermark.shards]
    if not bounds:
        return 0, "no shard is known"
    moment, held_by = min(bounds + waits + gaps)
    return max(0, moment - CREATION_SLACK_MS), held_by


def name_holder(shard_id: str) -> str:
    """Name a shard as what holds a watermark."""
    return f"shard {shard_id}"


def read_moment(changed: str) -> int:
    """Read a time as FILE items have it, in UTC; in Unix milliseconds."""
    return int(datetime.fromisoformat(changed).replace(tzinfo=UTC).timestamp() * 1000)


def _number(sequence: str) -> int:
    return int(sequence or -1)
