"""Records of Kinesis Data Streams for DynamoDB, turned into those of DynamoDB Streams. Pure.

They carry no sequence number, come more than once and in any order. What orders them is the time at which DynamoDB
took the change, in microseconds, and for equal times the event id: so a version is the same however often a change
comes, but two changes of one item within one microsecond may be taken for the other way round. Such ties are counted.

Form: Amazon DynamoDB Developer Guide, "Working with Kinesis Data Streams for DynamoDB".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import orjson

from fastetl.decode.event import parse_records
from fastetl.errors import EventError

TIME_DIGITS, TIE_DIGITS = 17, 23
"""Together the 40 digits of a version's number."""

MICROSECOND_DIGITS = 16
"""Of a time between the years 2001 and 2286; milliseconds have 13."""


def unwrap(event: bytes | dict[str, Any]) -> tuple[bytes, int]:
    """Give the event that DynamoDB Streams would have sent, and how many changes are tied with another.

    Raises:
        EventError: it is no event of Kinesis, or its times are milliseconds.
    """
    changes = [_unwrap_one(record) for record in parse_records(event)]
    ordered = {change["eventID"]: change["dynamodb"] for change in changes if "dynamodb" in change}
    moments = {orjson.dumps((body["Keys"], body["ApproximateCreationDateTime"])) for body in ordered.values()}
    return orjson.dumps({"Records": changes}), len(ordered) - len(moments)


def _unwrap_one(record: Any) -> dict[str, Any]:
    try:
        arn = record["eventSourceARN"]
        if "kinesis" not in record and ":kinesis:" in arn:
            return dict(record)  # a reject that is replayed
        wrapped = record["kinesis"]["data"]
    except (KeyError, TypeError):
        raise EventError('a record that is not of Kinesis; set source = "stream" if the table\'s own is read') from None
    try:
        change: dict[str, Any] = orjson.loads(base64.b64decode(wrapped, validate=True))
        body = change["dynamodb"]
        micros, event_id = body["ApproximateCreationDateTime"], change["eventID"]
        complete = isinstance(micros, int) and isinstance(event_id, str) and isinstance(body["Keys"], dict)
    except (binascii.Error, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        complete = False
    if not complete:
        # Without a sequence number it is malformed, and becomes a reject.
        return {"eventSourceARN": arn, "kinesis": record["kinesis"]}
    if body.get("ApproximateCreationDateTimePrecision") == "MILLISECOND" or len(str(micros)) < MICROSECOND_DIGITS:
        raise EventError(
            "the stream gives milliseconds, which cannot order changes;"
            " set its ApproximateCreationDateTimePrecision to MICROSECOND"
        )
    tie = int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=9).digest(), "big")
    body["SequenceNumber"] = f"{micros:0{TIME_DIGITS}d}{tie:0{TIE_DIGITS}d}"
    body["ApproximateCreationDateTime"] = micros / 1_000_000
    change["eventSourceARN"] = arn
    return change
