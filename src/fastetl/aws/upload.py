"""One multipart upload to S3, from its beginning to its completion or its abortion.

Limits: Amazon S3 User Guide, "Multipart upload limits".
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from isal import isal_zlib

from fastetl.aws.calls import task_group
from fastetl.aws.stored_object import StoredObject, encode_crc32
from fastetl.errors import StorageError
from fastetl.limits import MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastetl.aws.s3 import Bucket

ABORT_LIMIT_SECONDS = 5.0
"""An upload that cannot be aborted in this time is left to the bucket's lifecycle rule."""


class Upload:
    """One multipart upload, from its beginning to its completion or its abortion."""

    def __init__(self, bucket: Bucket, key: str, metadata: Mapping[str, str], max_parts_in_flight: int) -> None:
        self._bucket = bucket
        self._key = key
        self._metadata = metadata
        self._slots = asyncio.Semaphore(max_parts_in_flight)
        self._parts: dict[int, dict[str, Any]] = {}
        self._bytes = 0
        self._crc32 = 0

    async def run(self, first_two: list[bytes], tail: Iterator[bytes]) -> StoredObject:
        """Upload the pieces as parts, and complete the upload; abort it whatever goes wrong.

        Args:
            first_two: the first two pieces.
            tail: the others, made while earlier ones go up.

        Returns:
            The new object.
        """
        begun = await self._bucket.call(
            "create_multipart_upload",
            Key=self._key,
            Metadata=self._metadata,
            ChecksumAlgorithm="CRC32",
            ChecksumType="FULL_OBJECT",
        )
        upload_id = begun["UploadId"]
        try:
            await self._send(upload_id, first_two, tail)
            return await self._complete(upload_id)
        except BaseException:
            await self._abort(upload_id)
            raise

    async def _send(self, upload_id: str, waiting: list[bytes], tail: Iterator[bytes]) -> None:
        async with task_group() as parts:
            part_number = 0
            piece: bytes | None = waiting.pop(0)
            while piece is not None:
                following = waiting.pop(0) if waiting else await asyncio.to_thread(next, tail, None)
                part_number += 1
                check_part(part_number, len(piece), last=following is None)
                self._bytes += len(piece)
                self._crc32 = isal_zlib.crc32(piece, self._crc32)
                await self._slots.acquire()
                parts.create_task(self._send_part(upload_id, part_number, piece))
                piece = following

    async def _send_part(self, upload_id: str, part_number: int, body: bytes) -> None:
        checksum = encode_crc32(isal_zlib.crc32(body))
        answer = await self._bucket.call(
            "upload_part",
            Key=self._key,
            UploadId=upload_id,
            PartNumber=part_number,
            Body=body,
            ChecksumCRC32=checksum,
        )
        self._parts[part_number] = {"PartNumber": part_number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}
        self._slots.release()

    async def _complete(self, upload_id: str) -> StoredObject:
        checksum = encode_crc32(self._crc32)
        await self._bucket.call(
            "complete_multipart_upload",
            Key=self._key,
            UploadId=upload_id,
            MultipartUpload={"Parts": [self._parts[number] for number in sorted(self._parts)]},
            ChecksumType="FULL_OBJECT",
            ChecksumCRC32=checksum,
            MpuObjectSize=self._bytes,
            IfNoneMatch="*",
        )
        return StoredObject(self._key, self._bytes, checksum, dict(self._metadata), created=True)

    async def _abort(self, upload_id: str) -> None:
        # Its own failure must not hide why the upload was given up, and the bucket's lifecycle aborts what is left.
        with contextlib.suppress(StorageError, TimeoutError):
            async with asyncio.timeout(ABORT_LIMIT_SECONDS):
                await self._bucket.call("abort_multipart_upload", Key=self._key, UploadId=upload_id)


def check_part(part_number: int, size_bytes: int, *, last: bool) -> None:
    """Hold a part to S3's limits before it is sent, rather than learn of them when the upload is completed.

    Raises:
        StorageError: there are too many parts, or this one is too large, or too small without being the last.
    """
    if part_number > MAX_PARTS:
        raise StorageError(f"part {part_number}: an upload has at most {MAX_PARTS} parts; raise part_size")
    if size_bytes > MAX_PART_BYTES:
        raise StorageError(f"part {part_number}: {size_bytes} bytes, at most {MAX_PART_BYTES}; lower part_size")
    if size_bytes < MIN_PART_BYTES and not last:
        raise StorageError(f"part {part_number}: {size_bytes} bytes, at least {MIN_PART_BYTES}; raise part_size")
