"""When one pipeline is due, the others of its warehouse load in the same minute; nobody waits for who cannot."""

from __future__ import annotations

import itertools
import random

import pytest

from fastetl.config.model import RedshiftTarget
from fastetl.load.together import Standing, choose

TARGET = RedshiftTarget(workgroup="shared", join_at=0.25, loads_at_once=3)


def standing(name: str, fullness: float = 0.0, **more) -> Standing:
    return Standing(name, "shared", fullness, **more)


CASES = {
    "nothing waits": ([standing("a")], ""),
    "nobody is due": ([standing("a", 0.99), standing("b", 0.5)], ""),
    "one is due, and who has waited long enough joins": ([standing("a", 1.0), standing("b", 0.25)], "a b"),
    "who has hardly waited does not join": ([standing("a", 1.0), standing("b", 0.24)], "a"),
    "the fullest go first": ([standing("a", 0.3), standing("b", 1.5), standing("c", 0.6), standing("d", 1.1)], "b d c"),
    "who runs takes a place": (
        [standing("a", is_running=True), standing("b", 1.0), standing("c", 1.1), standing("d", 1.2)],
        "d c",
    ),
    "a load that runs wakes others": ([standing("a", is_running=True), standing("b", 0.3)], "b"),
    "who runs begins nothing else": ([standing("a", 2.0, is_running=True)], ""),
    "all places are taken": ([standing(name, is_running=True) for name in "abc"] + [standing("d", 9.0)], ""),
    "a load that is stuck takes no place": (
        [standing(name, is_running=True, is_stuck=True) for name in "abc"] + [standing("d", 9.0)], "d"
    ),
    "a retry goes last": ([standing("a", has_attempt=True), standing("b", 1.0), standing("c", 0.5)], "b c a"),
    "a retry wakes the warehouse, and others join": ([standing("a", has_attempt=True), standing("c", 0.5)], "c a"),
    "retries take no place from who is due": (
        [standing(name, has_attempt=True) for name in "abc"] + [standing(name, 1.0) for name in "def"], "d e f"
    ),
    "a paused pipeline, which may open nothing, delays nobody": ([standing("a"), standing("b", 1.0)], "b"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_who_loads_now(case: str) -> None:
    standings, expected = CASES[case]
    assert list(choose(standings, {"shared": TARGET})) == expected.split()


def test_a_pipeline_that_joins_loads_from_its_share_on() -> None:
    assert choose([standing("a", 1.0), standing("b", 0.3)], {"shared": TARGET}) == {"a": 0.25, "b": 0.25}


def test_a_warehouse_that_is_awake_for_others_is_used() -> None:
    standings = [standing("a", 0.3), standing("b", 0.1)]
    assert list(choose(standings, {"shared": TARGET}, frozenset({"shared"}))) == ["a"]
    assert not choose(standings, {"shared": TARGET}, frozenset({"another"}))


def test_warehouses_do_not_wake_each_other() -> None:
    standings = [Standing("a", "one", 1.0), Standing("b", "two", 0.9)]
    targets = {name: RedshiftTarget(workgroup=name) for name in ("one", "two")}
    assert list(choose(standings, targets)) == ["a"]


def test_with_a_share_of_one_each_loads_by_itself() -> None:
    alone = RedshiftTarget(workgroup="shared", join_at=1.0)
    assert list(choose([standing("a", 1.0), standing("b", 0.99)], {"shared": alone})) == ["a"]


@pytest.mark.parametrize("seed", range(300))
def test_laws(seed: int) -> None:
    """No order of the pipelines matters; places are kept to; who is due is never passed over for who is not."""
    source = random.Random(seed)
    standings = [
        standing(
            f"p{n:02}",
            source.choice((0.0, source.random(), 1 + source.random())),
            has_attempt=source.random() < 0.2,
            is_running=source.random() < 0.2,
            is_stuck=source.random() < 0.3,
        )
        for n in range(source.randrange(12))
    ]
    target = RedshiftTarget(workgroup="shared", join_at=source.random(), loads_at_once=source.randint(1, 6))
    chosen = choose(standings, {"shared": target})
    shuffled = standings[:]
    source.shuffle(shuffled)
    assert choose(shuffled, {"shared": target}) == chosen
    by_name = {each.pipeline: each for each in standings}
    running = [each for each in standings if each.is_running and not each.is_stuck]
    assert len(chosen) <= max(0, target.loads_at_once - len(running))
    assert not any(by_name[name].is_running for name in chosen)
    left = [each for each in standings if each.fullness >= 1 and not each.is_running and each.pipeline not in chosen]
    assert not left or all(by_name[name].fullness >= 1 for name in chosen)


# --- against the least possible, found by trying everything ---------------------------------------------------------


def least_wakeups(files: list[list[int]], max_ages: list[int], minutes: int) -> int:
    """Try all sets of minutes in which the warehouse wakes, the smallest first: each file has one within its age."""
    windows = [range(came, came + age + 1) for came_at, age in zip(files, max_ages, strict=True) for came in came_at]
    for count in range(minutes + 1):
        for wakeups in itertools.combinations(range(minutes), count):
            if all(any(minute in window for minute in wakeups) for window in windows):
                return count
    raise AssertionError("unreachable: the warehouse may wake in every minute")


def count_wakeups(files: list[list[int]], max_ages: list[int], minutes: int, join_at: float) -> int:
    """Play the minutes with `choose`; a load ends within its minute."""
    waiting: list[list[int]] = [[] for _ in files]
    target, wakeups = RedshiftTarget(workgroup="shared", join_at=join_at, loads_at_once=50), 0
    for minute in range(minutes):
        for pipeline, came_at in enumerate(files):
            waiting[pipeline] += [came for came in came_at if came == minute]
        # What has come in this minute has waited a part of it.
        standings = [
            standing(str(n), (minute - came[0] + 0.1) / max_ages[n] if came else 0.0) for n, came in enumerate(waiting)
        ]
        if chosen := choose(standings, {"shared": target}):
            wakeups += 1
            for name in chosen:
                waiting[int(name)] = []
    return wakeups


@pytest.mark.parametrize("seed", range(60))
def test_no_schedule_wakes_the_warehouse_less_often(seed: int) -> None:
    """Small cases with a share near 0, against every schedule there is."""
    source = random.Random(seed)
    minutes = 14
    max_ages = [source.choice((2, 3, 5)) for _ in range(source.randint(2, 4))]
    files = [sorted(source.sample(range(minutes - age), source.randint(0, 4))) for age in max_ages]
    least = least_wakeups(files, max_ages, minutes)
    assert count_wakeups(files, max_ages, minutes, 0.01) == least


def test_a_standing_wants_nothing_by_itself() -> None:
    idle = Standing("a", "shared")
    assert (idle.fullness, idle.has_attempt, idle.is_running, idle.is_stuck) == (0.0, False, False, False)
    assert not choose([idle], {"shared": TARGET}, frozenset({"shared"}))
