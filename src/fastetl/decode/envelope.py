"""A record's frame around its item, checked. Pure.

Record: DynamoDB Streams API, `Record`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fastetl.decode.event import (
    MAX_DEPTH,
    format_time,
    has_label,
    is_event_id,
    is_sequence_number,
    is_time_to_live,
    nests_too_deep,
)
from fastetl.decode.kinesis import MILLISECONDS_DETAIL, is_milliseconds
from fastetl.decode.rejected import RejectedError
from fastetl.versions import find_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastetl.model import Op


class Envelope:
    """One record's frame around the item, checked."""

    def __init__(self, record: Any, stream_arn: str) -> None:
        if nests_too_deep(record):
            raise RejectedError("", "malformed", f"a record of at most {MAX_DEPTH} levels of JSON")
        fields, arn = _Fields(record, ""), stream_arn
        if "kinesis" in fields.values and "dynamodb" not in fields.values:
            raise RejectedError("", "malformed", "data that is a change of a DynamoDB table, with its tableName")
        change = _Fields(fields.take("dynamodb", "a map", dict), "dynamodb.")
        own_arn = fields.take("eventSourceARN", "the stream's ARN", str)
        if not has_label(own_arn) or (own_arn != arn and not _is_of_same_table(own_arn, arn)):
            raise RejectedError("", "malformed", "eventSourceARN: a stream of the same table as the other records")
        self.event_id: str = fields.take("eventID", "printable ASCII, at most 128 characters", is_event_id)
        name: Op = fields.take("eventName", "INSERT, MODIFY or REMOVE", _is_operation)
        self.keys: dict[str, Any] = change.take("Keys", "a map", dict)
        if ":kinesis:" in arn and is_milliseconds(change.values):
            raise RejectedError("", "milliseconds", MILLISECONDS_DETAIL)
        self.sequence_number: str = change.take("SequenceNumber", "at most 40 decimal digits", is_sequence_number)
        self.changed_at = float(change.take("ApproximateCreationDateTime", "Unix seconds", _is_moment))
        self.new_image: dict[str, Any] | None = change.take_if_there("NewImage", "a map", dict)
        self.old_image: dict[str, Any] | None = change.take_if_there("OldImage", "a map", dict)
        self.is_delete = name == "REMOVE"
        self.deleted = "true" if self.is_delete else "false"
        is_expired = self.is_delete and is_time_to_live(fields.values.get("userIdentity"))
        self.op: Op = "EXPIRE" if is_expired else name
        self.label = find_label(own_arn)


def _is_of_same_table(arn: str, other: str) -> bool:
    """Tell whether two streams are of one table, which has another after it was enabled again."""
    table, _, label = arn.partition("/stream/")
    return table == other.partition("/stream/")[0] and bool(label) and "/" not in label


class _Fields:
    """A map of a record, of which each field is taken with what it has to be."""

    def __init__(self, values: Any, place: str) -> None:
        if not isinstance(values, dict):
            raise RejectedError("", "malformed", "a record of DynamoDB Streams, which is a map")
        self.values = values
        self._place = place

    def take(self, name: str, expected: str, fits: type | Callable[[Any], bool]) -> Any:
        """Take a field.

        Raises:
            RejectedError: it is missing, or not what it has to be.
        """
        if name not in self.values:
            raise RejectedError("", "malformed", f"{self._place}{name}, which is missing: {expected}")
        value = self.values[name]
        if not (isinstance(value, fits) if isinstance(fits, type) else fits(value)):
            raise RejectedError("", "malformed", f"{self._place}{name}: {expected}")
        return value

    def take_if_there(self, name: str, expected: str, fits: type) -> Any:
        """Take a field; None where it is missing or null."""
        return None if self.values.get(name) is None else self.take(name, expected, fits)


def _is_operation(value: Any) -> bool:
    return isinstance(value, str) and value in {"INSERT", "MODIFY", "REMOVE"}


def _is_moment(seconds: Any) -> bool:
    if not isinstance(seconds, int | float | Decimal) or isinstance(seconds, bool):
        return False
    try:
        format_time(float(seconds))
    except (ValueError, OverflowError):
        return False
    return True
