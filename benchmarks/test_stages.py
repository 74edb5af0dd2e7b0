"""What the raw path's stages take, one by one; and beside each other the parsers and compressors that it could use."""

from __future__ import annotations

import gc
import json
import zlib
from copy import copy
from functools import cache
from io import BytesIO

import msgspec
import orjson
import polars as pl
import pytest
import simplejson
from backports import zstd
from isal import igzip, isal_zlib

from benchmarks.candidates import _Skipped, build_raw_path
from benchmarks.events import SHAPES, STREAM_ARN
from fastetl.decode.decoder import Decoder
from fastetl.decode.event import Tally
from fastetl.decode.fast import fields as decode_fields
from fastetl.decode.fast.fields import cut
from fastetl.decode.fast.typed import TypedRows
from fastetl.ingest.encode import _csv

TURNS, ROUNDS = 3, 3
STAGES = (
    "find the records", "find the values", "find the values and join them by the column",
    "cut values apart, check and write columns", "frame and file id", "CSV", "gzip", "CRC32",
)  # fmt: skip
PARSERS = ("json", "simplejson", "orjson", "msgspec, untyped", "Polars", "fastetl's structs")
COMPRESSORS = {
    "zlib 1": lambda text: zlib.compress(text, 1, 31),
    "zlib 6": lambda text: zlib.compress(text, 6, 31),
    "zlib 9": lambda text: zlib.compress(text, 9, 31),
    "igzip 0": lambda text: igzip.compress(text, 0),
    "igzip 1": lambda text: igzip.compress(text, 1),
    "igzip 2": lambda text: igzip.compress(text, 2),
    "igzip 3": lambda text: igzip.compress(text, 3),
    "zstd 1": lambda text: zstd.compress(text, 1),
    "zstd 3": lambda text: zstd.compress(text, 3),
    "zstd 9": lambda text: zstd.compress(text, 9),
}


def warm_decoder(shape):
    """Give a decoder that has learned which undeclared attributes there are, as a warm function's has."""
    decoder = Decoder(shape.pipeline)
    decoder.decode(shape.event)
    return decoder


def find_values(typed, event):
    """Take an event apart, and drop each piece's objects before the next."""
    for piece in cut(event):
        typed._reader._shape.records.decode(piece)


@cache
def build_stages(name):
    """Build each stage, given what the ones before it made."""
    shape = SHAPES[name]()
    decoder = warm_decoder(shape)
    changes = decoder.decode(shape.event)
    assert changes.decoded_general == 0
    typed = decoder._typed
    fields = typed._reader.read(shape.event)
    done = typed.decode(shape.event, STREAM_ARN, (), Tally())
    text = b"".join(_csv(changes.frame, shape.pipeline.layout))
    file = igzip.compress(text, 1)
    return {
        "find the records": lambda: msgspec.json.decode(shape.event, type=_Skipped),
        "find the values": lambda: find_values(typed, shape.event),
        "find the values and join them by the column": lambda: typed._reader.read(shape.event),
        "cut values apart, check and write columns": lambda: typed._build_columns(
            TypedRows(fields.received), copy(fields), STREAM_ARN, (), Tally()
        ),
        "frame and file id": lambda: decoder._convert(done, STREAM_ARN, (), Tally()),
        "CSV": lambda: b"".join(_csv(changes.frame, shape.pipeline.layout)),
        "gzip": lambda: igzip.compress(text, 1),
        "CRC32": lambda: isal_zlib.crc32(file),
    }


@cache
def build_parsers(name):
    """Build what reads the same event's bytes."""
    shape = SHAPES[name]()
    typed = warm_decoder(shape)._typed
    return {
        "json": lambda: json.loads(shape.event),
        "simplejson": lambda: simplejson.loads(shape.event),
        "orjson": lambda: orjson.loads(shape.event),
        "msgspec, untyped": lambda: msgspec.json.decode(shape.event),
        "Polars": lambda: pl.read_json(BytesIO(shape.event)),
        "fastetl's structs": lambda: find_values(typed, shape.event),
    }


def measure(benchmark, run, **about):
    """Time with the collector paused, as the function runs."""
    gc.collect()
    gc.disable()
    try:
        result = benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    finally:
        gc.enable()
    benchmark.extra_info.update(about)
    return result


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("shape", ["flat", "nested", "flights"])
@pytest.mark.parametrize("turn", range(TURNS))
def test_stage(benchmark, turn, shape, stage):
    measure(benchmark, build_stages(shape)[stage])


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("shape", ["flat", "nested", "flights"])
@pytest.mark.parametrize("turn", range(TURNS))
def test_parser(benchmark, turn, shape, parser):
    measure(benchmark, build_parsers(shape)[parser])


@pytest.mark.parametrize("piece_bytes", [25_000, 100_000, 1_000_000, 6_000_000])
@pytest.mark.parametrize("turn", range(TURNS))
def test_pieces(benchmark, monkeypatch, turn, piece_bytes):
    """The whole raw path, as events are taken apart in larger and larger pieces."""
    monkeypatch.setattr(decode_fields, "PIECE_BYTES", piece_bytes)
    shape = SHAPES["flat"]()
    transform = build_raw_path(shape.pipeline)
    measure(benchmark, lambda: transform(shape.event))


@cache
def csv_text(name):
    """Write the CSV of a shape's event."""
    shape = SHAPES[name]()
    return b"".join(_csv(Decoder(shape.pipeline).decode(shape.event).frame, shape.pipeline.layout))


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("shape", ["flat", "flights"])
@pytest.mark.parametrize("turn", range(TURNS))
def test_compressor(benchmark, turn, shape, compressor):
    text = csv_text(shape)
    file = measure(benchmark, lambda: COMPRESSORS[compressor](text), text_bytes=len(text))
    benchmark.extra_info["file_bytes"] = len(file)
    read = zstd.decompress(file) if compressor.startswith("zstd") else zlib.decompress(file, 31)
    assert read == text
