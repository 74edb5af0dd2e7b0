"""Find out from which shard an event's records come, and how far they go.

A record does not say. Lambda says it of a mapping with a tumbling window: such an event has `shardId` beside its
`Records` (AWS Lambda Developer Guide, "Implementing stateful DynamoDB stream processing in Lambda").
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import orjson

from fastetl.decode.event import is_sequence_number

_OPENING = re.compile(rb'\s*\{\s*"Records"\s*:\s*\[\s*')
_SEQUENCE_NUMBER = re.compile(rb'"SequenceNumber"\s*:\s*"([0-9]{1,40})"')
_CREATED = re.compile(rb'"ApproximateCreationDateTime"\s*:\s*([0-9]+(?:\.[0-9]+)?(?:[eE]\+?[0-9]+)?)')
"""An item's attributes have typed values, `{"S": ...}`, and quotes inside a text are escaped: neither can be taken for
a record's own field."""


class Delivery(msgspec.Struct, frozen=True):
    """An event, and what Lambda says beside its records."""

    event: bytes | bytearray | dict[str, Any]
    """With `Records` alone."""
    shard_id: str = ""
    """Empty where Lambda does not say."""
    is_empty: bool = False
    """Whether there are no records: a window has ended."""


class Position(msgspec.Struct, frozen=True):
    """How far an event's records go in their shard."""

    shard_id: str
    sequence_number: str
    """Of the last record."""
    created_ms: int
    """Unix milliseconds: when DynamoDB says that the last record was created."""


def is_windowed(event: bytes | bytearray | dict[str, Any]) -> bool:
    """Tell whether an event comes of a mapping with a tumbling window, whose answer has to hold a state.

    Args:
        event: the JSON that Lambda hands over, or what it means.
    """
    if isinstance(event, dict):
        return "window" in event
    beside, _ = _read_beside(event)
    return beside is not None and "window" in beside


def part_event(event: bytes | bytearray | dict[str, Any]) -> Delivery:
    """Part an event's records from what Lambda says beside them.

    Args:
        event: the JSON that Lambda hands over, or what it means.

    Returns:
        The event with its records alone, and what was said beside; an event without a window as it is.
    """
    if isinstance(event, dict):
        return _part_dict(event) if "window" in event else Delivery(event)
    beside, end = _read_beside(event)
    if beside is None or "window" not in beside:
        return Delivery(event)
    if not end:
        return _part_dict(beside)
    opening = _OPENING.match(event)
    return _describe(bytes(event[:end]) + b"}", beside, is_empty=bool(opening and opening.end() == end - 1))


def _read_beside(event: bytes | bytearray) -> tuple[dict[str, Any] | None, int]:
    """Read an event's members beside its records, and where its records end.

    The records come first, and what is beside them holds no list: then only that is read. Otherwise the whole event
    is, and the end is 0.
    """
    if _OPENING.match(event):
        end = event.rfind(b"]") + 1
        tail = bytes(event[end:]).strip()
        if tail == b"}":
            return None, end
        beside = _parse(b"{" + tail.removeprefix(b","))
        if isinstance(beside, dict):
            return beside, end
    whole = _parse(bytes(event))
    return (whole, 0) if isinstance(whole, dict) else (None, 0)


def find_position(delivery: Delivery) -> Position | None:
    """Find how far an event's records go; None where Lambda does not say from which shard they are.

    Args:
        delivery: as `part_event` gives it.
    """
    if not delivery.shard_id or delivery.is_empty:
        return None
    if isinstance(delivery.event, dict):
        return _find_in_dict(delivery.event, delivery.shard_id)
    # The records of a batch are in the shard's order (AWS Lambda Developer Guide, "Using AWS Lambda with DynamoDB").
    number = _last(_SEQUENCE_NUMBER, b'"SequenceNumber"', delivery.event)
    created = _last(_CREATED, b'"ApproximateCreationDateTime"', delivery.event)
    if not number or not created:
        return None
    return Position(delivery.shard_id, number.decode(), int(float(created) * 1000))


def _part_dict(event: dict[str, Any]) -> Delivery:
    return _describe({"Records": event.get("Records", [])}, event, is_empty=not event.get("Records"))


def _describe(event: bytes | dict[str, Any], beside: dict[str, Any], *, is_empty: bool) -> Delivery:
    shard_id = beside.get("shardId")
    return Delivery(event, shard_id if isinstance(shard_id, str) else "", is_empty)


def _parse(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _last(pattern: re.Pattern[bytes], name: bytes, event: bytes | bytearray) -> bytes | None:
    place = len(event)
    while (place := event.rfind(name, 0, place)) >= 0:
        if found := pattern.match(event, place):
            return bytes(found[1])
    return None


def _find_in_dict(event: dict[str, Any], shard_id: str) -> Position | None:
    for record in reversed(event["Records"]):
        body = record.get("dynamodb") if isinstance(record, dict) else None
        if not isinstance(body, dict):
            continue
        number, created = body.get("SequenceNumber"), body.get("ApproximateCreationDateTime")
        if is_sequence_number(number) and isinstance(created, int | float):
            return Position(shard_id, str(number), int(created * 1000))
    return None
