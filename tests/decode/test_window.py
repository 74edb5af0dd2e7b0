"""What Lambda says beside an event's records, in every order and form that JSON allows."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.decode import Delivery, Position, find_position, is_windowed, parse_source_arn, part_event

ARN = "arn:aws:dynamodb:us-east-1:1:table/orders/stream/2026-01-01T00:00:00.000"
BESIDE: dict[str, Any] = {
    "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:15:00Z"},
    "state": {},
    "shardId": "shardId-1",
    "eventSourceARN": ARN,
    "isFinalInvokeForWindow": False,
    "isWindowTerminatedEarly": False,
}


def make_record(number: int, created: float = 1_767_225_600, **attributes: Any) -> dict[str, Any]:
    return {
        "eventID": f"{number:032x}",
        "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": created,
            "SequenceNumber": str(10**21 + number),
            "NewImage": {"id": {"N": "1"}, **attributes},
        },
    }


ODD = {
    "SequenceNumber": {"S": '"SequenceNumber":"9"]}'},
    "ApproximateCreationDateTime": {"L": [{"N": "7"}]},
}
"""Attributes whose names and values look like a record's own fields."""


@pytest.mark.parametrize("form", [orjson.dumps, bytearray, dict])
@pytest.mark.parametrize("order", ["records first", "records last", "a list in the state"])
def test_a_windows_event_tells_its_shard_and_how_far_it_goes(form: Any, order: str) -> None:
    records = [make_record(1), make_record(2, 1_767_225_601.5, **ODD)]
    event: dict[str, Any] = {"Records": records, **BESIDE}
    if order == "records last":
        event = {**BESIDE, "Records": records}
    elif order == "a list in the state":
        event["state"] = {"seen": ["x]}"]}
    given_event = bytearray(orjson.dumps(event)) if form is bytearray else form(event)
    assert is_windowed(given_event)
    delivery = part_event(given_event)
    alone = delivery.event if isinstance(delivery.event, dict) else orjson.loads(delivery.event)
    assert alone == {"Records": records}
    assert not delivery.is_empty
    assert find_position(delivery) == Position("shardId-1", str(10**21 + 2), 1_767_225_601_500)


@pytest.mark.parametrize("form", [orjson.dumps, dict])
def test_the_end_of_a_window_has_no_records(form: Any) -> None:
    for records in (b'{"Records": []}', b"{}"):
        event = form({**orjson.loads(records), **BESIDE, "isFinalInvokeForWindow": True})
        delivery = part_event(event)
        assert (is_windowed(event), delivery.is_empty, find_position(delivery)) == (True, True, None)
        assert parse_source_arn(event) == ARN


@pytest.mark.parametrize("form", [orjson.dumps, dict])
def test_an_event_without_a_window_stays_as_it_is(form: Any) -> None:
    event = form({"Records": [make_record(1, **ODD)]})
    assert part_event(event) == Delivery(event)
    assert not is_windowed(event)
    assert find_position(part_event(event)) is None


def test_the_last_record_that_says_where_it_is_counts() -> None:
    for event in ({"Records": [make_record(1), {"eventID": "x"}, 7], **BESIDE},):
        for form in (orjson.dumps(event), event):
            position = find_position(part_event(form))
            assert position is not None
            assert position.sequence_number == str(10**21 + 1)
    nothing = {"Records": [{"eventID": "x"}], **BESIDE}
    assert find_position(part_event(nothing)) is None
    assert find_position(part_event(orjson.dumps(nothing))) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_for_what_they_are(event: bytes) -> None:
    assert part_event(event).event == event
    assert not is_windowed(event)
