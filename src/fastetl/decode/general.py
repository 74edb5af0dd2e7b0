"""Records of DynamoDB Streams, one at a time, as rows of text: takes whatever comes and defines what is right. Pure.

Record: DynamoDB Streams API, `Record`.
"""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

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
from fastetl.decode.event import (
    MAX_DEPTH,
    Tally,
    escape_key,
    format_time,
    is_event_id,
    is_sequence_number,
    is_time_to_live,
    nests_too_deep,
    write_record,
)
from fastetl.errors import EventError, MisfitError
from fastetl.model import Reject
from fastetl.versions import build_version, epoch_at

if TYPE_CHECKING:
    from fastetl.columns import Column
    from fastetl.config import Pipeline
    from fastetl.model import Op
    from fastetl.versions import EpochStart


_CURED_BY_SHORTENING = {"too_long", "precision"}

Row = tuple[str | None, ...]
"""The system columns but `_file`, then the declared columns, then the extra column if there is one."""


class _RejectedError(Exception):
    def __init__(self, column: str, reason: str, detail: str) -> None:
        self.column = column
        self.reason = reason
        self.detail = detail
        super().__init__(reason)


class GeneralDecoder:
    """Turns records, as plain dicts, into rows or rejects: any record, whatever it holds."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._keys = pipeline.keys
        self._columns = [_ColumnReader(column, pipeline.file.null_marker) for column in pipeline.columns]
        self._declared = {column.path[0] for column in pipeline.columns} | set(pipeline.keys)
        self._undeclared = pipeline.undeclared
        self._extra_column = pipeline.extra_column
        self._keeps_old_images = "log" in pipeline.outputs

    def decode(self, record: Any, stream_arn: str, epochs: tuple[EpochStart, ...], tally: Tally) -> Row | Reject:
        """Convert one record.

        Raises:
            EventError: it belongs to another stream than the event's first.
            MisfitError: a value does not fit a column whose policy is `fail`.
        """
        try:
            return self._row(_Envelope(record, stream_arn), epochs, tally)
        except _RejectedError as error:
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
            image = {**(change.old_image or {} if self._keeps_old_images else {}), **change.keys}
        elif change.new_image is None:
            raise _RejectedError("", "no_image", "a stream view type of NEW_IMAGE or NEW_AND_OLD_IMAGES")
        else:
            image = change.new_image
        values = [column.read(image, change, tally) for column in self._columns]
        return (*head, *values, *self._extra(image, change, tally))

    def _extra(self, image: dict[str, Any], change: _Envelope, tally: Tally) -> tuple[str | None, ...]:
        undeclared = {name: value for name, value in image.items() if name not in self._declared}
        if self._undeclared == "extra":
            return (self._build_extra(undeclared, change, tally),)
        if undeclared and not change.is_delete:
            if self._undeclared == "reject":
                raise _RejectedError(
                    "", "undeclared", f"no attribute but the declared; there are {len(undeclared)} more"
                )
            tally.ignore(undeclared)
        return ()

    def _build_extra(self, undeclared: dict[str, Any], change: _Envelope, tally: Tally) -> str | None:
        if not undeclared:
            return None
        try:
            return build_json("M", dict(sorted(undeclared.items())))
        except UnfitError as error:
            if not change.is_delete:
                raise _RejectedError(self._extra_column, error.reason, error.detail) from None
            tally.misfit(self._extra_column, error.reason)
            return None


class _Envelope:
    """One record's frame around the item, checked."""

    def __init__(self, record: Any, stream_arn: str) -> None:
        if nests_too_deep(record):
            raise _RejectedError("", "malformed", f"a record of at most {MAX_DEPTH} levels of JSON")
        try:
            change, arn = record["dynamodb"], record["eventSourceARN"]
            self.event_id: str = record["eventID"]
            name = record["eventName"]
            self.keys: dict[str, Any] = change["Keys"]
            self.sequence_number: str = change["SequenceNumber"]
            seconds = change["ApproximateCreationDateTime"]
            self.new_image: dict[str, Any] | None = change.get("NewImage")
            self.old_image: dict[str, Any] | None = change.get("OldImage")
            identity = record.get("userIdentity")
        except (KeyError, TypeError, AttributeError):
            raise _RejectedError("", "malformed", "a record of DynamoDB Streams") from None
        if arn != stream_arn:
            raise EventError("the event holds records of several streams; an event source mapping reads one")
        self._check(name)
        self.changed_at = parse_changed_at(seconds)
        self.is_delete = name == "REMOVE"
        self.deleted = "true" if self.is_delete else "false"
        self.op: Op = "EXPIRE" if self.is_delete and is_time_to_live(identity) else name
        self.label = stream_arn.rpartition("/")[2]

    def _check(self, name: Any) -> None:
        images = (self.new_image, self.old_image)
        if not (
            is_event_id(self.event_id)
            and isinstance(name, str)
            and name in {"INSERT", "MODIFY", "REMOVE"}
            and isinstance(self.keys, dict)
            and is_sequence_number(self.sequence_number)
            and all(image is None or isinstance(image, dict) for image in images)
        ):
            raise _RejectedError("", "malformed", "a record of DynamoDB Streams")


