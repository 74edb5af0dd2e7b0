"""Client tokens, by which AWS recognises a request that it has had before."""

from __future__ import annotations

import hashlib

import msgspec

Token = tuple[str | int, ...]
"""What tells one request from every other: `("resync", "orders", 3)`."""


def build_token(parts: Token) -> str:
    """Build the client token of a request: 48 characters, however long the parts are.

    The Data API takes 1 to 64 characters (Redshift Data API reference, BatchExecuteStatement, `ClientToken`). DynamoDB
    refuses an export under the token of another one (DynamoDB API reference, ExportTableToPointInTime).

    Args:
        parts: what tells the request from every other.
    """
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=24).hexdigest()
