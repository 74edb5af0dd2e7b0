"""Encode frames as compressed CSV, in pieces that can be uploaded while the next are encoded. Pure.

A file is one gzip member or one zstd frame, since no document says that COPY reads several of them in one file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
from isal import isal_zlib

from fastetl.ingest.csv import write_csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import polars as pl

    from fastetl.model import Layout, Reject

GZIP_LEVEL = 1
ZSTD_LEVEL = 1
"""Level 3, zstd's own choice, takes longer and gives larger files of rows like these (benchmarks/README.md)."""
GZIP_WBITS = 31
"""A gzip container (zlib manual, `deflateInit2`), whose header igzip writes without a time."""


class _Compressor(Protocol):
    def compress(self, text: memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


def encode_frames(frames: Iterable[pl.DataFrame], layout: Layout, part_size_bytes: int) -> Iterator[bytes]:
    """Yield a file in pieces of at least `part_size_bytes`, but for the last; the same rows give the same bytes.

    Nothing is encoded before it is asked for, and no more than a piece and a buffer of CSV are held.

    Args:
        frames: columns of text as COPY reads it, null for NULL; those of the layout, and perhaps others.
        layout: which columns, and how they are written.
        part_size_bytes: how large each piece is at least, after compression.
    """
    compressor = _compressor(layout.compression)
    chunks: list[bytes] = []
    size = 0
    for frame in frames:
        for text in write_csv(frame, layout):
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
