"""Reads the PNG files that Chromium writes: 8 bits a channel, no interlacing (PNG specification, chapters 9 and 11)."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from pathlib import Path

Pixel = tuple[int, int, int]


def count_pixels(path: Path) -> Counter[Pixel]:
    """How often each colour occurs."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    packed, at, channels, wide = b"", 8, 0, 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            wide, _, depth, colours, *_, interlaced = struct.unpack(">IIBBBBB", body)
            assert (depth, interlaced) == (8, 0)
            channels = {2: 3, 6: 4}[colours]
        packed += body if kind == b"IDAT" else b""
        at += size + 12
    counts: Counter[Pixel] = Counter()
    for line in _unfilter(zlib.decompress(packed), wide * channels, channels):
        counts.update(zip(line[::channels], line[1::channels], line[2::channels], strict=True))
    return counts


def _unfilter(content: bytes, width: int, step: int):
    above = bytearray(width)
    for start in range(0, len(content), width + 1):
        kind, line = content[start], bytearray(content[start + 1 : start + 1 + width])
        for at in range(width) if kind else ():
            left, up = (line[at - step] if at >= step else 0), above[at]
            corner = above[at - step] if at >= step else 0
            line[at] = (line[at] + (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]) & 255
        yield line
        above = line


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda one: abs(guess - one))