class _ColumnReader:
    """One declared column: finds its value, converts it, and does with a misfit what the column says."""

    def __init__(self, column: Column, null_marker: str) -> None:
        self._column = column
        self._root = str(column.path[0])
        self._convert = build_path_converter(column, null_marker)
        self._shorten = build_shortener(column, null_marker) if column.on_misfit == "truncate" else None

    def read(self, image: dict[str, Any], change: _Envelope, tally: Tally) -> str | None:
        """Give the column's text of an item."""
        value = image.get(self._root)
        try:
            return self._convert(value)
        except UnfitError as error:
            return self._settle(error, value, change, tally)

    def _settle(self, error: UnfitError, value: Any, change: _Envelope, tally: Tally) -> str | None:
        column, policy = self._column, self._column.on_misfit
        if self._shorten and error.reason in _CURED_BY_SHORTENING:
            with contextlib.suppress(UnfitError):
                text = self._shorten(*only(follow_path(value, column.path[1:])))
                tally.misfit(column.name, error.reason)
                return text
        # The old image of a deleted item must not keep the deletion from the mirror.
        if policy == "null" or change.is_delete:
            tally.misfit(column.name, error.reason)
            return None
        if policy == "fail":
            raise MisfitError(f"event {change.event_id}: column {column.name}: {error.reason}; it takes {error.detail}")
        raise _RejectedError(column.name, error.reason, error.detail)


def parse_changed_at(seconds: Any) -> float:
    """Check `ApproximateCreationDateTime`, in Unix seconds."""
    if isinstance(seconds, int | float | Decimal) and not isinstance(seconds, bool):
        try:
            format_time(moment := float(seconds))
        except (ValueError, OverflowError):
            pass
        else:
            return moment
    raise _RejectedError("", "malformed", "a record of DynamoDB Streams")


def build_key(keys: dict[str, Any], names: tuple[str, ...]) -> str:
    """Write an item's key as one text: `S=2013-01-01;N=1545;`. Different keys give different texts.

    The closing `;` keeps trailing blanks from being the end of the text, where Redshift passes them over.
    """
    if extra := sorted(keys.keys() - set(names)):
        raise EventError(f"the table's key has {extra} as well; name all its attributes in the pipeline's keys")
    parts = []
    for name in names:
        try:
            tag, content = only(keys.get(name))
            if tag == "N":
                content = plain(parse_number(content))
            check_text(content)
        except UnfitError as error:
            raise _RejectedError(name, error.reason, error.detail) from None
        if tag not in {"S", "N", "B"}:
            raise _RejectedError(name, "type", "S, N or B")
        parts.append(f"{tag}={escape_key(content)};")
    return "".join(parts)
