"""Take events apart into records, and check a record's own fields, for both ways of decoding. Pure.

Record: DynamoDB Streams API, `Record`.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from fastetl.errors import EventError
from fastetl.versions import SEQUENCE_DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_EVENT_ID_CHARACTERS = 128

LONGEST_NAME = 255
"""Characters of an attribute's name that are kept where names are told."""

MAX_DEPTH = 200
"""Levels of JSON in a record. DynamoDB nests 32 levels deep (DynamoDB Developer Guide, "Quotas"), each of which is two
in JSON; Python and orjson follow a multiple of that, but not any number."""

_BLANKS = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]')
_END = re.compile(rb"\s*\}\s*")
_RECORDS = re.compile(rb'\s*\{\s*"Records"\s*:\s*\[\s*')

_ASCII_DIGITS = re.compile(r"[0-9]+")

_LABEL = re.compile(r"[ -.0-~]{1,64}")
"""Printable ASCII."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TIME_TO_LIVE = {"principalId": "dynamodb.amazonaws.com", "type": "Service"}

_MICROSECONDS = 1_000_000


class Tally:
    """What is counted on the way."""

    def __init__(self, ignored: dict[str, int] | None = None) -> None:
        self.misfits: dict[tuple[str, str], int] = {}
        self.ignored: dict[str, int] = ignored or {}

    def misfit(self, column: str, reason: str) -> None:
        """Count a value that became NULL or was truncated."""
        self.misfits[column, reason] = self.misfits.get((column, reason), 0) + 1

    def ignore(self, names: Iterable[str]) -> None:
        """Count undeclared attributes."""
        for name in names:
            self.ignored[name] = self.ignored.get(name, 0) + 1


class Unreadable(msgspec.Struct, frozen=True):
    """A record that nests deeper than any reader of JSON follows."""

    text: str
    """Its JSON in ASCII, without blanks between the tokens."""


def parse_records(event: bytes | bytearray | dict[str, Any]) -> list[Any]:
    """Take an event apart into its records.

    Raises:
        EventError: it is not JSON, or has no list of records.
    """
    parsed = event if isinstance(event, dict) else _parse_event(bytes(event))
    records = parsed.get("Records") if isinstance(parsed, dict) else None
    if not isinstance(records, list):
        raise EventError("no list of Records; invoke the function through an event source mapping")
    return records


def _parse_event(event: bytes) -> Any:
    try:
        return orjson.loads(event)
    except orjson.JSONDecodeError:
        # Lone surrogates, broken UTF-8 and deep nesting, which orjson refuses, are one record's trouble.
        texts = split_records(event)
        return parse_record(event) if texts is None else {"Records": [parse_record(text) for text in texts]}


def parse_record(text: bytes) -> Any:
    """Read one record's JSON, lone surrogates and broken UTF-8 included; `Unreadable` where it nests too deep.

    Args:
        text: the record's bytes.

    Raises:
        EventError: it is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text.decode(errors="surrogateescape"))
    except ValueError:
        raise EventError("not JSON; invoke the function through an event source mapping") from None
    except RecursionError:
        return Unreadable(_in_ascii(_BLANKS.sub(rb"\1", text).decode(errors="surrogateescape")))


def split_records(event: bytes) -> list[bytes] | None:
    """Cut `{"Records":[...]}` into its records by their brackets alone; None where the event is anything else."""
    begun = _RECORDS.match(event)
    if not begun:
        return None
    texts: list[bytes] = []
    depth, start = 0, begun.end()
    for token in _BRACKETS.finditer(event, start):
        sign = token[0]
        if sign in b"[{":
            depth += 1
        elif depth and sign in b"]}":
            depth -= 1
        elif not depth and sign in b"],":
            texts.append(event[start : token.start()])
            start = token.end()
            if sign == b"]":
                return _without_nothing(texts) if _END.fullmatch(event, start) else None
    return None


def _without_nothing(texts: list[bytes]) -> list[bytes]:
    return [] if len(texts) == 1 and not texts[0].strip() else texts


def nests_too_deep(record: Any) -> bool:
    """Tell whether a record has more levels of JSON than any that DynamoDB can send."""
    if isinstance(record, Unreadable):
        return True
    level: list[Any] = [record] if isinstance(record, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            part
            for value in level
            for part in (value.values() if isinstance(value, dict) else value)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True


def write_record(record: Any) -> str:
    """Write a record as JSON in ASCII, however deep it nests."""
    if isinstance(record, Unreadable):
        return record.text
    try:
        return json.dumps(record, default=str)
    except RecursionError:
        return _write_deep(record)


def _write_deep(record: Any) -> str:
    pieces: list[str] = []
    todo: list[Any] = [record]
    while todo:
        value = todo.pop()
        if isinstance(value, _Written):
            pieces.append(value)
        elif isinstance(value, dict):
            todo.append(_Written("}"))
            for number, (name, part) in enumerate(reversed(value.items()), start=1):
                todo += [part, _Written(f"{json.dumps(name)}: ")]
                if number < len(value):
                    todo.append(_Written(", "))
            pieces.append("{")
        elif isinstance(value, list):
            todo.append(_Written("]"))
            for number, part in enumerate(reversed(value), start=1):
                todo.append(part)
                if number < len(value):
                    todo.append(_Written(", "))
            pieces.append("[")
        else:
            pieces.append(json.dumps(value, default=str))
    return "".join(pieces)


class _Written(str):
    """What is JSON already."""

    __slots__ = ()


def _in_ascii(text: str) -> str:
    return "".join(sign if sign.isascii() else json.dumps(sign)[1:-1] for sign in text)


def cut_name(name: str) -> str:
    """Give an attribute's name as it is counted and kept: not too long, and text that UTF-8 has.

    Args:
        name: as the item has it.
    """
    return name[:LONGEST_NAME].encode(errors="replace").decode()


def name_record(record: Any) -> str:
    """Give what a record adds to its file's name: its event id, or a hash of its content where it has none."""
    event_id = record.get("eventID") if isinstance(record, dict) else None
    if isinstance(event_id, str) and is_event_id(event_id):
        return event_id
    try:
        text = json.dumps(record, sort_keys=True, default=str)
    except RecursionError:
        text = write_record(record)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def is_event_id(text: Any) -> bool:
    """Tell whether a text may stand in `_event_id`."""
    return isinstance(text, str) and 0 < len(text) <= MAX_EVENT_ID_CHARACTERS and text.isascii() and text.isprintable()


def has_label(arn: str) -> bool:
    """Tell whether a stream's ARN ends in a label that a version has room for: a time, of DynamoDB Streams."""
    return ":kinesis:" in arn or bool(_LABEL.fullmatch(arn.rpartition("/")[2]))


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
    return moment.replace(tzinfo=None).isoformat(" ", "microseconds")


def escape_key(text: str) -> str:
    """Keep a key attribute's own separators apart from the key's."""
    return text.replace("\\", "\\\\").replace(";", "\\;") if ";" in text or "\\" in text else text
