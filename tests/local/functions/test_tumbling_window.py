"""Tumbling windows as Lambda's developer guide tells of them: what an event says of one, and when it ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
import pytest

from fastetl.local.functions.event_source import EventSource
from fastetl.local.functions.lambda_runtime import InvokeResult, Report
from fastetl.local.functions.mapping import MappingSettings
from fastetl.local.functions.readers import Slice
from fastetl.local.functions.stream_records import StreamRecord


class Windowed:
    """A function that counts records in the state, unless it is to answer otherwise."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.states: list[Any] = []

    async def invoke(self, payload: bytes) -> InvokeResult:
        event = json.loads(payload)
        self.events.append(event)
        if self.states:
            return _result(self.states.pop(0), "")
        seen = event["state"].get("seen", 0) + len(event["Records"])
        return _result({"state": {"seen": seen}, "batchItemFailures": []}, "")

    @property
    def told(self) -> list[tuple[int, Any, bool, bool]]:
        """Of each event how many records it had, its state, and whether it was the last one of its window."""
        return [
            (len(each["Records"]), each["state"], each["isFinalInvokeForWindow"], each["isWindowTerminatedEarly"])
            for each in self.events
        ]


def _result(answer: object, error: str) -> InvokeResult:
    return InvokeResult(orjson.dumps(answer), error, Report("request-1", 1.0, 128, 50), ())


WINDOW = 900
BEGIN = 1_767_225_600


class Shards:
    """A stream of one shard, and of a child of it once it has ended."""

    stream_arn = "arn:aws:dynamodb:us-east-1:1:table/orders/stream/2026-01-01T00:00:00.000"

    def __init__(self, *ages: int, ends: bool = False) -> None:
        self.records = [
            StreamRecord(f"{number:021}", float(BEGIN + age), 0, orjson.dumps({"n": number}))
            for number, age in enumerate(ages)
        ]
        self.ends = ends

    async def list_shards(self) -> list[tuple[str, str]]:
        return [("a", ""), ("b", "a")] if self.ends else [("a", "")]

    async def read(self, shard_id: str, last_read: str) -> Slice:
        records = [record for record in self.records if record.sequence_number > last_read] if shard_id == "a" else []
        last = records[-1].sequence_number if records else last_read
        return Slice(records, last, is_empty=not records, ends=self.ends and shard_id == "a")


async def deliver(function: Windowed, shards: Shards, until: int, now: float = BEGIN, **settings: Any) -> None:
    """Deliver until there were as many invocations."""
    usual = {
        "tumbling_window_in_seconds": WINDOW,
        "report_batch_item_failures": True,
        "retry_delay_seconds": 0.001,
    }
    chosen = MappingSettings(**(usual | settings))
    reader: Any = shards
    async with EventSource(reader, function.invoke, chosen, clock=lambda: now) as source:
        await asyncio.wait_for(source.drain(), 10)
        async with asyncio.timeout(10):
            while len(function.events) < until:
                await asyncio.sleep(0.01)


async def test_an_event_says_its_shard_and_window_and_carries_the_state() -> None:
    function = Windowed()
    await deliver(function, Shards(0, 1, 899), until=2, batch_size=2)
    first, second = function.events
    beside = {name: value for name, value in first.items() if name != "Records"}
    assert beside == {
        "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:15:00Z"},
        "state": {},
        "shardId": "a",
        "eventSourceARN": Shards.stream_arn,
        "isFinalInvokeForWindow": False,
        "isWindowTerminatedEarly": False,
    }
    assert next(iter(first)) == "Records"
    assert (len(second["Records"]), second["state"]) == (1, {"seen": 2})


async def test_a_batch_ends_with_its_window_whose_last_invocation_has_no_records() -> None:
    function = Windowed()
    await deliver(function, Shards(0, 1, 900, 901, 5000), until=5)
    assert function.told == [
        (2, {}, False, False), (0, {"seen": 2}, True, False),
        (2, {}, False, False), (0, {"seen": 2}, True, False), (1, {}, False, False),
    ]  # fmt: skip
    assert [event["window"]["start"][11:16] for event in function.events] == [
        "00:00",
        "00:00",
        "00:15",
        "00:15",
        "01:15",
    ]


async def test_an_answer_without_a_state_is_a_failure_and_so_the_batch_comes_again() -> None:
    function = Windowed()
    function.states = [{"batchItemFailures": []}, None, {"state": None}]
    await deliver(function, Shards(0, 1), until=4)
    assert [told[:2] for told in function.told] == [(2, {})] * 4
    halved = Windowed()
    halved.states = [{"batchItemFailures": []}]
    await deliver(halved, Shards(0, 1), until=3, bisect_batch_on_function_error=True)
    assert [told[:2] for told in halved.told] == [(2, {}), (1, {}), (1, {"seen": 1})]


async def test_a_batch_that_is_acknowledged_in_part_comes_again_from_there() -> None:
    function, shards = Windowed(), Shards(0, 1, 2)
    failed = [{"itemIdentifier": shards.records[1].sequence_number}]
    function.states = [{"state": {"seen": 1}, "batchItemFailures": failed}]
    await deliver(function, shards, until=2)
    assert [told[:2] for told in function.told] == [(3, {}), (2, {"seen": 1})]


async def test_the_last_invocation_is_repeated_until_it_succeeds() -> None:
    function = Windowed()
    function.states = [{"state": {}}, {}, {}, {"state": {}}]
    await deliver(function, Shards(0, 900), until=5, maximum_retry_attempts=1)
    assert [told[::2] for told in function.told] == [(1, False), (0, True), (0, True), (0, True), (1, False)]


@pytest.mark.parametrize("ends", [False, True])
async def test_a_window_ends_with_its_shard_or_after_a_time_without_records(*, ends: bool) -> None:
    function = Windowed()
    now = BEGIN if ends else BEGIN + WINDOW
    await deliver(function, Shards(0, ends=ends), until=2, now=now, window_quiet_seconds=0 if not ends else 120)
    assert function.told == [(1, {}, False, False), (0, {"seen": 1}, True, False)]


async def test_a_state_that_is_too_large_terminates_the_window_early() -> None:
    function = Windowed()
    function.states = [{"state": {"x": "y" * 1024 * 1024}}]
    await deliver(function, Shards(0, 1), until=3, batch_size=1)
    assert [(count, final, early) for count, _, final, early in function.told] == [
        (1, False, False), (0, False, True), (1, False, False),
    ]  # fmt: skip
    assert function.events[2]["state"] == {}


@pytest.mark.parametrize(
    "settings", [{"tumbling_window_in_seconds": 901}, {"tumbling_window_in_seconds": 1, "parallelization_factor": 2}]
)
def test_windows_that_lambda_does_not_have_are_refused(settings: Any) -> None:
    with pytest.raises(ValueError, match="tumbling window"):
        MappingSettings(**settings)
