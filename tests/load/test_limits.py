"""Every threshold of a load from both sides: bytes, age, files, delays, and how long an attempt may take."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from fastetl.config.model import LoadPolicy
from fastetl.load import batches
from fastetl.load.decide import (
    LAST_DELAY_SECONDS,
    PAUSE_AFTER,
    QUARANTINE_AFTER,
    RESUBMIT_LIMIT_SECONDS,
    RUN_LIMIT_SECONDS,
    Verdict,
    delay_seconds,
    find_due,
    is_older,
)
from tests.load.test_batches import make_file
from tests.load.test_decide import (
    DUE,
    NOT_COMMITTED,
    NOT_DUE,
    NOW,
    UNSEEN,
    make_batch,
    make_head,
    play,
    resolving,
    situation,
    submitted,
    submitting,
    suspect,
)
from tests.simulation.bench import Bench, settle

NEVER = LoadPolicy(max_bytes=10**9, max_age_seconds=10**6, max_files=100)


async def opened(bench: Bench, policy: LoadPolicy) -> int:
    """Wake up once; give how many files the batch has that it opens, or 0."""
    step = await bench.new_loader(load=policy).wake_up()
    return step.batch.files if step.action == "opened" and step.batch else 0


@pytest.mark.parametrize(("waiting", "most", "files"), [(1, 2, 0), (2, 2, 2), (3, 2, 2), (1, 1, 1)])
def test_so_many_files_begin_a_load_and_no_more_are_in_it(waiting: int, most: int, files: int) -> None:
    bench = Bench()

    async def test() -> None:
        for _ in range(waiting):
            await bench.put()
        assert await opened(bench, msgspec.structs.replace(NEVER, max_files=most)) == files

    bench.run(test())


@pytest.mark.parametrize(("more_than_waits", "begins"), [(-1, True), (0, True), (1, False)])
def test_so_many_bytes_begin_a_load(more_than_waits: int, begins: bool) -> None:
    bench = Bench()

    async def test() -> None:
        for _ in range(2):
            await bench.put()
        size = (await bench.new_loader().backlog()).bytes
        policy = msgspec.structs.replace(NEVER, max_bytes=size + more_than_waits)
        assert await opened(bench, policy) == (2 if begins else 0)

    bench.run(test())


@pytest.mark.parametrize(("waited", "begins"), [(59.0, False), (60.0, True), (61.0, True)])
def test_so_old_a_file_begins_a_load(waited: float, begins: bool) -> None:
    bench = Bench()

    async def test() -> None:
        await bench.put()
        await asyncio.sleep(waited - 30)
        await bench.put()
        await asyncio.sleep(30)
        policy = msgspec.structs.replace(NEVER, max_age_seconds=60)
        assert await opened(bench, policy) == (2 if begins else 0)

    bench.run(test())


def test_the_backlog_counts_what_waits() -> None:
    bench = Bench()

    async def test() -> None:
        nothing = await bench.new_loader().backlog()
        assert (nothing.files, nothing.bytes, nothing.oldest_age_seconds, nothing.more) == (0, 0, 0.0, False)
        await bench.put()
        await asyncio.sleep(10)
        await bench.put()
        found = await bench.new_loader().backlog()
        assert (found.files, round(found.oldest_age_seconds), found.more) == (2, 10, False)
        for most, files, more in ((1, 1, True), (2, 2, True), (3, 2, False)):
            _, counted, _ = await bench.new_loader()._survey.read_standing(most)
            assert (counted.files, counted.more) == (files, more)
            assert (counted.bytes == found.bytes) is (files == 2)

    bench.run(test())


@pytest.mark.parametrize("paused_by", ["fastetl", ""])
def test_a_probe_goes_before_a_suspect_in_one_wake_up(paused_by: str) -> None:
    paused = {"paused": "x", "paused_by": "fastetl"} if paused_by else {}
    due = suspect("b", not_before=NOW)
    assert play(situation(due, waiting=DUE, **paused)).action == "open"
    assert play(situation(due, **paused)).action == "submit"


def test_a_suspect_that_is_due_does_not_hide_a_probe() -> None:
    """The wake-up that opens a probe does nothing else, so that the next one reads HEAD as it is then."""
    bench = Bench()

    async def test() -> None:
        loader = bench.new_loader()
        await bench.put(bench.write(healthy=False))
        await settle(loader, until="retry")
        head = await bench.ledger.batches.head(bench.pipeline.name)
        assert head is not None
        await bench.ledger.batches.change_head(head, paused="x", paused_by="fastetl")
        await bench.put()
        await asyncio.sleep(2 * LAST_DELAY_SECONDS)
        step = await loader.wake_up()
        assert step.action == "opened"
        assert len(bench.attempts()) == 1
        assert step.batch is not None
        assert (await loader.wake_up()).action == "submitted"
        assert (await bench.ledger.batches.read(step.batch.batch_id)).state == "SUBMITTED"

    bench.run(test())


@pytest.mark.parametrize(
    ("batch", "limit", "verdict", "within", "beyond"),
    [
        (submitting, RESUBMIT_LIMIT_SECONDS, UNSEEN, "resubmit", "resolve"),
        (submitted, RUN_LIMIT_SECONDS, Verdict("running"), "wait", "cancel"),
        (resolving, RUN_LIMIT_SECONDS, Verdict("running"), "wait", "cancel"),
    ],
)
def test_an_attempt_may_take_so_long(batch: Any, limit: int, verdict: Verdict, within: str, beyond: str) -> None:
    for ago, action in ((limit * 1000 - 1, within), (limit * 1000, within), (limit * 1000 + 1, beyond)):
        found = play(situation(batch(submitted_at=NOW - ago), verdict=verdict))
        assert found.action == action
    assert play(situation(batch(submitted_at=0), verdict=verdict)).action == within
    assert not is_older(make_batch(submitted_at=0), 0, NOW)


@pytest.mark.parametrize(
    ("batch", "due"),
    [
        ({"state": "FORMED"}, True), ({"state": "RETRY", "not_before": NOW}, True),
        ({"state": "RETRY", "not_before": NOW + 1}, False), ({"state": "SUBMITTED", "not_before": 0}, False),
        ({"state": "RESOLVING", "not_before": 0}, False), ({"state": "LOADED", "not_before": 0}, False),
    ],
)  # fmt: skip
def test_which_batch_is_tried(batch: dict[str, Any], due: bool) -> None:
    assert (find_due(make_head(), [make_batch(**batch)], NOW) is not None) is due
    assert find_due(make_head(paused="x", paused_by="operator"), [make_batch(**batch)], NOW) is None
    assert (find_due(make_head(paused="x", paused_by="fastetl"), [make_batch(**batch)], NOW) is not None) is due


def test_the_delays_double() -> None:
    assert [delay_seconds(n) for n in range(9)] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert delay_seconds(10**6) == 3600


@pytest.mark.parametrize(("not_before", "action"), [(NOW + 1, "wait"), (NOW, "ask"), (NOW - 1, "ask")])
def test_a_resolve_is_sent_when_its_delay_is_over(not_before: int, action: str) -> None:
    found = situation(resolving(statement_id="", not_before=not_before), verdict=UNSEEN)
    assert play(found).action == action


@pytest.mark.parametrize(("others", "pauses"), [(PAUSE_AFTER - 1, False), (PAUSE_AFTER, True), (PAUSE_AFTER + 1, True)])
def test_so_many_files_that_fail_alike_pause(others: int, pauses: bool) -> None:
    again = {"failure": "data", "data_failures": 1, "loads_seen": 5}
    found = situation(resolving(**again), *(suspect(str(n)) for n in range(others)), verdict=NOT_COMMITTED)
    assert bool(play(found).pause) is pauses
    # Those that failed before the last load, or only once, are none of them.
    for other in ({"loads_seen": 4}, {"data_failures": QUARANTINE_AFTER - 1}):
        found = situation(resolving(**again), *(suspect(str(n), **other) for n in range(others)), verdict=NOT_COMMITTED)
        assert not play(found).pause
    first = situation(resolving(failure="data"), *(suspect(str(n)) for n in range(others)), verdict=NOT_COMMITTED)
    assert not play(first).pause
    # What the warehouse refuses to the whole pipeline is why nothing else loads; its pause tells that.
    refused = make_batch(batch_id="refused", state="RETRY", failure="infrastructure")
    found = situation(resolving(**again), *(suspect(str(n)) for n in range(others)), refused, verdict=NOT_COMMITTED)
    assert not play(found).pause


@pytest.mark.parametrize(("waiting", "asked", "action"), [
    (DUE, False, "open"), (DUE, True, "open"), (NOT_DUE, False, "idle"), (NOT_DUE, True, "open"),
])  # fmt: skip
def test_files_are_loaded_when_they_are_due_or_asked_for(waiting: Any, asked: bool, action: str) -> None:
    assert play(situation(waiting=waiting, load_requested=asked)).action == action
    assert play(situation(load_requested=asked)).action == "idle"


def test_a_batch_sums_its_files_up() -> None:
    files = [
        make_file("a" * 32, bytes=3, rows=5, changed_min="2", changed_max="7"),
        make_file("b" * 32, bytes=4, rows=6, changed_min="1", changed_max="9"),
        make_file("c" * 32, bytes=0, rows=0, changed_min="3", changed_max="3"),
    ]
    batch = batches.build_batch("p", "i", files, "bucket", ("m", "f"))
    assert (batch.files, batch.bytes, batch.rows, batch.changed_min, batch.changed_max) == (3, 7, 11, "1", "9")
    assert (batch.state, batch.attempt, batch.manifest_key, batch.files_key) == ("FORMED", 0, "m", "f")
    assert batch.manifest_checksum == batches.build_batch("p", "i", files[::-1], "bucket", ("m", "f")).manifest_checksum
    other = msgspec.structs.replace(files[0], rows=9)
    assert (
        batch.manifest_checksum
        != batches.build_batch("p", "i", [other, *files[1:]], "bucket", ("m", "f")).manifest_checksum
    )


@pytest.mark.parametrize(
    ("files", "suspects", "parts"),
    [
        ("abcd", "", ("ab", "cd")), ("abc", "", ("a", "bc")), ("ab", "", ("a", "b")), ("abcd", "c", ("c", "abd")),
        ("abcd", "abcd", ("ab", "cd")), ("abcd", "x", ("ab", "cd")), ("abcd", "abc", ("abc", "d")),
    ],
)  # fmt: skip
def test_a_batch_is_split_by_those_to_blame_or_in_halves(files: str, suspects: str, parts: tuple[str, str]) -> None:
    found = batches.split([make_file(name) for name in files], tuple(suspects))
    assert tuple("".join(file.file_id for file in part) for part in found) == parts
