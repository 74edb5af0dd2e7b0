"""Records of DynamoDB Streams, all at once, as columns of text: fast, for what fits its column as it is. Pure.

Structs made from the pipeline's columns take the event's bytes apart, a piece after the other, so that all objects of a
piece stay in the processor's cache; values are then read and looked at by the column, not one by one. A record that
holds anything else is left to `decode_general`.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import polars as pl

from fastetl.decode_columns import (
    TypedColumn,
    build_versions,
    find_unlike,
    format_times,
    write_extra,
    write_key,
)
from fastetl.decode_general import Tally, is_time_to_live, parse_json, parse_records
from fastetl.decode_shape import NOT_THERE, Shape, unzip
from fastetl.decode_texts import Texts, guess_tag, read_texts
from fastetl.errors import EventError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fastetl.config import Pipeline
    from fastetl.model import EpochStart

PIECE_BYTES = 100_000
"""Of JSON, taken apart at once: its objects, three times as large, fit into a core's own cache. Anything from 50 kB to
1 MB serves as well; an event at once takes a quarter longer."""

MAX_LEARNED = 64
"""Undeclared attributes that get a field of their own once they have been seen: from then on they cost little."""

_HEAD, _TAIL = b'{"Records":[', b"]}"
_NEXT = b',{"eventID":"'
"""Begins a record, as Lambda writes them; an attribute of that name is followed by an object, and text has no quote."""

_EVENT_ID_COLUMN = 3
"""Among the columns built here."""

_OPERATION, _NEW_IMAGE, _KEYS = map(attrgetter, ("eventName", "dynamodb.NewImage", "dynamodb.Keys"))

_REFUSED = (msgspec.DecodeError, UnicodeDecodeError)


class _RawEvent(msgspec.Struct):
    Records: list[msgspec.Raw]


_RAW_EVENT = msgspec.json.Decoder(_RawEvent)
_RAW_RECORDS = msgspec.json.Decoder(list[msgspec.Raw])


class TypedRows:
    """What was decoded, by the column; and the records that were left, by their position in the event."""

    def __init__(self, received: int) -> None:
        self.received = received
        self.event_ids: list[str] = []
        self.positions: list[int] = []
        self.columns: list[pl.Series] = []
        self.left: dict[int, Any] = {}


class _Fields:
    """What the records of an event hold, by the field, one entry a row."""

    def __init__(self, keys: int, columns: int, learned: int) -> None:
        self.received = 0
        self.positions: list[int] = []
        self.ids: list[str] = []
        self.names: list[str] = []
        self.arns: list[str] = []
        self.sequence_numbers: list[str] = []
        self.times: list[float] = []
        self.identities: list[Any] = []
        self.keys: list[list[bytes]] = [[] for _ in range(keys)]
        self.values: list[list[bytes]] = [[] for _ in range(columns)]
        """The JSON of some rows' values, joined by line feeds."""
        self.learned: list[list[msgspec.Raw]] = [[] for _ in range(learned)]


