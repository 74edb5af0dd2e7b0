"""Events of DynamoDB Streams as frames of text columns, and the records that cannot be converted as rejects. Pure.

Every record goes one of two ways to the same row: typed decoding of the declared columns (`typed_decode`), which is
fast, or this module's own way with orjson, which takes everything and defines what is right.

Event shape: AWS Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB"; a record: DynamoDB Streams API,
`Record`.
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
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.conversion import UnfitError, build_converter, build_json, check_text, only, parse_number, plain, truncate
from fastetl.errors import EventError, MisfitError
from fastetl.model import SEQUENCE_DIGITS, Reject, build_version, epoch_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.columns import Column
    from fastetl.config import Pipeline
    from fastetl.conversion import Converter
    from fastetl.model import EpochStart, Op

MAX_EVENT_ID_CHARACTERS = 128

_SOURCE_ARN = re.compile(rb'"eventSourceARN"\s*:\s*"([^"\\]+)"')
_ASCII_DIGITS = re.compile(r"[0-9]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_TO_LIVE = {"principalId": "dynamodb.amazonaws.com", "type": "Service"}
_MICROSECONDS = 1_000_000

Row = tuple[str | None, ...]
"""The system columns but `_file`, then the declared columns, then the extra column if there is one."""


class Changes(msgspec.Struct, frozen=True):
    """What one event holds."""

    frame: pl.DataFrame
    """A row per converted record, in the event's order; every column is text as COPY reads it, null is SQL NULL."""
    file_id: str
    """Names the event's file: a hash of the stream's ARN and the event ids in order."""
    stream_arn: str
    received: int
    """Records of the event: rows and rejects."""
    rejects: tuple[Reject, ...]
    misfits: dict[tuple[str, str], int]
    """Values that became NULL or were truncated, by column and reason."""
    ignored: dict[str, int]
    """Undeclared attributes that were left out, by name."""
    decoded_fast: int
    decoded_general: int
    changed_min: str
    changed_max: str
    """Bounds of `_changed_at`; empty without rows."""
    version_min: str
    version_max: str


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


class _RejectedError(Exception):
    def __init__(self, column: str, reason: str, detail: str) -> None:
        self.column = column
        self.reason = reason
        self.detail = detail
        super().__init__(reason)


def parse_source_arn(event: bytes | bytearray | dict[str, Any]) -> str:
    """Find the stream that an event comes from, without decoding it.

    Raises:
        EventError: the event does not say.
    """
    if isinstance(event, dict):
        records = event.get("Records")
        first = records[0] if isinstance(records, list) and records else None
        arn = first.get("eventSourceARN") if isinstance(first, dict) else None
    else:
        # Inside an item this could only be an attribute's name, and an attribute's value is never plain text.
        match = _SOURCE_ARN.search(event)
        arn = match[1].decode(errors="replace") if match else None
    if not isinstance(arn, str):
        raise EventError("no record with an eventSourceARN; invoke the function through an event source mapping")
    return arn


class Decoder:
    """Decodes one pipeline's events."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._general = GeneralDecoder(pipeline)
        self._pipeline = pipeline

    def decode(self, event: bytes | bytearray | dict[str, Any], epochs: tuple[EpochStart, ...] = ()) -> Changes:
        """Convert an event, whole.

        Raises:
            EventError: it is not an event of one stream.
            MisfitError: a value does not fit a column whose policy is `fail`.
        """
        records = parse_records(event)
        stream_arn = parse_source_arn({"Records": records})
        tally = Tally()
        ids: list[str] = []
        rows: list[Row] = []
        rejects: list[Reject] = []
        for record in records:
            ids.append(name_record(record))
            row = self._general.decode(record, stream_arn, epochs, tally)
            if isinstance(row, Reject):
                rejects.append(row)
            else:
                rows.append(row)
        file_id = build_file_id(stream_arn, ids)
        return build_changes(self._pipeline, stream_arn, file_id, rows, rejects, tally, received=len(records))


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
                record=json.dumps(record, default=str),
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
            return build_json("M", undeclared)
        except UnfitError as error:
            if not change.is_delete:
                raise _RejectedError(self._extra_column, error.reason, error.detail) from None
            tally.misfit(self._extra_column, error.reason)
            return None


class _Envelope:
    """One record's frame around the item, checked."""

    def __init__(self, record: Any, stream_arn: str) -> None:
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
        self._root, self._steps = str(column.path[0]), column.path[1:]
        self._convert: Converter = build_converter(column, null_marker)
        self._null_marker = null_marker

    def read(self, image: dict[str, Any], change: _Envelope, tally: Tally) -> str | None:
        value = image.get(self._root)
        if value is None:
            return None
        try:
            tag, content = only(value)
            for step in self._steps:
                value = _step(tag, content, step)
                if value is None:
                    return None
                tag, content = only(value)
            return self._convert(tag, content)
        except UnfitError as error:
            return self._settle(error, tag, content, change, tally)

    def _settle(self, error: UnfitError, tag: str, content: Any, change: _Envelope, tally: Tally) -> str | None:
        column, policy = self._column, self._column.on_misfit
        if policy == "truncate" and error.reason == "too_long" and tag == "S":
            text = truncate(content, column.type)
            if text != self._null_marker:
                tally.misfit(column.name, error.reason)
                return text
        # The old image of a deleted item must not keep the deletion from the mirror.
        if policy == "null" or change.is_delete:
            tally.misfit(column.name, error.reason)
            return None
        if policy == "fail":
            raise MisfitError(f"event {change.event_id}: column {column.name}: {error.reason}; it takes {error.detail}")
        raise _RejectedError(column.name, error.reason, error.detail)


