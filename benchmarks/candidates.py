"""Everything that is timed: the peers, fastetl on both ways, and the floor; and whether their files say the same."""

from __future__ import annotations

import csv
import gc
import io
import zlib
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import simplejson
from isal import igzip, isal_zlib

from benchmarks.peers import META, NULL, assembled, dlt_csv, dynamodb_json, pandas_csv, powertools, stdlib_csv
from fastetl.columns.types import SYSTEM_COLUMNS
from fastetl.decode.decoder import Decoder
from fastetl.ingest.encode import encode_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.events import Shape
    from fastetl.columns.types import Column
    from fastetl.config.model import Pipeline

Transform = "Callable[[bytes], bytes]"

PEERS = {
    "a": stdlib_csv.PEER,
    "b": powertools.PEER,
    "c": assembled.PEER,
    "d": dynamodb_json.PEER,
    "e": pandas_csv.PEER,
    "f": dlt_csv.PEER,
}
FASTETL = ("raw path", "dict path", "record by record")
FLOOR = "floor"


class _Skipped(msgspec.Struct):
    """An event of which only the records' bounds are found."""

    Records: list[msgspec.Raw]


def build_raw_path(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Build fastetl as it runs where Lambda's marshaller can be replaced."""
    decoder, layout, part_size = Decoder(pipeline), pipeline.layout, pipeline.file.part_size_bytes
    return lambda event: b"".join(encode_frames([decoder.decode(event).frame], layout, part_size))


def build_dict_path(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Build fastetl as it runs otherwise: on what awslambdaric's simplejson gives."""
    decoder, layout, part_size = Decoder(pipeline), pipeline.layout, pipeline.file.part_size_bytes

    def transform(event: bytes) -> bytes:
        # The runtime decodes before the handler can pause the collector.
        gc.enable()
        decoded = simplejson.loads(event)
        gc.disable()
        return b"".join(encode_frames([decoder.decode(decoded).frame], layout, part_size))

    return transform


def build_general_path(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Build what takes any record, and defines what is right, for all records."""
    decoder, layout, part_size = Decoder(pipeline), pipeline.layout, pipeline.file.part_size_bytes
    return lambda event: b"".join(encode_frames([decoder.decode_each(orjson.loads(event)).frame], layout, part_size))


def build_floor(shape: Shape) -> Callable[[bytes], bytes]:
    """Build what cannot be left out: find the records, write the finished frame's CSV, compress, checksum."""
    frame = Decoder(shape.pipeline).decode(shape.event).frame
    skip = msgspec.json.Decoder(_Skipped).decode

    def transform(event: bytes) -> bytes:
        skip(event)
        text = io.BytesIO()
        frame.write_csv(text, include_header=False, null_value=NULL)
        file = igzip.compress(text.getvalue(), compresslevel=1)
        isal_zlib.crc32(file)
        return file

    return transform


def build_candidates(shape: Shape) -> dict[str, Callable[[bytes], bytes]]:
    """Build every candidate that can read a shape, in the order of the tables."""
    peers = {key: peer.build(shape.pipeline) for key, peer in PEERS.items() if shape.name not in peer.cannot}
    ways = (build_raw_path, build_dict_path, build_general_path)
    fastetl = {way: build(shape.pipeline) for way, build in zip(FASTETL, ways, strict=True)}
    return {**peers, **fastetl, FLOOR: build_floor(shape)}


def read_rows(candidate: str, shape: Shape, file: bytes) -> list[dict[str, Any]]:
    """Read a candidate's file as what a warehouse would hold: event id, operation and the declared columns."""
    system = META if candidate in PEERS else tuple(name for name, _ in SYSTEM_COLUMNS)
    columns = shape.pipeline.columns
    added = PEERS[candidate].adds if candidate in PEERS else ()
    names = [*system, *(column.name for column in columns), *added]
    csv.field_size_limit(2**24)
    rows = csv.reader(io.StringIO(zlib.decompress(file, 31).decode(), newline=""))
    return [_read_row(dict(zip(names, row, strict=True)), columns) for row in rows]


def find_differences(candidate: str, shape: Shape, expected: list[dict[str, Any]], file: bytes) -> set[str]:
    """Name the columns in which a candidate's file says something else than expected."""
    rows = read_rows(candidate, shape, file)
    if len(rows) != len(expected):
        return {"rows"}
    return {name for row, other in zip(rows, expected, strict=True) for name in other if row[name] != other[name]}


def _read_row(row: dict[str, str], columns: tuple[Column, ...]) -> dict[str, Any]:
    values = {column.name: _read(row[column.name], column.type.kind) for column in columns}
    return {"_event_id": row["_event_id"], "_op": row["_op"], **values}


def _read(text: str, kind: str) -> Any:
    if text == NULL:
        return None
    match kind:
        case "SMALLINT" | "INTEGER" | "BIGINT" | "DECIMAL":
            return Decimal(text)
        case "TIMESTAMP":
            return datetime.fromisoformat(text)
        case "SUPER":
            value = orjson.loads(text) if len(text) > 100_000 else simplejson.loads(text, use_decimal=True)
            # fastetl sorts sets; peers write them as Python happens to have them.
            is_set = isinstance(value, list) and all(isinstance(each, str) for each in value)
            return sorted(value) if is_set else value
    return text
