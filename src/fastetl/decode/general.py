"""Decode records one at a time: the reference, which takes everything and defines what is right. Pure.

Record: DynamoDB Streams API, `Record`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fastetl.columns import (
    UnfitError,
    build_json,
    build_path_converter,
    build_shortener,
    check_text,
    follow_path,
    only,
    parse_number,
    plain,
)
from fastetl.config import locate_columns, name_list, name_question
from fastetl.decode.event import (
    LONGEST_NAME,
    MAX_DEPTH,
    Tally,
    escape_key,
    format_time,
    has_label,
    is_event_id,
    is_sequence_number,
    is_time_to_live,
    nests_too_deep,
    parse_record,
    write_record,
)
from fastetl.decode.kinesis import MILLISECONDS_DETAIL, is_milliseconds
from fastetl.errors import MisfitError
from fastetl.model import Reject
from fastetl.versions import build_version, epoch_at, find_label

if TYPE_CHECKING:
    from fastetl.columns import Column
    from fastetl.config import Pipeline
    from fastetl.model import Op
    from fastetl.versions import EpochStart


_CURED_BY_SHORTENING = {"too_long", "precision"}

Row = tuple[str | None, ...]
"""The system columns but `_file`, the declared columns, the lists of child tables, and the extra column if there is
one."""


class RejectedError(Exception):
    """A record, or an element of a list, that cannot be converted."""

    def __init__(self, column: str, reason: str, detail: str) -> None:
        """Describe what does not fit.

        Args:
            column: that has no value; empty where the record as a whole is meant.
            reason: a code, fit for a metric's dimension.
            detail: what was expected, in words; without item content.
        """
        self.column = column
        self.reason = reason
        self.detail = detail
        super().__init__(reason)


class GeneralDecoder:
    """Turns records, as plain dicts, into rows or rejects: any record, whatever it holds."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._keys = pipeline.keys
        self._columns = [ColumnReader(column, pipeline.file.null_marker) for column in pipeline.columns]
        self._names = [*(column.name for column in pipeline.columns), *map(name_list, pipeline.lists)]
        asked = {name_question(condition.attribute) for part in pipeline.parts for condition in part.when}
        self._questions = {
            column.name: ColumnReader(column, pipeline.file.null_marker)
            for column in pipeline.columns
            if column.name in asked
        }
        self._targets = [
            (part.when, _build_readers(pipeline, part), pipeline.children(part.name))
            for part in pipeline.parts
            if not part.rows_of
        ]
        self._declared = {column.path[0] for column in pipeline.columns} | set(pipeline.keys)
        self._declared |= {path[0] for path in pipeline.lists}
        self._undeclared = pipeline.undeclared
        self._extra_column = pipeline.extra_column
        self._keeps_old_images = pipeline.keeps_old_images
        self._kept_deletes = pipeline.kept_deletes

    def decode(self, record: Any, stream_arn: str, epochs: tuple[EpochStart, ...], tally: Tally) -> Row | Reject:
        """Convert one record.

        Raises:
                MisfitError: a value does not fit a column whose policy is `fail`.
        """
        try:
            return self._row(_Envelope(record, stream_arn), epochs, tally)
        except RejectedError as error:
            event_id = record.get("eventID") if isinstance(record, dict) else ""
            return Reject(
                event_id=event_id if isinstance(event_id, str) and event_id.isascii() else "",
                reason=error.reason,
                column=error.column,
                detail=error.detail,
                record=write_record(record),
            )

    def _row(self, change: _Envelope, epochs: tuple[EpochStart, ...], tally: Tally) -> Row:
        key = build_key(change.keys, self._keys)
        version = build_version(epoch_at(epochs, change.changed_at), change.label, change.sequence_number)
        head = (key, version, change.op, change.event_id, format_time(change.changed_at), change.deleted)
        if change.is_delete:
            if change.old_image is None and change.op in self._kept_deletes:
                raise RejectedError("", "no_image", "a stream view type of NEW_AND_OLD_IMAGES")
            image = {**(change.old_image or {} if self._keeps_old_images else {}), **change.keys}
        elif change.new_image is None:
            raise RejectedError("", "no_image", "a stream view type of NEW_IMAGE or NEW_AND_OLD_IMAGES")
        else:
            image = change.new_image
        values = self._read_values(image, change, tally)
        return (*head, *values, *self._extra(image, change, tally))

    def _read_values(self, image: dict[str, Any], change: _Envelope, tally: Tally) -> list[str | None]:
        """Read the declared columns; with several targets, of the first whose conditions hold."""
        if not self._targets:
            return [column.read(image, change, tally) for column in self._columns]
        values = {name: column.read(image, change, tally) for name, column in self._questions.items()}
        for conditions, columns, children in self._targets:
            if all(condition.holds(values[name_question(condition.attribute)]) for condition in conditions):
                values |= {name: column.read(image, change, tally) for name, column in columns.items()}
                values |= {name_list(child.rows_of): _read_list(child, image, change, tally) for child in children}
                break
        return [values.get(name) for name in self._names]

    def _extra(self, image: dict[str, Any], change: _Envelope, tally: Tally) -> tuple[str | None, ...]:
        undeclared = {name: value for name, value in image.items() if name not in self._declared}
        if self._undeclared == "extra":
            return (self._build_extra(undeclared, change, tally),)
        if undeclared and not change.is_delete:
            if self._undeclared == "reject":
                raise RejectedError(
                    "", "undeclared", f"no attribute but the declared; there are {len(undeclared)} more"
                )
            tally.ignore(undeclared)
        return ()

    def _build_extra(self, undeclared: dict[str, Any], change: _Envelope, tally: Tally) -> str | None:
        try:
            return _write_document(undeclared)
        except RejectedError as error:
            if not change.is_delete:
                raise RejectedError(self._extra_column, error.reason, error.detail) from None
            tally.misfit(self._extra_column, error.reason)
            return None


