"""The fields of an event's records, taken apart a piece after the other. Pure.

Structs made from the pipeline's columns find the JSON of every attribute. A piece's objects stay in the core's cache,
and are gone before the next piece's are made in the same memory.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from fastetl.decode.event import parse_records
from fastetl.decode.fast.shape import NOT_THERE, Shape, unzip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PIECE_BYTES = 100_000
"""Of JSON, taken apart at once: its objects, three times as large, fit into a core's own cache. Pieces of 1 MB serve
nearly as well; an event at once takes a quarter longer (benchmarks/README.md)."""

_HEAD, _TAIL = b'{"Records":[', b"]}"
_NEXT = b',{"eventID":"'
"""Begins a record, as Lambda writes them; an attribute of that name is followed by an object, and text has no quote."""

_OPERATION, _NEW_IMAGE, _KEYS = map(attrgetter, ("eventName", "dynamodb.NewImage", "dynamodb.Keys"))

REFUSED = (msgspec.DecodeError, UnicodeDecodeError)
"""What msgspec raises for what is not as expected."""

_RAW_RECORDS = msgspec.json.Decoder(list[msgspec.Raw])


class Fields:
    """What the records of an event hold, by the field, one entry a row."""

    def __init__(self, shape: Shape) -> None:
        self.received = 0
        self.positions: list[int] = []
        self.ids: list[str] = []
        self.names: list[str] = []
        self.arns: list[str] = []
        self.sequence_numbers: list[str] = []
        self.times: list[float] = []
        self.identities: list[Any] = []
        self.keys: list[list[bytes]] = [[] for _ in shape.key_fields]
        self.values: list[list[bytes]] = [[] for _ in range(shape.columns)]
        """The JSON of some rows' values, joined by line feeds."""
        self.learned: list[list[msgspec.Raw]] = [[] for _ in shape.learned_fields]


class FieldReader:
    """Reads events of one shape.

    Deletes have the deleted item's values if `keeps_old_images`, its undeclared ones as well if `keeps_undeclared`.
    """

    def __init__(self, shape: Shape, *, keeps_old_images: bool, keeps_undeclared: bool) -> None:
        self._shape = shape
        self._keeps_old_images = keeps_old_images
        self._keeps_undeclared = keeps_undeclared

    def read(self, event: bytes) -> Fields:
        """Take the event apart; what cannot be read is counted, and left."""
        fields = Fields(self._shape)
        try:
            for piece in cut(event):
                # A piece's objects are gone before the next are made, in the same memory.
                self._add(fields, self._decode_piece(piece))
        except REFUSED:
            # Not as Lambda writes it, or text that is no Unicode.
            fields = Fields(self._shape)
            self._add(fields, self._decode_each(map(_dump, parse_records(event))))
        return fields

    def _decode_piece(self, piece: bytes) -> list[Any]:
        """Decode records; None for each that cannot be."""
        try:
            records: list[Any] = self._shape.records.decode(piece)
        except REFUSED:
            return self._decode_each(_RAW_RECORDS.decode(piece))
        return records

    def _decode_each(self, raws: Iterable[msgspec.Raw | bytes]) -> list[Any]:
        records: list[Any] = []
        for raw in raws:
            try:
                records.append(self._shape.record.decode(raw))
            except REFUSED:
                records.append(None)
        return records

    def _add(self, fields: Fields, records: list[Any]) -> None:
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
        except REFUSED:
            return None
        uncounted = () if self._keeps_undeclared else shape.learned_fields
        changes = dict(zip(shape.key_fields, keys, strict=True)) | dict.fromkeys(uncounted, NOT_THERE)
        return msgspec.structs.replace(image, **changes)


def without_blanks(event: bytes) -> bytes:
    """Write an event as Lambda does, if a person has written it."""
    if event.startswith(_HEAD):
        return event
    try:
        return orjson.dumps(orjson.loads(event))
    except orjson.JSONDecodeError:
        return event


def cut(event: bytes) -> Iterator[bytes]:
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
