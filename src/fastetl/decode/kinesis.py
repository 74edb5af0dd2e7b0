"""Turn records of Kinesis Data Streams for DynamoDB into those of DynamoDB Streams. Pure.

They carry no sequence number, come more than once and in any order, and one Kinesis stream may carry several tables;
each record names its own. What orders them is the time at which DynamoDB took the change, in microseconds, and for
equal times the event id: so a version is the same however often a change comes, but two changes of one item within
one microsecond may be taken for the other way round. These ties are counted. A time in milliseconds cannot order
changes: its record is a reject.

Form: Amazon DynamoDB Developer Guide, "Working with Kinesis Data Streams for DynamoDB".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from typing import Any

import msgspec

from fastetl.decode.event import nests_too_deep, parse_record, parse_records
from fastetl.errors import EventError

TIME_DIGITS, TIE_DIGITS = 17, 23
"""Together the 40 digits of a version's number."""

MICROSECOND_DIGITS = 16
"""A time between the years 2001 and 2286 has this many digits in microseconds, and 13 in milliseconds."""

MILLISECONDS_DETAIL = (
    "a time in microseconds, since milliseconds cannot order changes: set the destination's"
    " ApproximateCreationDateTimePrecision to MICROSECOND, and carry over by `fastetl backfill` what came before"
)


class Unwrapped(msgspec.Struct, frozen=True):
    """What one pipeline takes of an event."""

    event: dict[str, Any]
    """The event as DynamoDB Streams would have sent it."""
    ties: int
    """Changes that are tied with another."""
    passed_over: dict[str, int]
    """Records of other tables, by table."""


def unwrap(event: bytes | dict[str, Any], table: str, *, takes_nameless: bool = True) -> Unwrapped:
    """Give the changes of one table.

    Args:
        event: of Kinesis.
        table: the table's name.
        takes_nameless: whether records that name no table, since they are no changes, belong to the pipeline; one of
            those that read a stream has to take them.

    Raises:
        EventError: it is no event of Kinesis.
    """
    taken: list[Any] = []
    passed_over: Counter[str] = Counter()
    records = parse_records(event)
    if not any(":kinesis:" in str(record.get("eventSourceARN")) for record in records if isinstance(record, dict)):
        raise EventError('no record is of Kinesis; set source = "stream" if the table\'s own stream is read')
    for record in records:
        name, change = _unwrap_one(record)
        if name == table or (takes_nameless and not name):
            taken.append(change)
        elif name:
            passed_over[name] += 1
    ordered = {change["eventID"]: change["dynamodb"] for change in taken if _is_numbered(change)}
    moments = {repr((body.get("Keys"), body.get("ApproximateCreationDateTime"))) for body in ordered.values()}
    return Unwrapped({"Records": taken}, len(ordered) - len(moments), dict(passed_over))


def is_milliseconds(change: dict[str, Any]) -> bool:
    """Tell whether a change has its time in milliseconds."""
    moment = change.get("ApproximateCreationDateTime")
    if "SequenceNumber" in change or not isinstance(moment, int):
        return False
    return change.get("ApproximateCreationDateTimePrecision") == "MILLISECOND" or len(str(moment)) < MICROSECOND_DIGITS


def _unwrap_one(record: Any) -> tuple[str, Any]:
    """Give the table's name and the change; where the record holds none, an empty name and what becomes a reject."""
    if not isinstance(record, dict):
        return "", record
    arn, wrapped = record.get("eventSourceARN"), record.get("kinesis")
    if wrapped is None:  # a reject that is replayed
        return _name(record), dict(record)
    try:
        change = parse_record(base64.b64decode(wrapped["data"], validate=True))
    except (binascii.Error, EventError, KeyError, TypeError, ValueError):
        change = None
    if not isinstance(change, dict) or not _name(change):
        return "", {"eventSourceARN": arn, "kinesis": wrapped}
    change["eventSourceARN"] = arn
    if not nests_too_deep(change):
        _number(change)
    return _name(change), change


def _is_numbered(change: Any) -> bool:
    body = change.get("dynamodb") if isinstance(change, dict) else None
    return isinstance(body, dict) and "SequenceNumber" in body and isinstance(change.get("eventID"), str)


def _name(change: dict[str, Any]) -> str:
    name = change.get("tableName")
    return name if isinstance(name, str) else ""


def _number(change: dict[str, Any]) -> None:
    """Give a change its place among the others, if it says all that is needed for that."""
    body, event_id = change.get("dynamodb"), change.get("eventID")
    if not isinstance(body, dict) or not isinstance(event_id, str) or not isinstance(body.get("Keys"), dict):
        return
    micros = body.get("ApproximateCreationDateTime")
    if not isinstance(micros, int) or isinstance(micros, bool) or is_milliseconds(body):
        return
    tie = int.from_bytes(hashlib.blake2b(event_id.encode(errors="replace"), digest_size=9).digest(), "big")
    body["SequenceNumber"] = f"{micros:0{TIME_DIGITS}d}{tie:0{TIE_DIGITS}d}"
    body["ApproximateCreationDateTime"] = micros / 1_000_000
