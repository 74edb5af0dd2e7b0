"""What the raw path's stages take, one by one; and beside each other the parsers and compressors that it could use."""

from __future__ import annotations

import gc
import json
import zlib
from functools import cache
from io import BytesIO
from typing import Any

import msgspec
import orjson
import polars as pl
import pytest
import simplejson
from backports import zstd
from isal import igzip, isal_zlib

from benchmarks.candidates import _Skipped
from benchmarks.events import SHAPES, STREAM_ARN
from fastetl.decode.decoder import Decoder
from fastetl.decode.left import Left
from fastetl.ingest.csv import write_csv

TURNS, ROUNDS = 3, 3
STAGES = ("native pass", "frame and file id", "CSV", "gzip", "CRC32")
PARSERS = (
    "json", "simplejson", "orjson", "msgspec, untyped", "msgspec, the records' bounds alone", "Polars",
    "fastetl's native pass",
)  # fmt: skip
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


@cache
def build_stages(name):
    """Build each stage, given what the ones before it made; rows last until the next event is read."""
    shape = SHAPES[name]()
    decoder = Decoder(shape.pipeline)
    changes = decoder.decode(shape.event)
    assert (changes.decoded_general, decoder.native_missing) == (0, "")
    native = decoder._native
    left = Left((), decoder._general, STREAM_ARN, ())
    text = b"".join(map(bytes, write_csv(changes.frame, shape.pipeline.layout)))
    file = igzip.compress(text, 1)
    return {
        "native pass": lambda: native.decode(shape.event, STREAM_ARN, ()),
        "frame and file id": lambda rows: decoder._complete(rows, left, STREAM_ARN),
        "CSV": lambda: b"".join(map(bytes, write_csv(changes.frame, shape.pipeline.layout))),
        "gzip": lambda: igzip.compress(text, 1),
        "CRC32": lambda: isal_zlib.crc32(file),
    }


@cache
def build_parsers(name):
    """Build what reads the same event's bytes."""
    shape = SHAPES[name]()
    native = Decoder(shape.pipeline)._native
    return {
        "json": lambda: json.loads(shape.event),
        "simplejson": lambda: simplejson.loads(shape.event),
        "orjson": lambda: orjson.loads(shape.event),
        "msgspec, untyped": lambda: msgspec.json.decode(shape.event),
        "msgspec, the records' bounds alone": lambda: msgspec.json.decode(shape.event, type=_Skipped),
        "Polars": lambda: pl.read_json(BytesIO(shape.event)),
        "fastetl's native pass": lambda: native.decode(shape.event, STREAM_ARN, ()),
    }


def measure(benchmark, run, prepare=None, **about):
    """Time with the collector paused, as the function runs; what `prepare` gives is handed over, and not timed."""
    gc.collect()
    gc.disable()
    try:
        result = benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1, setup=prepare)
    finally:
        gc.enable()
    benchmark.extra_info.update(about)
    return result


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("shape", ["flat", "nested", "flights"])
@pytest.mark.parametrize("turn", range(TURNS))
def test_stage(benchmark, turn, shape, stage):
    stages = build_stages(shape)
    prepare: Any = (lambda: ((stages["native pass"](),), {})) if stage == "frame and file id" else None
    measure(benchmark, stages[stage], prepare)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("shape", ["flat", "nested", "flights"])
@pytest.mark.parametrize("turn", range(TURNS))
def test_parser(benchmark, turn, shape, parser):
    measure(benchmark, build_parsers(shape)[parser])


@cache
def csv_text(name):
    """Write the CSV of a shape's event."""
    shape = SHAPES[name]()
    return b"".join(map(bytes, write_csv(Decoder(shape.pipeline).decode(shape.event).frame, shape.pipeline.layout)))


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("shape", ["flat", "flights"])
@pytest.mark.parametrize("turn", range(TURNS))
def test_compressor(benchmark, turn, shape, compressor):
    text = csv_text(shape)
    file = measure(benchmark, lambda: COMPRESSORS[compressor](text), text_bytes=len(text))
    benchmark.extra_info["file_bytes"] = len(file)
    read = zstd.decompress(file) if compressor.startswith("zstd") else zlib.decompress(file, 31)
    assert read == text
