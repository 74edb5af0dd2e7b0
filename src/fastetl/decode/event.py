"""What both ways of decoding share: events taken apart into records, and the checks of a record's own fields. Pure.

Record: DynamoDB Streams API, `Record`.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from fastetl.errors import EventError
from fastetl.versions import SEQUENCE_DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_EVENT_ID_CHARACTERS = 128

_ASCII_DIGITS = re.compile(r"[0-9]+")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TIME_TO_LIVE = {"principalId": "dynamodb.amazonaws.com", "type": "Service"}

_MICROSECONDS = 1_000_000


class Tally:
    """What is counted on the way."""

    def __init__(self) -> None:
        self.misfits: dict[tuple[str, str], int] = {}
        self.ignored: dict[str, int] = {}

    def misfit(self, column: str, reason: str) -> None:
        """Count a value that became NULL or was truncated."""
        self.misfits[column, reason] = self.misfits.get((column, reason), 0) + 1

    def ignore(self, names: Iterable[str]) -> None:
        """Count undeclared attributes."""
        for name in names:
            self.ignored[name] = self.ignored.get(name, 0) + 1


def parse_records(event: bytes | bytearray | dict[str, Any]) -> list[Any]:
    """Take an event apart into its records.

    Raises:
        EventError: it is not JSON, or has no list of records.
    """
    if not isinstance(event, dict):
        event = parse_json(event)
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        raise EventError("no list of Records; invoke the function through an event source mapping")
    return records


def parse_json(event: bytes | bytearray) -> Any:
    """Read JSON, lone surrogates and broken UTF-8 included.

    Raises:
        EventError: it is not JSON.
    """
    try:
        return orjson.loads(event)
    except orjson.JSONDecodeError:
        pass
    # Lone surrogates and broken UTF-8, which orjson refuses, are one record's trouble and must not become all records'.
    try:
        return json.loads(event.decode(errors="surrogateescape"))
    except ValueError:
        raise EventError("not JSON; invoke the function through an event source mapping") from None


def name_record(record: Any) -> str:
    """What a record adds to its file's name: its event id, or a hash of its content where it has none."""
    event_id = record.get("eventID") if isinstance(record, dict) else None
    if isinstance(event_id, str) and is_event_id(event_id):
        return event_id
    return hashlib.blake2b(json.dumps(record, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def is_event_id(text: Any) -> bool:
    """Tell whether a text may stand in `_event_id`."""
    return isinstance(text, str) and 0 < len(text) <= MAX_EVENT_ID_CHARACTERS and text.isascii() and text.isprintable()


def is_sequence_number(text: Any) -> bool:
    """Tell whether a text is a sequence number that a version has room for."""
    return isinstance(text, str) and len(text) <= SEQUENCE_DIGITS and bool(_ASCII_DIGITS.fullmatch(text))


def is_time_to_live(identity: Any) -> bool:
    """Tell whether DynamoDB's time to live deleted the item (DynamoDB Developer Guide, "Streams and Time to Live")."""
    return isinstance(identity, dict) and _TIME_TO_LIVE.items() <= identity.items()


@lru_cache(maxsize=1024)
def format_time(seconds: float) -> str:
    """Give Unix seconds as a timestamp in UTC with microseconds; a shard's records share few of them."""
    moment = _EPOCH + timedelta(microseconds=round(seconds * _MICROSECONDS))
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def escape_key(text: str) -> str:
    """Keep a key attribute's own separators apart from the key's."""
    return text.replace("\\", "\\\\").replace(";", "\\;") if ";" in text or "\\" in text else text
