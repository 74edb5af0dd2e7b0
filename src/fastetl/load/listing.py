"""Decide when a look lists the files, and since when: listing is what a look pays for. Pure."""

from __future__ import annotations

import msgspec

from fastetl.load.complete import CREATION_SLACK_MS, KEEPS_MS, name_holder
from fastetl.model import Watermark

LIST_MS = 1_200_000
"""Between two lists of the files where nothing asks for one."""

SELDOM_MS = 14_400_000
"""Between two lists of files that are not recent where nothing asks for one: another process may have loaded some."""

RECENT_MS, DEEP_MS = 7_200_000, 93_600_000
"""Since when files are listed where the watermark is older: since the first, and at times since the second. A file
whose first change was made before `DEEP_MS` ago was registered before `RECENT_MS` ago, since a stream keeps a change
for 24 hours."""

AHEAD_MS = 600_000
"""Of the moment at which the stream forgets a change that is perhaps not read; a gap is told of what is known then."""


class Listed(msgspec.Struct, frozen=True):
    """When this process has listed files: Unix milliseconds, 0 where it has not."""

    at: int = 0
    all_at: int = 0
    """Those that are not recent, since an old watermark."""
    has_loaded: bool = False
    """Whether a batch has ended since."""
    is_late: bool = False
    """Whether this process has loaded changes since that were not recent any more."""


def asks_for_files(known: Watermark, listed: Listed, *, is_changed: bool, now_ms: int) -> bool:
    """Tell whether a look has to list the files.

    Files that wait hold the watermark until a load has ended, and where none waits, the next one that comes does.

    Args:
        known: the watermark of the look before.
        listed: when this process has listed them.
        is_changed: whether a batch may have ended since the last list, or a shard has begun or been closed.
        now_ms: Unix milliseconds.
    """
    is_behind = _is_unread(known) or bool(known.put_back)
    return is_changed or is_behind or now_ms - listed.at >= LIST_MS or asks_for_older(known, listed, now_ms)


def choose_since(known: Watermark, listed: Listed, *, waits_since: int, now_ms: int) -> tuple[int, bool]:
    """Choose since when the files are listed: since the watermark, but not at every look where it is old.

    Args:
        known: the watermark of the look before.
        listed: when this process has listed files.
        waits_since: Unix milliseconds: when the file was registered that waits longest, as the ledger's index says;
            `now_ms` where none waits. The index is late by seconds.
        now_ms: Unix milliseconds.

    Returns:
        Unix milliseconds, and whether it is certain that no older file waits, apart from those that were put back.
    """
    proved, recent = known.proved_up_to, now_ms - RECENT_MS
    if proved >= recent:
        return proved, True
    if not asks_for_older(known, listed, now_ms):
        return recent, False
    if proved >= now_ms - DEEP_MS:
        return proved, True
    return now_ms - DEEP_MS, now_ms >= known.unknown_until and waits_since >= max(recent, known.unknown_until)


def asks_for_older(known: Watermark, listed: Listed, now_ms: int) -> bool:
    """Tell whether older files than the recent ones are to be listed: seldom where a shard or a gap holds anyway.

    Args:
        known: the watermark of the look before, or what follows from the recent files.
        listed: when this process has listed files.
        now_ms: Unix milliseconds.
    """
    if known.proved_up_to >= now_ms - RECENT_MS:
        return False
    if _is_forgotten(known, now_ms):
        return now_ms > listed.all_at
    bounds = [shard.up_to for shard in known.shards] + [gap.since for gap in known.gaps]
    # Where events do not name their shard, nothing is known of any, and no list tells more.
    may_rise = not known.shards or min(bounds) - CREATION_SLACK_MS > known.proved_up_to
    is_asked = may_rise or _is_unread(known) or listed.is_late
    is_free = listed.has_loaded or _has_shard_ended(known, now_ms)
    every = SELDOM_MS if not is_asked else 0 if is_free else LIST_MS
    return now_ms - listed.all_at >= every


def _has_shard_ended(known: Watermark, now_ms: int) -> bool:
    """Tell whether the shard that held the watermark has ended since: a list of all that may wait moves it."""
    holders = {name_holder(shard.shard_id) for shard in known.shards}
    held_by_shard = known.held_by.startswith(name_holder(""))
    return known.proved_up_to >= now_ms - DEEP_MS and held_by_shard and known.held_by not in holders


def _is_forgotten(known: Watermark, now_ms: int) -> bool:
    """Tell whether the stream forgets, now or soon, what is known to be unread of a shard, and a list may tell more.

    It does while Lambda reads what has waited, and before a shard's first gap is told.
    """
    told = {gap.shard_id for gap in known.gaps}
    return any(
        shard.unread_since and shard.up_to < now_ms - KEEPS_MS + AHEAD_MS
        for shard in known.shards
        if known.read_since or shard.shard_id not in told
    )


def _is_unread(known: Watermark) -> bool:
    return bool(known.unread_since) or any(shard.unread_since for shard in known.shards)
