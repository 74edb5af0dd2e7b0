"""Records of DynamoDB Streams, all at once, as columns of text: fast, for what fits its column as it is. Pure.

Structs made from the pipeline's columns take the event's bytes apart, so that only declared values become objects;
values are then looked at by the column, not one by one. A record that holds anything else is left to `decode_general`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from fastetl.decode_columns import (
    ABSENT,
    build_versions,
    format_times,
    unlike_event_ids,
    unlike_sequence_numbers,
    write_extra,
)
from fastetl.decode_general import Tally, is_time_to_live, parse_json, parse_records
from fastetl.decode_shape import Shape
from fastetl.errors import EventError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.config import Pipeline
    from fastetl.model import EpochStart

MAX_LEARNED = 64
"""Undeclared attributes that get a field of their own once they have been seen: from then on they cost little."""


_OPERATIONS = {"INSERT", "MODIFY", "REMOVE"}
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
        try:
            decoded: Any = self._shape.event.decode(event)
            records: list[Any] = decoded.Records
        except _REFUSED:
            records = self._decode_one_by_one(event)
        rows, positions = self._read_rows(records)
        typed = TypedRows(len(records))
        if rows:
            good = self._build_columns(typed, rows, stream_arn, epochs, tally)
            typed.positions = [position for position, is_good in zip(positions, good, strict=True) if is_good]
        if len(typed.positions) < len(records):
            self._leave(typed, event)
        return typed

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
        rows: list[tuple[Any, ...]],
        stream_arn: str,
        epochs: tuple[EpochStart, ...],
        tally: Tally,
    ) -> list[bool]:
        """Turn rows into columns; tell which rows are good."""
        shape = self._shape
        ids, names, arns, sequence_numbers, times, identities, *values = zip(*rows, strict=True)
        if set(arns) != {stream_arn}:
            raise EventError("the event holds records of several streams; an event source mapping reads one")
        bad: set[int] = set()
        bad.update(unlike_event_ids(ids), unlike_sequence_numbers(sequence_numbers))
        if not set(names) <= _OPERATIONS:
            bad.update(number for number, name in enumerate(names) if name not in _OPERATIONS)
        ops = list(names)
        if any(identities):
            for number, identity in enumerate(identities):
                if ops[number] == "REMOVE" and is_time_to_live(identity):
                    ops[number] = "EXPIRE"
        keys = [key.write(values[number], bad) for number, key in enumerate(shape.keys)]
        label = stream_arn.rpartition("/")[2]
        moments = format_times(times, bad)
        versions = build_versions(sequence_numbers, times, label, epochs)
        texts = [
            ["".join(parts) for parts in zip(*keys, strict=True)] if len(keys) > 1 else keys[0],
            versions,
            ops,
            ids,
            moments,
            ["true" if name == "REMOVE" else "false" for name in names],
        ]
        columns = [pl.Series(values=text, dtype=pl.String) for text in texts]
        values = values[len(shape.keys) :]
        columns += self._write_columns(values[: len(shape.columns)], bad)
        undeclared = values[len(shape.columns) :]
        if self._pipeline.undeclared == "extra":
            columns.append(write_extra(self._learned, undeclared, len(rows), self._pipeline.file.null_marker, bad))
        else:
            self._count_ignored(undeclared, bad, tally)
        good = [True] * len(rows)
        if bad:
            good = [number not in bad for number in range(len(rows))]
            mask = pl.Series(values=good, dtype=pl.Boolean)
            columns = [column.filter(mask) for column in columns]
            ids = tuple(text for text, is_good in zip(ids, good, strict=True) if is_good)
        typed.columns, typed.event_ids = columns, list(ids)
        return good

    def _write_columns(self, values: Sequence[Sequence[Any]], bad: set[int]) -> list[pl.Series]:
        """Write the declared columns; those of one type are looked at together, since each look has its price."""
        shape = self._shape
        written: dict[int, pl.Series] = {}
        for numbers in shape.groups:
            together = shape.columns[numbers[0]].read_plain([*chain.from_iterable(values[n] for n in numbers)])
            if together is not None:
                rows = len(values[0])
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


def _undeclared_names(record: Any, known: set[str]) -> list[str]:
    try:
        images = (record["dynamodb"].get("NewImage") or {}, record["dynamodb"].get("OldImage") or {})
        return [name for image in images for name in image if name not in known]
    except (AttributeError, KeyError, TypeError):
        return []