def _read_list(child: Pipeline, image: dict[str, Any], change: _Envelope, tally: Tally) -> str | None:
    """Give what is at the path of a child table's list, as JSON."""
    try:
        found = follow_path(image, child.rows_of)
    except UnfitError as error:
        if change.is_delete:
            tally.misfit(child.name, error.reason)
            return None
        raise RejectedError(child.name, error.reason, error.detail) from None
    if found is None or found[0] == "NULL":
        return None
    return write_record(dict([found]))


def build_extra(record: str, keys: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """Write what an item holds beside its key as one JSON object.

    Args:
        record: as rejects keep it.
        keys: the names of the key attributes.

    Returns:
        The object, None where there is nothing, and the names of the attributes in it.

    Raises:
        RejectedError: something in it cannot be part of a document.
    """
    image = parse_record(record.encode())["dynamodb"]["NewImage"]
    held = {name: value for name, value in image.items() if name not in keys}
    return _write_document(held), list(held)


def _write_document(attributes: dict[str, Any]) -> str | None:
    if not attributes:
        return None
    try:
        return build_json("M", attributes)
    except UnfitError as error:
        raise RejectedError("", error.reason, f"{error.detail}; {_find_culprit(attributes)}") from None


def _find_culprit(attributes: dict[str, Any]) -> str:
    """Name the attribute that cannot be part of a document."""
    for name, value in sorted(attributes.items()):
        try:
            build_json("M", {name: value})
        except UnfitError:
            return f"the attribute {name[:LONGEST_NAME]!a}"
    return "all attributes together"


def _build_readers(pipeline: Pipeline, part: Pipeline) -> dict[str, ColumnReader]:
    """Build the readers of a target's columns, by the names under which they are decoded for all targets."""
    located = locate_columns(pipeline, part)
    return {
        located[column.name]: ColumnReader(
            msgspec.structs.replace(column, name=f"{part.name}.{column.name}"), pipeline.file.null_marker
        )
        for column in part.columns
    }


class _Envelope:
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


class Item(Protocol):
    """What an item or element comes with, as far as a misfit asks."""

    @property
    def event_id(self) -> str:
        """Of the change."""
        ...

    @property
    def is_delete(self) -> bool:
        """Whether the change deleted it."""
        ...


class ColumnReader:
    """One declared column: finds its value, converts it, and does with a misfit what the column says."""

    def __init__(self, column: Column, null_marker: str) -> None:
        self._column = column
        self._convert = build_path_converter(column, null_marker)
        self._shorten = build_shortener(column, null_marker) if column.on_misfit == "truncate" else None

    def read(self, image: dict[str, Any], change: Item, tally: Tally) -> str | None:
        """Give the column's text of an item."""
        try:
            return self._convert(image)
        except UnfitError as error:
            return self._settle(error, image, change, tally)

    def _settle(self, error: UnfitError, image: dict[str, Any], change: Item, tally: Tally) -> str | None:
        column, policy = self._column, self._column.on_misfit
        if self._shorten and error.reason in _CURED_BY_SHORTENING:
            with contextlib.suppress(UnfitError):
                tag, content = follow_path(image, column.path) or ("NULL", True)
                text = self._shorten(tag, content)
                tally.misfit(column.name, error.reason)
                return text
        # The old image of a deleted item must not keep the deletion from the mirror.
        if policy == "null" or change.is_delete:
            tally.misfit(column.name, error.reason)
            return None
        if policy == "fail":
            raise MisfitError(f"event {change.event_id}: column {column.name}: {error.reason}; it takes {error.detail}")
        raise RejectedError(column.name, error.reason, error.detail)


def _is_moment(seconds: Any) -> bool:
    if not isinstance(seconds, int | float | Decimal) or isinstance(seconds, bool):
        return False
    try:
        format_time(float(seconds))
    except (ValueError, OverflowError):
        return False
    return True


_KEY_PART = re.compile(r"([SNB])=((?:[^;\\]|\\.)*);", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def build_key(keys: dict[str, Any], names: tuple[str, ...]) -> str:
    """Write an item's key as one text: `S=2013-01-01;N=1545;`. Different keys give different texts.

    The closing `;` keeps trailing blanks from being the end of the text, where Redshift passes them over.
    """
    if extra := sorted(keys.keys() - set(names)):
        more = ", ".join(f"{name[:LONGEST_NAME]!a}" for name in extra)
        raise RejectedError("", "keys", f"no key attribute but the pipeline's keys, which lack {more}")
    parts = []
    for name in names:
        try:
            tag, content = only(keys.get(name))
            if tag == "N":
                content = plain(parse_number(content))
            check_text(content)
        except UnfitError as error:
            raise RejectedError(name, error.reason, error.detail) from None
        if tag not in {"S", "N", "B"}:
            raise RejectedError(name, "type", "S, N or B")
        parts.append(f"{tag}={escape_key(content)};")
    return "".join(parts)


def parse_key(text: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Read an item's key as `build_key` wrote it.

    Args:
        text: of `_key`.
        names: of the key attributes, in their order.

    Returns:
        The typed values by name, as DynamoDB has them.

    Raises:
        ValueError: the text does not hold one value for each of these names.
    """
    parts = _KEY_PART.findall(text)
    if "".join(f"{tag}={content};" for tag, content in parts) != text or len(parts) != len(names):
        raise ValueError("not a key of this table")
    values = [{tag: _ESCAPED.sub(r"\1", content)} for tag, content in parts]
    return dict(zip(names, values, strict=True))
