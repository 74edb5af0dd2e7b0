"""What S3 tells of an object, and the checksum as S3 spells it."""

from __future__ import annotations

import base64

import msgspec


class StoredObject(msgspec.Struct, frozen=True):
    """What S3 holds under a key."""

    key: str
    bytes: int
    checksum: str
    """CRC32 of the whole object, base64, as S3 gives it."""
    metadata: dict[str, str]
    created: bool
    """False: it was there before."""


def encode_crc32(crc32: int) -> str:
    """Write a CRC32 as S3 takes and gives it: its four bytes, the greatest first, in base64.

    Args:
        crc32: as zlib computes it.
    """
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()
