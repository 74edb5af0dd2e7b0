"""Records of DynamoDB Streams, all at once, as columns of text: fast, for what fits its column as it is. Pure.

Structs made from the pipeline's columns take the event's bytes apart, so that only declared values become objects;
values are then looked at by the column, not one by one. A record that holds anything else is left to `decode_general`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from fastetl.decode_columns import ABSENT, Fields, build_versions, find_unlike, format_times, write_extra
from fastetl.decode_general import Tally, is_time_to_live, parse_json, parse_records
from fastetl.decode_shape import Shape
from fastetl.errors import EventError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.config import Pipeline
    from fastetl.model import EpochStart

_EVENT_ID_COLUMN = 3
"""Among the columns built here."""

MAX_LEARNED = 64
"""Undeclared attributes that get a field of their own once they have been seen: from then on they cost little."""

_REFUSED = (msgspec.DecodeError, UnicodeDecodeError)


class _RawEvent(msgspec.Struct):
    Records: list[msgspec.Raw]


_RAW_EVENT = msgspec.json.Decoder(_RawEvent)


class TypedRows:
    """What was decoded, by the column; and the records that were left, by their position in the event."""

    def __init__(self, received: int) -> None:
        self.received = received
        self.event_ids: list[str] = []
        self.positions: list[int] = []
        self.columns: list[pl.Series] = []
        self.left: dict[int, Any] = {}


class TypedDecoder:
    """Decodes one pipeline's events, as far as they are what the pipeline expects."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._keeps_old_images = "log" in pipeline.outputs
        self._declared = {str(column.path[0]) for column in pipeline.columns} | set(pipeline.keys)
        self._learned: list[str] = []
        self._shape = Shape(pipeline, self._learned)

    def decode(self, event: bytes, stream_arn: str, epochs: tuple[EpochStart, ...], tally: Tally) -> TypedRows:
        """Convert the records that fit.

        Raises:
            EventError: it is not an event of one stream.
        """
        fields, positions, received = self._read(event)
        typed = TypedRows(received)
        if fields:
            self._build_columns(typed, fields, positions, stream_arn, epochs, tally)
        if len(typed.positions) < received:
            self._leave(typed, event)
        return typed

    def _read(self, event: bytes) -> tuple[Fields | None, list[int], int]:
        """Give the fields of the records that can be read, their positions, and how many records there are.

        The objects made on the way are gone with this call, and their memory serves what is made next.
        """
        try:
            decoded: Any = self._shape.event.decode(event)
            records: list[Any] = decoded.Records
        except _REFUSED:
            records = self._decode_one_by_one(event)
        rows, positions = self._read_rows(records)
        if not rows:
            return None, [], len(records)
        shape = self._shape
        ids, names, arns, sequence_numbers, times, identities, *values = zip(*rows, strict=True)
        keys, values = values[: len(shape.keys)], values[len(shape.keys) :]
        fields = Fields(
            ids=pl.Series(values=ids, dtype=pl.String),
            names=pl.Series(values=names, dtype=pl.String),
            arns=pl.Series(values=arns, dtype=pl.String),
            sequence_numbers=pl.Series(values=sequence_numbers, dtype=pl.String),
            times=pl.Series(values=times, dtype=pl.Float64),
            identities=identities if any(identities) else (),
            keys=[key.hold(each) for key, each in zip(shape.keys, keys, strict=True)],
            columns=[column.hold(each) for column, each in zip(shape.columns, values, strict=False)],
            undeclared=values[len(shape.columns) :],
        )
        return fields, positions, len(records)

    def _decode_one_by_one(self, event: bytes) -> list[Any]:
        """Decode what can be; None for each of the others."""
        try:
            raws = _RAW_EVENT.decode(event).Records
        except _REFUSED:
            return [None] * len(parse_records(event))
        records: list[Any] = []
        for raw in raws:
            try:
                records.append(self._shape.record.decode(raw))
            except _REFUSED:
                records.append(None)
        return records

    def _read_rows(self, records: list[Any]) -> tuple[list[tuple[Any, ...]], list[int]]:
        shape = self._shape
        try:
            if not any(record.eventName == "REMOVE" for record in records):
                # Values are fetched from images: from records each would cost two steps more.
                images = [record.dynamodb.NewImage for record in records]
                pairs = zip(map(shape.upsert_head, records), map(shape.image_values, images), strict=True)
                return [head + values for head, values in pairs], list(range(len(records)))
        except AttributeError:  # one without a new image, or left before
            pass
        return self._read_each(records)

    def _read_each(self, records: list[Any]) -> tuple[list[tuple[Any, ...]], list[int]]:
        rows: list[tuple[Any, ...]] = []
        positions = []
        for position, record in enumerate(records):
            try:
                row = self._read_upsert(record) if record.eventName != "REMOVE" else self._read_remove(record)
            except (AttributeError, *_REFUSED):  # without a new image, or left before
                continue
            if row:
                rows.append(row)
                positions.append(position)
        return rows, positions

    def _read_upsert(self, record: Any) -> tuple[Any, ...]:
        head: tuple[Any, ...] = self._shape.upsert_head(record)
        return head + self._shape.image_values(record.dynamodb.NewImage)

    def _read_remove(self, record: Any) -> tuple[Any, ...] | None:
        shape = self._shape
        if not shape.reads_removes:
            return None
        head, keys = shape.head(record), shape.key_values(record)
        if self._keeps_old_images and record.dynamodb.OldImage:
            values = list(shape.image_values(shape.image.decode(record.dynamodb.OldImage)))
            if self._pipeline.undeclared != "extra":
                values[len(shape.columns) :] = [ABSENT] * len(self._learned)
        else:
            values = [column.absent for column in shape.columns] + [ABSENT] * len(self._learned)
        for number, key_getter in shape.key_columns:
            values[number] = key_getter(record)
        return (*head, *keys, *values)

    def _build_columns(
        self,
        typed: TypedRows,
        fields: Fields,
        positions: list[int],
        stream_arn: str,
        epochs: tuple[EpochStart, ...],
        tally: Tally,
    ) -> None:
        """Turn fields into columns, as far as they are good."""
        if (fields.arns != stream_arn).any():
            raise EventError("the event holds records of several streams; an event source mapping reads one")
        bad = find_unlike(fields)
        keys = [key.write(values, bad) for key, values in zip(self._shape.keys, fields.keys, strict=True)]
        columns = [
            keys[0] + keys[1] if len(keys) > 1 else keys[0],
            build_versions(fields.sequence_numbers, fields.times, stream_arn.rpartition("/")[2], epochs),
            _name_operations(fields),
            fields.ids,
            format_times(fields.times, bad),
            (fields.names == "REMOVE").cast(pl.String),
            *self._write_columns(fields.columns, bad),
        ]
        if self._pipeline.undeclared == "extra":
            rows, null_marker = len(fields.ids), self._pipeline.file.null_marker
            columns.append(write_extra(self._learned, fields.undeclared, rows, null_marker, bad))
        else:
            self._count_ignored(fields.undeclared, bad, tally)
        if bad:
            good = [number for number in range(len(positions)) if number not in bad]
            columns, positions = [column[good] for column in columns], [positions[number] for number in good]
        typed.columns, typed.positions = columns, positions
        typed.event_ids = columns[_EVENT_ID_COLUMN].to_list()

    def _write_columns(self, values: Sequence[pl.Series | Sequence[msgspec.Raw]], bad: set[int]) -> list[pl.Series]:
        """Write the declared columns; those of one type are looked at together, since each look has its price."""
        shape = self._shape
        written: dict[int, pl.Series] = {}
        for numbers in shape.groups:
            alike = [series for number in numbers if isinstance(series := values[number], pl.Series)]
            together = shape.columns[numbers[0]].read_plain(pl.concat(alike))
            if together is not None:
                rows = len(alike[0])
                written |= {n: together.slice(place * rows, rows) for place, n in enumerate(numbers)}
        return [
            written[number] if number in written else column.write(values[number], bad)
            for number, column in enumerate(shape.columns)
        ]

    def _count_ignored(self, undeclared: Sequence[Sequence[msgspec.Raw]], bad: set[int], tally: Tally) -> None:
        for name, raws in zip(self._learned, undeclared, strict=True):
            count = sum(1 for number, raw in enumerate(raws) if raw and number not in bad)
            if count:
                tally.ignored[name] = tally.ignored.get(name, 0) + count

    def _leave(self, typed: TypedRows, event: bytes) -> None:
        """Hand over the records that did not fit, and learn from them for the next event."""
        taken = set(typed.positions)
        try:
            raws = _RAW_EVENT.decode(event).Records
        except _REFUSED:
            typed.left = dict(enumerate(parse_records(event)))
            return
        typed.left = {number: parse_json(bytes(raw)) for number, raw in enumerate(raws) if number not in taken}
        if self._pipeline.undeclared != "reject":
            self._learn(typed.left.values())

    def _learn(self, records: Iterable[Any]) -> None:
        known = {*self._declared, *self._learned}
        found = dict.fromkeys(name for record in records for name in _undeclared_names(record, known))
        new = list(found)[: MAX_LEARNED - len(self._learned)]
        if new:
            self._learned += new
            self._shape = Shape(self._pipeline, self._learned)


def _name_operations(fields: Fields) -> pl.Series:
    """Tell what happened to each item; a delete by DynamoDB's own time to live is an EXPIRE."""
    names = fields.names
    if not fields.identities:
        return names
    expired = [is_time_to_live(identity) for identity in fields.identities]
    is_expired = pl.Series(values=expired, dtype=pl.Boolean) & (names == "REMOVE")
    return pl.Series(values=["EXPIRE"], dtype=pl.String).zip_with(is_expired, names) if is_expired.any() else names


def _undeclared_names(record: Any, known: set[str]) -> list[str]:
    try:
        images = (record["dynamodb"].get("NewImage") or {}, record["dynamodb"].get("OldImage") or {})
        return [name for image in images for name in image if name not in known]
    except (AttributeError, KeyError, TypeError):
        return []
