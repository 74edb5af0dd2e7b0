"""Stream records as the SDK's `get_records` gives them, turned into those that Lambda hands to a function.

Beside the difference in form, moto differs from DynamoDB in what it writes to a stream; `Mender` takes that back.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import orjson

_SETS = frozenset({"SS", "NS", "BS"})


class StreamRecord(msgspec.Struct, frozen=True):
    """One record, as it goes into an event."""

    sequence_number: str
    created_at: float
    """Unix seconds, whole."""
    key_hash: int
    """A hash of the item's key: equal keys have equal hashes."""
    body: bytes
    """JSON, as in `Records`."""


def build_record(sdk_record: Mapping[str, Any], stream_arn: str) -> StreamRecord:
    """Build Lambda's form of an SDK record: binary as base64 text, time in whole seconds, other letter case."""
    change = sdk_record["dynamodb"]
    record = {**sdk_record, "eventVersion": "1.1", "eventSourceARN": stream_arn}
    identity = sdk_record.get("userIdentity")
    if identity:
        record["userIdentity"] = {"type": identity["Type"], "principalId": identity["PrincipalId"]}
    return StreamRecord(
        change["SequenceNumber"],
        float(_seconds(change["ApproximateCreationDateTime"])),
        zlib.crc32(_dumps(change["Keys"])),
        _dumps(record),
    )


def build_event(records: Sequence[StreamRecord]) -> bytes:
    """Build the event that the function gets."""
    return b'{"Records":[' + b",".join(record.body for record in records) + b"]}"


class Mender:
    """Takes back what moto writes to a shard and DynamoDB would not.

    - `update_item` on an item that was not there: two INSERTs, the first with the key alone. The first goes. It is
      held back while the second may still be unread, which is until the next read.
    - A write that changes nothing: a MODIFY. It goes, where the stream has both images to tell it by.
    """

    def __init__(self) -> None:
        self._held: list[Mapping[str, Any]] = []

    @property
    def holds(self) -> bool:
        """Whether records wait for the next read."""
        return bool(self._held)

    def mend(self, sdk_records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Give what can be handed on after reading these, in order."""
        records = [*self._held, *sdk_records]
        already_held, self._held = len(self._held), []
        next_names: dict[bytes, str] = {}
        kept: list[Mapping[str, Any]] = []
        undecided = len(records)
        for place in range(len(records) - 1, -1, -1):
            record = records[place]
            key = _dumps(record["dynamodb"]["Keys"])
            next_name = next_names.get(key)
            next_names[key] = record["eventName"]
            if _changes_nothing(record) or (_is_key_alone(record) and next_name == "INSERT"):
                continue
            if _is_key_alone(record) and next_name is None and place >= already_held:
                undecided = place
            kept.append(record)
        kept.reverse()
        numbers = {id(record) for record in records[undecided:]}
        self._held = [record for record in kept if id(record) in numbers]
        return [record for record in kept if id(record) not in numbers]


def _is_key_alone(record: Mapping[str, Any]) -> bool:
    change = record["dynamodb"]
    return bool(record["eventName"] == "INSERT" and change.get("NewImage", change["Keys"]) == change["Keys"])


def _changes_nothing(record: Mapping[str, Any]) -> bool:
    change = record["dynamodb"]
    if record["eventName"] != "MODIFY" or "OldImage" not in change or "NewImage" not in change:
        return False
    return bool(_in_order(change["OldImage"]) == _in_order(change["NewImage"]))


def _in_order(value: Any) -> Any:
    """Sort the sets of an image: DynamoDB's are not ordered."""
    match value:
        case dict():
            return {name: sorted(part) if name in _SETS else _in_order(part) for name, part in value.items()}
        case list():
            return [_in_order(part) for part in value]
        case _:
            return value


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=_as_lambda_does, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _as_lambda_does(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return _seconds(value)
        case _:
            raise TypeError(f"a stream record holds a {type(value).__name__}")


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
