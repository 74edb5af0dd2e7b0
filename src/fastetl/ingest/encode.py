"""Encode frames as compressed CSV, in pieces that can be uploaded while the next are encoded. Pure.

What is written is what COPY reads with `FORMAT AS CSV`: a field is quoted where it holds the delimiter, a quote, CR
or LF, or is empty; SQL NULL is the null marker, never quoted. One gzip member or zstd frame in all, since nothing
documents that COPY reads concatenated ones.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
import polars as pl
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastetl.model import Layout, Reject

GZIP_LEVEL = 1
ZSTD_LEVEL = 1
"""Level 3, zstd's own choice, takes longer and gives larger files of rows like these (benchmarks/README.md)."""
GZIP_WBITS = 31
"""A gzip container (zlib manual, `deflateInit2`), whose header igzip writes without a time."""

SLICE_BYTES = 768 * 1024
"""Of a frame in memory, written as CSV at once: the CSV of a large frame is never whole."""

COLUMN_BYTES = 10 * 1024
"""Of a slice for each column at least: each column of each slice has a price of its own."""


class _Compressor(Protocol):
    def compress(self, text: memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


def encode_frames(frames: Iterable[pl.DataFrame], layout: Layout, part_size_bytes: int) -> Iterator[bytes]:
    """Yield one file in pieces, every one but the last of at least `part_size_bytes`; the same bytes each time.

    Nothing is encoded before it is asked for, and no more than a piece and a slice of CSV are held.

    Args:
        frames: columns of text as COPY reads it, null for NULL; those of the layout, and perhaps others.
        layout: which columns, and how they are written.
        part_size_bytes: of the compressed file.
    """
    compressor = _compressor(layout.compression)
    chunks: list[bytes] = []
    size = 0
    for frame in frames:
        for text in _csv(frame, layout):
            chunk = compressor.compress(text)
            chunks.append(chunk)
            size += len(chunk)
            if size >= part_size_bytes:
                yield b"".join(chunks)
                chunks, size = [], 0
    chunks.append(compressor.flush())
    if last := b"".join(chunks):
        yield last


def encode_rejects(rejects: Iterable[Reject]) -> tuple[bytes, int]:
    """Encode rejects as gzipped JSON lines; give them with the CRC32 of the lines, which names their object."""
    lines = b"".join(msgspec.json.encode(reject) + b"\n" for reject in rejects)
    return isal_zlib.compress(lines, GZIP_LEVEL, GZIP_WBITS), isal_zlib.crc32(lines)


def _compressor(compression: Literal["gzip", "zstd", "none"]) -> _Compressor:
    match compression:
        case "gzip":
            gzip: _Compressor = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, GZIP_WBITS)
            return gzip
        case "zstd":
            from backports import zstd  # noqa: PLC0415 - only pipelines that write zstd pay for it

            frame: _Compressor = zstd.ZstdCompressor(ZSTD_LEVEL)
            return frame
        case "none":
            return _Verbatim()


class _Verbatim:
    def compress(self, text: memoryview, /) -> bytes:
        return bytes(text)

    def flush(self) -> bytes:
        return b""


def _csv(frame: pl.DataFrame, layout: Layout) -> Iterator[memoryview]:
    """Yield the frame's columns in the layout's order as CSV, a slice of rows at a time."""
    if frame.is_empty():
        return
    slice_bytes = max(SLICE_BYTES, COLUMN_BYTES * len(layout.columns))
    rows = max(1, slice_bytes * frame.height // max(1, int(frame.estimated_size())))
    csv = io.BytesIO()
    for part in frame.iter_slices(rows):
        # Over what the slice before has left: memory that is new each time costs as much as writing to it.
        csv.seek(0)
        written = write_csv(part, layout, csv)
        with csv.getbuffer()[:written] as text:
            yield text


def write_csv(frame: pl.DataFrame, layout: Layout, into: io.BytesIO) -> int:
    """Write a frame as CSV, the columns in the layout's order; give the buffer's position after it, in bytes."""
    frame.select(name for name, _ in layout.columns).write_csv(
        into,
        include_header=False,
        separator=layout.delimiter,
        null_value=layout.null_marker,
        quote_style="necessary",
    )
    return into.tell()
