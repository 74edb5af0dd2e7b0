"""Records of DynamoDB Streams, all at once, as columns of text: fast, for what fits its column as it is. Pure.

Values are read and looked at by the column, not one by one. A record that holds what does not fit is left to
`decode_general`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from fastetl.columns import Texts, TypedColumn
from fastetl.decode.event import Tally, is_time_to_live, parse_json, parse_records
from fastetl.decode.fast.fields import REFUSED, FieldReader, Fields, without_blanks
from fastetl.decode.fast.shape import Shape
from fastetl.decode.fast.system_columns import build_versions, find_unlike, format_times, write_extra, write_key
from fastetl.decode.fast.texts import guess_tag, read_texts
from fastetl.errors import EventError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.config import Pipeline
    from fastetl.versions import EpochStart

MAX_LEARNED = 64
"""Undeclared attributes that get a field of their own once they have been seen: from then on they cost little."""

_EVENT_ID_COLUMN = 3
"""Among the columns built here."""


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
        self._declared = {str(column.path[0]) for column in pipeline.columns} | set(pipeline.keys)
        self._learned: list[str] = []
        shape = Shape(pipeline, self._learned)
        self._reader = self._build_reader(shape)
        null_marker = pipeline.file.null_marker
        self._columns = [
            TypedColumn(column, null_marker, shape.parts.get(number)) for number, column in enumerate(pipeline.columns)
        ]
        groups: dict[object, list[int]] = {}
        for number, column in enumerate(self._columns):
            groups.setdefault(column.group, []).append(number)
        self._groups = list(groups.values())
        """Columns that can be looked at together, by their numbers."""

    def decode(self, event: bytes, stream_arn: str, epochs: tuple[EpochStart, ...], tally: Tally) -> TypedRows:
        """Convert the records that fit.

        Raises:
            EventError: it is not an event of one stream.
        """
        event = without_blanks(event)
        fields = self._reader.read(event)
        typed = TypedRows(fields.received)
        if fields.ids:
            self._build_columns(typed, fields, stream_arn, epochs, tally)
        if len(typed.positions) < fields.received:
            self._leave(typed, event)
        return typed

    def _build_columns(
        self, typed: TypedRows, fields: Fields, stream_arn: str, epochs: tuple[EpochStart, ...], tally: Tally
    ) -> None:
        """Turn fields into columns, as far as they are good."""
        if fields.arns.count(stream_arn) != len(fields.arns):
            raise EventError("the event holds records of several streams; an event source mapping reads one")
        ids = pl.Series(values=fields.ids, dtype=pl.String)
        sequence_numbers = pl.Series(values=fields.sequence_numbers, dtype=pl.String)
        times = pl.Series(values=fields.times, dtype=pl.Float64)
        names = pl.Series(values=fields.names, dtype=pl.String)
        keys, texts = self._read_texts(fields)
        bad = find_unlike(ids, sequence_numbers)
        parts = [write_key(key, bad) for key in keys]
        columns = [
            parts[0] + parts[1] if len(parts) > 1 else parts[0],
            build_versions(sequence_numbers, times, stream_arn.rpartition("/")[2], epochs),
            _name_operations(names, fields.identities),
            ids,
            format_times(times, bad),
            (names == "REMOVE").cast(pl.String),
            *self._write_columns(texts, bad),
        ]
        positions = fields.positions
        if self._pipeline.undeclared == "extra":
            null_marker = self._pipeline.file.null_marker
            columns.append(write_extra(self._learned, fields.learned, len(positions), null_marker, bad))
        else:
            self._count_ignored(fields.learned, bad, tally)
        event_ids = fields.ids
        if bad:
            good = [row for row in range(len(positions)) if row not in bad]
            columns = [column[good] for column in columns]
            positions, event_ids = [positions[row] for row in good], [event_ids[row] for row in good]
        typed.columns, typed.positions, typed.event_ids = columns, positions, event_ids

    def _read_texts(self, fields: Fields) -> tuple[list[Texts], list[Texts]]:
        """Read the values of key attributes, and of columns."""
        tags = [*map(guess_tag, fields.keys), *(column.tag for column in self._columns)]
        found = read_texts(list(zip(tags, fields.keys + fields.values, strict=True)), len(fields.ids))
        # What the columns are made of is as large as they are.
        fields.values = []
        return found[: len(fields.keys)], found[len(fields.keys) :]

    def _write_columns(self, texts: list[Texts], bad: set[int]) -> list[pl.Series]:
        """Write the declared columns; those of one type are looked at together, since each look has its price."""
        written: dict[int, pl.Series] = {}
        for numbers in self._groups:
            alike = [texts[number] for number in numbers]
            rows = len(alike[0].series)
            together, fits = self._columns[numbers[0]].look(pl.concat([each.series for each in alike]))
            if fits.all() and not any(each.odd for each in alike):
                written |= {number: together.slice(place * rows, rows) for place, number in enumerate(numbers)}
            else:
                written |= {number: self._columns[number].write(texts[number], bad) for number in numbers}
        return [written[number] for number in range(len(written))]

    def _count_ignored(self, learned: Sequence[Sequence[msgspec.Raw]], bad: set[int], tally: Tally) -> None:
        for name, raws in zip(self._learned, learned, strict=True):
            count = sum(1 for row, raw in enumerate(raws) if raw and row not in bad)
            if count:
                tally.ignored[name] = tally.ignored.get(name, 0) + count

    def _leave(self, typed: TypedRows, event: bytes) -> None:
        """Hand over the records that did not fit, and learn from them for the next event."""
        taken = set(typed.positions)
        try:
            raws = _RAW_EVENT.decode(event).Records
        except REFUSED:
            typed.left = {n: record for n, record in enumerate(parse_records(event)) if n not in taken}
        else:
            typed.left = {n: parse_json(bytes(raw)) for n, raw in enumerate(raws) if n not in taken}
        if self._pipeline.undeclared != "reject":
            self._learn(typed.left.values())

    def _learn(self, records: Iterable[Any]) -> None:
        known = {*self._declared, *self._learned}
        found = dict.fromkeys(name for record in records for name in _undeclared_names(record, known))
        new = list(found)[: MAX_LEARNED - len(self._learned)]
        if new:
            self._learned += new
            self._reader = self._build_reader(Shape(self._pipeline, self._learned))

    def _build_reader(self, shape: Shape) -> FieldReader:
        # What nothing declares is not counted where an item ends, but kept where it is asked for.
        return FieldReader(
            shape,
            keeps_old_images="log" in self._pipeline.outputs,
            keeps_undeclared=self._pipeline.undeclared == "extra",
        )


def _name_operations(names: pl.Series, identities: Sequence[Any]) -> pl.Series:
    """Tell what happened to each item; a delete by DynamoDB's own time to live is an EXPIRE."""
    if not any(identities):
        return names
    expired = [is_time_to_live(identity) for identity in identities]
    is_expired = pl.Series(values=expired, dtype=pl.Boolean) & (names == "REMOVE")
    return pl.Series(values=["EXPIRE"], dtype=pl.String).zip_with(is_expired, names) if is_expired.any() else names


def _undeclared_names(record: Any, known: set[str]) -> list[str]:
    try:
        images = (record["dynamodb"].get("NewImage") or {}, record["dynamodb"].get("OldImage") or {})
        return [name for image in images for name in image if name not in known and _is_unicode(name)]
    except (AttributeError, KeyError, TypeError):
        return []


def _is_unicode(name: str) -> bool:
    """Tell whether UTF-8 has a name: of JSON's escapes it lacks lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
