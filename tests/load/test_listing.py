"""When a look lists the files, and since when: what is old is listed only where it can move the watermark."""

from __future__ import annotations

from typing import Any

import pytest

from fastetl.load.complete import CREATION_SLACK_MS, KEEPS_MS, WAIT
from fastetl.load.listing import (
    AHEAD_MS,
    DEEP_MS,
    LIST_MS,
    RECENT_MS,
    SELDOM_MS,
    Listed,
    asks_for_files,
    asks_for_older,
    choose_since,
)
from fastetl.model import Gap, PutBack, ShardProgress, Watermark

NOW = 1_767_225_600_000
MINUTE, HOUR = 60_000, 3_600_000
RECENT, OLD, OLDER = NOW - HOUR, NOW - 5 * HOUR, NOW - 50 * HOUR
JUST, LONG_AGO = Listed(NOW - MINUTE, NOW - MINUTE), Listed(NOW - MINUTE, NOW - LIST_MS)


def known(proved_up_to: int, read_up_to: int = NOW, **how: Any) -> Watermark:
    shards = (ShardProgress("a", "", 0, "1", read_up_to),)
    return Watermark("orders", proved_up_to=proved_up_to, shards=shards, **how)


@pytest.mark.parametrize(
    ("what", "watermark", "listed", "waits_since", "since"),
    [
        ("a recent watermark", known(RECENT), JUST, 0, (RECENT, True)),
        ("an old one, now and then", known(OLD), LONG_AGO, 0, (OLD, True)),
        ("an old one, in between", known(OLD), JUST, 0, (NOW - RECENT_MS, False)),
        ("an old one that a shard holds", known(OLD, OLD + CREATION_SLACK_MS), LONG_AGO, 0, (NOW - RECENT_MS, False)),
        ("an old one that a shard holds, seldom", known(OLD, OLD), Listed(NOW, NOW - SELDOM_MS), 0, (OLD, True)),
        ("an old one that a shard holds, and nothing is read", known(OLD, OLD, unread_since=OLD), LONG_AGO, 0,
            (OLD, True)),
        ("an old one that a shard holds, and old changes were loaded", known(OLD, OLD),
            Listed(NOW, NOW - LIST_MS, is_late=True), 0, (OLD, True)),
        ("an old one that a gap holds", known(OLD, gaps=(Gap("a", OLD, OLD),)), LONG_AGO, 0, (NOW - RECENT_MS, False)),
        ("one older than a day", known(OLDER), LONG_AGO, NOW, (NOW - DEEP_MS, True)),
        ("one older than a day, and something has waited for hours", known(OLDER), LONG_AGO, NOW - RECENT_MS - 1,
            (NOW - DEEP_MS, False)),
        ("one that is not known", known(0), LONG_AGO, NOW, (NOW - DEEP_MS, True)),
        ("one that is not known, and something has waited for hours", known(0), LONG_AGO, NOW - RECENT_MS - 1,
            (NOW - DEEP_MS, False)),
        ("one of a ledger that is being rebuilt", known(0, unknown_until=NOW + 1), LONG_AGO, NOW + 2,
            (NOW - DEEP_MS, False)),
        ("one of a ledger that was rebuilt", known(0, unknown_until=NOW - 1), LONG_AGO, NOW, (NOW - DEEP_MS, True)),
        ("one of a ledger that was rebuilt, of which something waits", known(0, unknown_until=NOW - 1), LONG_AGO,
            NOW - 2, (NOW - DEEP_MS, False)),
    ],
)  # fmt: skip
def test_since_when_files_are_listed(
    what: str, watermark: Watermark, listed: Listed, waits_since: int, since: tuple[int, bool]
) -> None:
    assert choose_since(watermark, listed, waits_since=waits_since, now_ms=NOW) == since, what


@pytest.mark.parametrize(
    ("what", "watermark", "listed", "asks"),
    [
        ("nothing has happened", known(RECENT), JUST, False),
        ("it is time", known(RECENT), Listed(NOW - LIST_MS), True),
        ("nothing is read", known(RECENT, unread_since=OLD), JUST, True),
        ("a file was put back", known(RECENT, put_back=(PutBack("f", OLD),)), JUST, True),
        ("older files may move it", known(OLD), LONG_AGO, True),
        ("older files have just been listed", known(OLD), JUST, False),
        ("a batch has ended since older files were listed", known(OLD), Listed(NOW, NOW, has_loaded=True), True),
        (
            "a batch has ended, and events do not name their shard",
            known(0, 0),
            Listed(NOW, NOW - LIST_MS + 1, has_loaded=True),
            False,
        ),
        ("a batch has ended, and no shard is known yet", Watermark("orders"), Listed(NOW, NOW, has_loaded=True), True),
        ("a batch has ended, and a shard holds it", known(OLD, OLD), Listed(NOW, NOW, has_loaded=True), False),
        ("the shard that held it has ended", known(OLD, held_by="shard b"), JUST, True),
        ("the shard that held it is read", known(OLD, held_by="shard a"), JUST, False),
        ("files held it", known(OLD, held_by=WAIT), JUST, False),
        ("the shard that held it has ended, more than a day ago", known(OLDER, held_by="shard b"), JUST, False),
    ],
)
def test_when_files_are_listed(what: str, watermark: Watermark, listed: Listed, *, asks: bool) -> None:
    assert asks_for_files(watermark, listed, is_changed=False, now_ms=NOW) is asks, what
    assert asks_for_files(watermark, listed, is_changed=True, now_ms=NOW)


@pytest.mark.parametrize(
    ("what", "read_up_to", "how", "asks"),
    [
        ("no gap is told yet", NOW - KEEPS_MS + MINUTE, {}, True),
        ("nothing is read, and its gap is told", NOW - KEEPS_MS + MINUTE, {"gaps": (Gap("a", OLDER, OLDER),)}, False),
        ("it is read, and a gap is told", NOW - KEEPS_MS - HOUR, {"gaps": (Gap("a", 0, 1),), "read_since": OLD}, True),
        ("a gap of another shard is told", NOW - KEEPS_MS + MINUTE, {"gaps": (Gap("b", OLDER, OLDER),)}, True),
        ("the stream keeps it for a while", NOW - KEEPS_MS + AHEAD_MS, {}, False),
    ],
)
def test_a_gap_is_told_by_all_files_that_there_are(
    what: str, read_up_to: int, how: dict[str, Any], *, asks: bool
) -> None:
    shards = (ShardProgress("a", "", 0, "1", read_up_to, unread_since=OLD),)
    watermark = Watermark("orders", proved_up_to=OLDER, shards=shards, **how)
    assert asks_for_older(watermark, JUST, NOW) is asks, what
    assert not asks_for_older(watermark, Listed(NOW, NOW), NOW)