class TypedDecoder:
    """Decodes one pipeline's events, as far as they are what the pipeline expects."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._keeps_old_images = "log" in pipeline.outputs
        self._declared = {str(column.path[0]) for column in pipeline.columns} | set(pipeline.keys)
        self._learned: list[str] = []
        self._shape = Shape(pipeline, self._learned)
        null_marker = pipeline.file.null_marker
        self._columns = [
            TypedColumn(column, null_marker, self._shape.parts.get(number))
            for number, column in enumerate(pipeline.columns)
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
        event = _without_blanks(event)
        fields = self._read(event)
        typed = TypedRows(fields.received)
        if fields.ids:
            self._build_columns(typed, fields, stream_arn, epochs, tally)
        if len(typed.positions) < fields.received:
            self._leave(typed, event)
        return typed

    def _read(self, event: bytes) -> _Fields:
        """Take the event apart; what cannot be read is counted, and left."""
        fields = self._new_fields()
        try:
            for piece in _cut(event):
                # A piece's objects are gone before the next are made, in the same memory.
                self._add(fields, self._decode_piece(piece))
        except _REFUSED:
            # Not as Lambda writes it, or text that is no Unicode.
            fields = self._new_fields()
            self._add(fields, self._decode_each(map(_dump, parse_records(event))))
        return fields

    def _new_fields(self) -> _Fields:
        return _Fields(len(self._pipeline.keys), len(self._pipeline.columns), len(self._learned))

    def _decode_piece(self, piece: bytes) -> list[Any]:
        """Decode records; None for each that cannot be."""
        try:
            records: list[Any] = self._shape.records.decode(piece)
        except _REFUSED:
            return self._decode_each(_RAW_RECORDS.decode(piece))
        return records

    def _decode_each(self, raws: Iterable[msgspec.Raw | bytes]) -> list[Any]:
        records: list[Any] = []
        for raw in raws:
            try:
                records.append(self._shape.record.decode(raw))
            except _REFUSED:
                records.append(None)
        return records

    def _add(self, fields: _Fields, records: list[Any]) -> None:
        """Add a piece's records, as far as they have an image or can be given one."""
        positions: Sequence[int] = range(fields.received, fields.received + len(records))
        fields.received += len(records)
        images = self._find_images(records)
        if not all(images):
            found = [each for each in zip(positions, records, images, strict=True) if each[-1]]
            if not found:
                return
            positions, records, images = (list(each) for each in zip(*found, strict=True))
        ids, names, arns, changes, identities = unzip(records)
        keys, sequence_numbers, times, _, _ = unzip(changes)
        fields.positions += positions
        fields.ids += ids
        fields.names += names
        fields.arns += arns
        fields.sequence_numbers += sequence_numbers
        fields.times += times
        fields.identities += identities
        for pieces, raws in zip(fields.keys, unzip(keys), strict=True):
            pieces.append(b"\n".join(raws))
        values, learned = self._shape.spread(images)
        for pieces, raws in zip(fields.values, values, strict=True):
            pieces.append(b"\n".join(raws))
        for known, raws in zip(fields.learned, learned, strict=True):
            known.extend(raws)

    def _find_images(self, records: Sequence[Any]) -> list[Any]:
        """Give the images that the records' values come from; None where there is none."""
        shape = self._shape
        if all(records):
            operations = set(map(_OPERATION, records))
            if "REMOVE" not in operations:
                return list(map(_NEW_IMAGE, records))
            if operations == {"REMOVE"} and shape.reads_removes and not self._keeps_old_images:
                return list(map(shape.image_type, *unzip(map(_KEYS, records))))
        return [self._find_image(record) for record in records]

    def _find_image(self, record: Any) -> Any:
        if record is None:
            return None
        if record.eventName != "REMOVE":
            return record.dynamodb.NewImage
        shape, change = self._shape, record.dynamodb
        if not shape.reads_removes:
            return None
        keys = msgspec.structs.astuple(change.Keys)
        if not (self._keeps_old_images and change.OldImage):
            return shape.image_type(*keys)
        try:
            image = shape.image.decode(change.OldImage)
        except _REFUSED:
            return None
        # What nothing declares is not counted where an item ends.
        uncounted = () if self._pipeline.undeclared == "extra" else shape.learned_fields
        changes = dict(zip(shape.key_fields, keys, strict=True)) | dict.fromkeys(uncounted, NOT_THERE)
        return msgspec.structs.replace(image, **changes)

    def _build_columns(
        self, typed: TypedRows, fields: _Fields, stream_arn: str, epochs: tuple[EpochStart, ...], tally: Tally
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

    def _read_texts(self, fields: _Fields) -> tuple[list[Texts], list[Texts]]:
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
        except _REFUSED:
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
            self._shape = Shape(self._pipeline, self._learned)


def _without_blanks(event: bytes) -> bytes:
    """Write an event as Lambda does, if a person has written it."""
    if event.startswith(_HEAD):
        return event
    try:
        return orjson.dumps(orjson.loads(event))
    except orjson.JSONDecodeError:
        return event


def _cut(event: bytes) -> Iterator[bytes]:
    """Cut an event into JSON arrays of records; should it not be written as Lambda does, they are none.

    Raises:
        msgspec.DecodeError: it does not even begin or end like an event.
    """
    if not (event.startswith(_HEAD) and event.endswith(_TAIL)):
        raise msgspec.DecodeError("not as Lambda writes events")
    view, start, end = memoryview(event), len(_HEAD), len(event) - len(_TAIL)
    while start < end:
        found = event.find(_NEXT, start + PIECE_BYTES)
        stop = found if found >= 0 else end
        yield b"".join((b"[", view[start:stop], b"]"))
        start = stop + 1


def _dump(record: Any) -> bytes:
    try:
        return orjson.dumps(record)
    except TypeError:  # text that no UTF-8 has
        return b""


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
