"""Send an object's body piece by piece, and without asking S3 first."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from botocore.handlers import add_expect_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from types_aiobotocore_s3 import S3Client

PIECE_BYTES = 256 * 1024
"""How much of a body the connection is given at once."""


def prepare_uploads(client: S3Client) -> None:
    """Have a client send bodies piece by piece, without a copy and many small writes, and without asking first.

    With `Expect: 100-continue`, which the SDK asks for, every upload would wait for a second answer.
    """
    client.meta.events.register("before-send.s3", _give_in_pieces)
    client.meta.events.unregister("before-call.s3", add_expect_header)


def _give_in_pieces(request: Any, **_: Any) -> None:
    if isinstance(request.body, io.BytesIO):
        request.body = _Pieces(request.body.getvalue())


class _Pieces:
    """A body as aiohttp takes it."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for start in range(0, len(self._body), PIECE_BYTES):
            yield self._body[start : start + PIECE_BYTES]

    def seek(self, _position: int) -> None:
        """Begin at the start again, whatever is asked: the SDK rewinds before it tries again."""