def _step(tag: str, content: Any, step: str | int) -> Any:
    """One step down a path; None where there is nothing."""
    match tag:
        case "NULL":
            return None
        case "M" if isinstance(step, str) and isinstance(content, dict):
            return content.get(step)
        case "L" if isinstance(step, int) and isinstance(content, list):
            return content[step] if step < len(content) else None
    raise UnfitError("type", "a map" if isinstance(step, str) else "a list")


def parse_records(event: bytes | bytearray | dict[str, Any]) -> list[Any]:
    """Take an event apart into its records.

    Raises:
        EventError: it is not JSON, or has no list of records.
    """
    if not isinstance(event, dict):
        event = _parse_json(event)
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        raise EventError("no list of Records; invoke the function through an event source mapping")
    return records


def _parse_json(event: bytes | bytearray) -> Any:
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


def build_file_id(stream_arn: str, event_ids: Sequence[str]) -> str:
    """Name an event's file by what is in it, so that a repeated delivery has the same name."""
    return hashlib.blake2b("\n".join([stream_arn, *event_ids]).encode(), digest_size=16).hexdigest()


def is_event_id(text: Any) -> bool:
    """Tell whether a text may stand in `_event_id`."""
    return isinstance(text, str) and 0 < len(text) <= MAX_EVENT_ID_CHARACTERS and text.isascii() and text.isprintable()


def is_sequence_number(text: Any) -> bool:
    """Tell whether a text is a sequence number that a version has room for."""
    return isinstance(text, str) and len(text) <= SEQUENCE_DIGITS and bool(_ASCII_DIGITS.fullmatch(text))


def is_time_to_live(identity: Any) -> bool:
    """Tell whether DynamoDB's time to live deleted the item (DynamoDB Developer Guide, "Streams and Time to Live")."""
    return isinstance(identity, dict) and _TIME_TO_LIVE.items() <= identity.items()


def parse_changed_at(seconds: Any) -> float:
    """Check `ApproximateCreationDateTime`, in Unix seconds."""
    try:
        moment = float(seconds)
        format_time(moment)
    except (TypeError, ValueError, OverflowError):
        raise _RejectedError("", "malformed", "a record of DynamoDB Streams") from None
    return moment


@lru_cache(maxsize=1024)
def format_time(seconds: float) -> str:
    """Give Unix seconds as a timestamp in UTC with microseconds; a shard's records share few of them."""
    moment = _EPOCH + timedelta(microseconds=round(seconds * _MICROSECONDS))
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def build_key(keys: dict[str, Any], names: tuple[str, ...]) -> str:
    """Write an item's key as one text: `S=2013-01-01;N=1545;`. Different keys give different texts.

    The closing `;` keeps trailing blanks from being the end of the text, where Redshift passes them over.
    """
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


def escape_key(text: str) -> str:
    """Keep a key attribute's own separators apart from the key's."""
    return text.replace("\\", "\\\\").replace(";", "\\;") if ";" in text or "\\" in text else text


def build_changes(
    pipeline: Pipeline,
    stream_arn: str,
    file_id: str,
    rows: list[Row],
    rejects: list[Reject],
    tally: Tally,
    *,
    received: int,
) -> Changes:
    """Put rows and counts together."""
    extra = [pipeline.extra_column] if pipeline.undeclared == "extra" else []
    system = [name for name, _ in SYSTEM_COLUMNS if name != "_file"]
    names = [*system, *(column.name for column in pipeline.columns), *extra]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    series = [pl.Series(name, values, dtype=pl.String) for name, values in zip(names, columns, strict=True)]
    series.insert(len(system), pl.repeat(file_id, len(rows), dtype=pl.String, eager=True).alias("_file"))
    frame = pl.DataFrame(series)
    versions, times = columns[1], columns[4]
    return Changes(
        frame=frame,
        file_id=file_id,
        stream_arn=stream_arn,
        received=received,
        rejects=tuple(rejects),
        misfits=tally.misfits,
        ignored=tally.ignored,
        decoded_fast=0,
        decoded_general=received,
        changed_min=min(times, default=""),
        changed_max=max(times, default=""),
        version_min=min(versions, default=""),
        version_max=max(versions, default=""),
    )
