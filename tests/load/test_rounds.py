"""One wake-up moves every pipeline on; what one of them meets delays or stops no other."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from fastetl.config.model import Pipeline, RedshiftTarget
from fastetl.errors import LedgerError, StaleStepError
from fastetl.load import rounds
from fastetl.load.rounds import Rounds
from fastetl.load.steps import Step
from fastetl.load.survey import Backlog
from fastetl.load.together import Standing

LOADING = ["opened", "submitted"]


class Loads:
    """A pipeline that loads what waits, as `Loader` does, and notes from which fullness on it was let."""

    def __init__(self, name: str, fullness: float = 0.0, *, ends: bool = False, fails: Exception | None = None) -> None:
        self.name, self.fullness, self.fails = name, fullness, fails
        self.is_running, self.ends = ends, ends
        self.left = ["loaded"] if ends else []
        self.shares: list[float] = []
        self.hangs = False

    async def stand(self) -> tuple[Standing, Backlog, None]:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise self.fails
        standing = Standing(self.name, "shared", self.fullness, is_running=self.is_running)
        return standing, Backlog(1, 1, 1.0, more=False), None

    async def wake_up(self, share: float) -> Step:
        self.shares.append(share)
        if self.fullness and self.fullness >= share and not self.is_running:
            self.is_running, self.fullness, self.left = True, 0.0, LOADING[:]
        if not self.left:
            return Step("waiting")
        action: Any = self.left.pop(0)
        if action == "loaded":
            self.is_running = False
        return Step(action)


def pipelines(*loads: Loads, at_once: int = 10) -> list[Pipeline]:
    target = RedshiftTarget(workgroup="shared", loads_at_once=at_once)
    return [Pipeline(each.name, each.name, ("id",), "public", each.name, columns=(), redshift=target) for each in loads]


async def wake_up(*loads: Loads, at_once: int = 10, seconds: float = 100.0) -> dict[str, Any]:
    observed = []

    async def observe(name: str, step: Step) -> None:
        observed.append((name, step.action))

    every: Any = {each.name: each for each in loads}
    moved = await Rounds(every, pipelines(*loads, at_once=at_once)).wake_up(observe, lambda: seconds)
    assert sorted(observed) == sorted((name, action) for name, each in moved.items() for action in each.actions)
    return moved


async def test_one_is_due_and_the_others_load_beside_it() -> None:
    moved = await wake_up(Loads("a", 1.0), Loads("b", 0.2), Loads("c", 0.05))
    assert {name: each.actions for name, each in moved.items()} == {"a": LOADING, "b": LOADING, "c": []}


async def test_nobody_is_due_and_nobody_loads() -> None:
    moved = await wake_up(Loads("a", 0.9), Loads("b", 0.2))
    assert not any(each.actions for each in moved.values())
    assert all(each.backlog for each in moved.values())


async def test_a_load_that_ends_leaves_its_place_in_the_same_wakeup_though_nobody_is_due() -> None:
    """The warehouse is awake: who waits for a place gets it now, not in a minute of its own."""
    moved = await wake_up(Loads("a", ends=True), Loads("b", 0.5), Loads("c", 0.4), at_once=1)
    assert {name: each.actions for name, each in moved.items()} == {"a": ["loaded"], "b": LOADING, "c": []}


async def test_who_was_not_chosen_is_followed_and_begins_nothing() -> None:
    ending, full = Loads("a", ends=True), Loads("b", 0.01)
    moved = await wake_up(ending, full)
    assert moved["a"].actions == ["loaded"]
    assert full.shares == [float("inf")]


@pytest.mark.parametrize("error", [LedgerError("get_item: refused"), ValueError("a defect")])
async def test_an_error_of_one_pipeline_stops_no_other(error: Exception) -> None:
    moved = await wake_up(Loads("a", 1.0, fails=error), Loads("b", 1.0))
    assert moved["a"].error is error
    assert moved["b"].actions == LOADING


async def test_another_coordinator_that_is_faster_is_no_error() -> None:
    moved = await wake_up(Loads("a", 1.0, fails=StaleStepError("someone else was faster")), Loads("b", 1.0))
    assert moved["a"].error is None
    assert moved["b"].actions == LOADING


async def test_a_ledger_that_does_not_answer_delays_no_other_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "STANDING_SECONDS", 0.05)
    silent = Loads("a", 1.0)
    silent.hangs = True
    moved = await wake_up(silent, Loads("b", 1.0))
    assert isinstance(moved["a"].error, TimeoutError)
    assert moved["b"].actions == LOADING


async def test_when_time_is_up_nothing_begins() -> None:
    moved = await wake_up(Loads("a", 1.0), seconds=0.0)
    assert moved["a"].actions == []


async def test_what_has_begun_may_go_on_after_time_is_up() -> None:
    """A step that is cut off has to be taken once more; the margin is there to prevent that."""

    class Slow(Loads):
        async def wake_up(self, share: float) -> Step:
            await asyncio.sleep(0.1)
            return await super().wake_up(share)

    moved = await wake_up(Slow("a", 1.0), seconds=0.01)
    assert moved["a"].error is None
    assert moved["a"].actions == LOADING


async def test_a_load_that_was_chosen_and_has_ended_leaves_the_warehouse_awake() -> None:
    """A pipeline is due, and its load ends in the same wake-up: who waits behind it gets its place."""

    class Short(Loads):
        async def wake_up(self, share: float) -> Step:
            step = await super().wake_up(share)
            self.left += ["loaded"] if step.action == "submitted" else []
            return step

    moved = await wake_up(Short("a", 1.0), Loads("b", 0.5), at_once=1)
    assert {name: each.actions for name, each in moved.items()} == {"a": [*LOADING, "loaded"], "b": LOADING}


async def test_a_load_in_one_warehouse_wakes_no_other() -> None:
    class Elsewhere(Loads):
        async def stand(self) -> tuple[Standing, Backlog, None]:
            standing, backlog, head = await super().stand()
            return msgspec.structs.replace(standing, warehouse="other"), backlog, head

    here, there = Loads("a", 1.0), Elsewhere("b", 0.5)
    target = RedshiftTarget(workgroup="other")
    every: Any = {"a": here, "b": there}
    one, other = pipelines(here, there)

    async def observe(_name: str, _step: Step) -> None:
        return

    rounds_of_both = Rounds(every, [one, msgspec.structs.replace(other, redshift=target)])
    moved = await rounds_of_both.wake_up(observe, lambda: 100.0)
    assert {name: each.actions for name, each in moved.items()} == {"a": LOADING, "b": []}
