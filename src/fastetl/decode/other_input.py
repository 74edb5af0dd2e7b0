"""Say what was handed over in place of an event: people try things out by hand. Pure."""

from __future__ import annotations

import json
from typing import Any

import orjson

_ANSWERS = (
    ({"NextShardIterator"}, "GetRecords' answer, not an event"),
    ({"MillisBehindLatest"}, "GetRecords' answer, not an event"),
    ({"Items", "Count"}, "the answer of Scan or Query, not an event"),
    ({"Items", "ScannedCount"}, "the answer of Scan or Query, not an event"),
    ({"Item"}, "an item, as GetItem and exports give it, not an event"),
    ({"DDBStreamBatchInfo"}, "what Lambda writes of a failed event, not the event: `fastetl replay` takes it"),
    ({"KinesisBatchInfo"}, "what Lambda writes of a failed event, not the event: `fastetl replay` takes it"),
)
"""Names that stand at the top of answers of AWS, and what the answers are."""

_SOURCES = {"aws:dynamodb", "aws:kinesis"}


def describe_other_input(event: bytes | bytearray | dict[str, Any]) -> str:
    """Say what an input is that no stream's ARN was found in. Nothing of its content is told.

    Args:
        event: what was handed over.
    """
    try:
        content = event if isinstance(event, dict) else _parse(bytes(event))
    except ValueError as error:
        return str(error)
    if not isinstance(content, dict):
        return f"not an event: {_name_kind(content)}, and an event is a map with Records"
    answer = next((what for names, what in _ANSWERS if names <= content.keys()), "")
    if answer:
        return answer
    if "Records" not in content:
        is_item = bool(content) and all(isinstance(value, dict) and len(value) == 1 for value in content.values())
        return "an item, not an event" if is_item else "no event: it has no Records"
    records = content["Records"]
    if not isinstance(records, list):
        return f"no event: no list of Records, but {_name_kind(records)}"
    if not records:
        return "an event without records"
    named = [each for each in records if isinstance(each, dict)]
    sources = {str(each.get("eventSource") or each.get("EventSource") or "") for each in named} - {"", *_SOURCES}
    if sources:
        return f"an event of {min(sources)[:40]!a}, not of a stream"
    return "records without an eventSourceARN, as GetRecords gives them, not an event"


def _parse(text: bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is none; the message says so.
    """
    if not text.strip():
        raise ValueError("empty")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text.decode(errors="surrogateescape"))
    except RecursionError:
        raise ValueError("JSON that nests too deep for any reader") from None
    except json.JSONDecodeError as error:
        first, _, rest = text.strip().partition(b"\n")
        if rest and _is_json(first):
            raise ValueError("JSON lines, as exports have them, not an event") from None
        raise ValueError(f"not JSON: line {error.lineno}, column {error.colno}") from None


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _name_kind(value: Any) -> str:
    kinds = {dict: "a map", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")
