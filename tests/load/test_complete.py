"""Up to when everything is loaded: what may be concluded of a stream's shards and its files, and what may not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from fastetl.aws import Shard, Stream
from fastetl.load.complete import CATCH_UP_MS, CREATION_SLACK_MS, KEEPS_MS, LISTING_SLACK_MS, Seen, follow
from fastetl.model import FileItem, Gap, ShardProgress, Watermark

ARN = "arn:aws:dynamodb:us-east-1:1:table/orders/stream/2026-01-01T00:00:00.000"
OTHER = "arn:aws:dynamodb:us-east-1:1:table/orders/stream/2026-01-09T00:00:00.000"
START = 1_767_225_600_000
"""2026-01-01, when the stream was made."""
MINUTE, HOUR = 60_000, 3_600_000
NOW = START + 10 * HOUR


def make_file(name: str, shard_id: str, sequence: int, at: int, state: Any = "LOADED", first: int = 0) -> FileItem:
    changed_min = f"{datetime.fromtimestamp((first or at) / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"
    return FileItem(
        name, "orders", f"{name}.csv.gz", "l", "c", 1, 1, 0, "", "", "", changed_min, changed_min, at, state,
        shard_id=shard_id, last_sequence=str(sequence), last_changed=at,
    )  # fmt: skip


def look(known: Watermark, shards: Any, files: Any = (), **changes: Any) -> Watermark:
    """A look that has the files of the look before."""
    seen = Seen(
        stream=Stream(ARN, "ENABLED", START, tuple(shards)),
        now_ms=NOW,
        files=tuple(files),
        is_listed=True,
        none_older_waits=True,
        listed_before=frozenset(file.file_id for file in files),
    )
    return follow(known, msgspec.structs.replace(seen, **changes))


NEW = Watermark("orders")
OPEN = [Shard("a"), Shard("b")]


def minus_slack(moment: int) -> int:
    return moment - CREATION_SLACK_MS


LATE, EARLY = NOW - 5 * MINUTE, NOW - 30 * MINUTE
A, B = make_file("1", "a", 9, LATE), make_file("2", "b", 10, EARLY)


@pytest.mark.parametrize(
    ("what", "shards", "files", "up_to", "held_by"),
    [
        ("the shard that is behind counts", OPEN, [A, B], minus_slack(EARLY), "shard b"),
        ("of a new stream nothing is older than itself", OPEN, [A], minus_slack(START), "shard b"),
        ("a file that waits counts from its first change", OPEN,
            [A, B, make_file("3", "a", 8, LATE, "PENDING", first=EARLY - HOUR)], minus_slack(EARLY - HOUR),
            "files that wait for their load"),
        ("rejects and quarantine are named elsewhere, and hold nothing", OPEN,
            [A, B, make_file("3", "a", 8, EARLY - HOUR, "QUARANTINED"), make_file("4", "a", 7, EARLY, "REJECTED")],
            minus_slack(EARLY), "shard b"),
        ("sequence numbers are numbers", OPEN[:1], [make_file("1", "a", 9, EARLY), make_file("2", "a", 10, LATE)],
            minus_slack(LATE), "shard a"),
        ("what is closed and read to its last number is finished", [Shard("a"), Shard("b", "", "10")], [A, B],
            minus_slack(LATE), "shard a"),
        ("what is closed and not read to its last number is not", [Shard("a"), Shard("b", "", "11")], [A, B],
            minus_slack(EARLY), "shard b"),
        ("a parent of what is read is finished", [Shard("a"), Shard("b", "", "99"), Shard("c", "b")],
            [A, B, make_file("3", "c", 12, LATE - MINUTE)], minus_slack(LATE - MINUTE), "shard c"),
        ("and so is its parent", [Shard("z", "", "5"), Shard("b", "z", "99"), Shard("c", "b")],
            [make_file("3", "c", 12, LATE)], minus_slack(LATE), "shard c"),
        ("a child of what is finished begins after it", [Shard("b", "", "10"), Shard("c", "b")], [B],
            minus_slack(EARLY), "shard c"),
        ("a child of what is not begins no earlier, and its parent holds", [Shard("b", "", "11"), Shard("c", "b")], [B],
            minus_slack(START), "shard c"),
        ("files that do not say their shard prove nothing", OPEN, [make_file("1", "", 9, LATE)], minus_slack(START),
            "shard a"),
        ("a stream without shards is not known", [], [], 0, "no shard is known"),
    ],
)  # fmt: skip
def test_what_follows_from_one_look(what: str, shards: Any, files: Any, up_to: int, held_by: str) -> None:
    found = look(NEW, shards, files)
    assert (found.complete_up_to, found.held_by) == (up_to, held_by), what


def test_a_shard_of_an_old_stream_of_which_no_file_is_makes_it_unknown() -> None:
    stream = Stream(ARN, "ENABLED", NOW - 2 * KEEPS_MS, tuple(OPEN))
    found = look(NEW, OPEN, [A], stream=stream)
    assert (found.complete_up_to, found.held_by) == (0, "shard b")


def test_a_list_is_not_of_one_moment_so_only_files_of_the_look_before_count_as_read() -> None:
    first = look(NEW, OPEN[:1], [A], listed_before=frozenset())
    assert first.complete_up_to == minus_slack(START)
    assert look(first, OPEN[:1], [A]).complete_up_to == minus_slack(LATE)


def test_nothing_is_said_where_older_files_may_wait() -> None:
    known = look(NEW, OPEN, [A, B])
    later = look(known, OPEN, [A, make_file("3", "b", 20, LATE)], none_older_waits=False)
    assert later.complete_up_to == known.complete_up_to
    assert look(later, OPEN, [A, make_file("3", "b", 20, LATE)]).complete_up_to == minus_slack(LATE)


def test_a_shard_that_appears_later_begins_after_the_look_before() -> None:
    known = msgspec.structs.replace(look(NEW, OPEN, [A, B]), checked_at=NOW - MINUTE)
    found = look(known, [*OPEN, Shard("c")], [A, make_file("3", "b", 20, NOW)])
    assert {shard.shard_id: shard.began for shard in found.shards}["c"] == NOW - MINUTE - LISTING_SLACK_MS


def test_what_the_stream_forgot_is_finished_only_where_it_was_read_all_the_time() -> None:
    known = Watermark(
        "orders", ARN, NOW - MINUTE, EARLY, shards=(ShardProgress("a", "", START, "9", LATE), ShardProgress("old")),
        read_since=NOW - KEEPS_MS - MINUTE,
    )  # fmt: skip
    found = look(known, [Shard("a")], [])
    assert (found.complete_up_to, [shard.shard_id for shard in found.shards]) == (minus_slack(LATE), ["a"])
    for doubt in (
        look(msgspec.structs.replace(known, read_since=NOW - KEEPS_MS + MINUTE), [Shard("a")]),
        look(known, [Shard("a")], is_read=False),
    ):
        assert (doubt.complete_up_to, doubt.held_by) == (0, "shard old")


def test_finished_shards_are_remembered_as_long_as_the_stream_lists_them() -> None:
    known = look(NEW, [Shard("a"), Shard("b", "", "10")], [A, B])
    assert known.finished == ("b",)
    again = look(known, [Shard("a"), Shard("b", "", "10")], [A])
    assert (again.finished, again.complete_up_to) == (("b",), minus_slack(LATE))
    assert look(again, [Shard("a")], [A]).finished == ()


def test_events_that_lambda_gave_up_hold_it_where_it_is() -> None:
    known = look(NEW, OPEN, [A, B])
    further = [A, make_file("3", "b", 20, LATE)]
    held = look(known, OPEN, further, has_given_up=True)
    assert (held.complete_up_to, held.held_by) == (
        known.complete_up_to, "events that Lambda gave up: `fastetl replay`",
    )  # fmt: skip
    assert look(held, OPEN, further).complete_up_to == minus_slack(LATE)


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_what_nobody_reads_for_a_day_is_a_gap_of_each_shard_and_none_before() -> None:
    known = look(NEW, OPEN, [A, B], is_read=False)
    assert known.unread_since == NOW
    nearly = look(known, OPEN, [A, B], is_read=False, now_ms=NOW + KEEPS_MS)
    assert nearly.gaps == ()
    later = look(nearly, OPEN, [A, B], is_read=False, now_ms=NOW + KEEPS_MS + HOUR)
    assert later.gaps == (Gap("a", LATE, NOW + HOUR), Gap("b", EARLY, NOW + HOUR))
    read_again = look(later, OPEN, [A, B], now_ms=NOW + KEEPS_MS + 2 * HOUR)
    assert read_again.gaps == (Gap("a", LATE, NOW + 2 * HOUR), Gap("b", EARLY, NOW + 2 * HOUR))
    assert (read_again.unread_since, read_again.read_since) == (0, NOW + KEEPS_MS + 2 * HOUR)
    newest = [make_file("3", "a", 20, NOW + KEEPS_MS), make_file("4", "b", 20, NOW + KEEPS_MS)]
    held = look(read_again, OPEN, newest, now_ms=NOW + KEEPS_MS + 2 * HOUR + MINUTE)
    # What was read in this minute was perhaps read after the stream had forgotten what came before it.
    until = NOW + 2 * HOUR + MINUTE
    assert held.gaps == (Gap("a", LATE, until), Gap("b", EARLY, until))
    assert (held.complete_up_to, held.held_by) == (minus_slack(EARLY), "a gap: `fastetl resync`")
    early_resync = look(held, OPEN, newest, mended_at=NOW + HOUR, now_ms=NOW + KEEPS_MS + 4 * HOUR)
    assert early_resync.gaps == held.gaps
    mended = look(held, OPEN, newest, mended_at=until, now_ms=NOW + KEEPS_MS + 4 * HOUR)
    assert (mended.gaps, mended.complete_up_to) == ((), minus_slack(NOW + KEEPS_MS))


def test_a_mapping_that_rests_for_less_than_a_day_loses_nothing() -> None:
    known = look(NEW, OPEN, [A, B], is_read=False)
    again = look(known, OPEN, [A, B], now_ms=NOW + KEEPS_MS - MINUTE)
    assert (again.gaps, again.unread_since) == ((), 0)


def test_what_is_forgotten_while_lambda_catches_up_is_lost_as_well() -> None:
    shards = [Shard("a"), Shard("b", "", "99"), Shard("c", "b")]
    known = look(NEW, shards, [A, B], is_read=False)
    read_again = look(known, shards, [A, B], now_ms=NOW + KEEPS_MS - MINUTE)
    assert read_again.gaps == ()
    # The shard that is closed still holds records. Of an open one nothing says so, and it has had the time to be read.
    later = look(read_again, shards, [A, B], now_ms=NOW + KEEPS_MS + CATCH_UP_MS)
    assert {gap.shard_id: gap.until for gap in later.gaps} == {
        "a": NOW + CATCH_UP_MS, "b": NOW, "c": NOW + CATCH_UP_MS,
    }  # fmt: skip
    still = look(later, shards, [A, B], now_ms=NOW + KEEPS_MS + HOUR)
    assert {gap.shard_id: gap.until for gap in still.gaps} == {
        "a": NOW + CATCH_UP_MS, "b": NOW, "c": NOW + HOUR,
    }  # fmt: skip
    newest = [make_file("5", "b", 99, NOW), make_file("6", "c", 120, NOW + KEEPS_MS)]
    assert look(still, shards, newest, now_ms=NOW + KEEPS_MS + HOUR).gaps == still.gaps
    done = look(still, shards, newest, now_ms=NOW + KEEPS_MS + HOUR)
    assert look(done, shards, newest, now_ms=NOW + KEEPS_MS + 9 * HOUR).gaps == still.gaps


def test_a_batch_that_fails_at_one_look_is_no_rest_and_at_two_it_is() -> None:
    known = look(NEW, OPEN, [A, B])
    once = look(known, OPEN, [A, B], fails=True, now_ms=NOW + MINUTE)
    assert (once.unread_since, once.read_since) == (0, 0)
    good = look(once, OPEN, [A, B], now_ms=NOW + 2 * MINUTE)
    assert (good.unread_since, good.read_since) == (0, NOW + 2 * MINUTE)
    twice = look(once, OPEN, [A, B], fails=True, now_ms=NOW + 2 * MINUTE)
    assert (twice.unread_since, twice.read_since) == (NOW + 2 * MINUTE, 0)


def test_another_stream_leaves_a_gap_from_the_last_change_that_was_read() -> None:
    known = look(NEW, OPEN, [A, B])
    created = NOW + HOUR
    found = look(
        known, [Shard("n")], [], stream=Stream(OTHER, "ENABLED", created, (Shard("n"),)), now_ms=NOW + 2 * HOUR
    )
    assert found.stream_arn == OTHER
    assert found.gaps == (Gap("a", LATE, created), Gap("b", EARLY, created))
    assert (found.complete_up_to, found.held_by) == (minus_slack(EARLY), "a gap: `fastetl resync`")
