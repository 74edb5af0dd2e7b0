"""Read and write one bucket of S3. Every object is written once: a second writer gets what is there.

Every body travels with its CRC32, worked out here, so that the SDK neither hashes it again nor sends it in chunks with
a trailer. Conditional writes: Amazon S3 User Guide, "How to prevent object overwrites with conditional writes".
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

from isal import isal_zlib

from fastetl.aws.calls import Refusal, make_call
from fastetl.aws.stored_object import StoredObject, encode_crc32
from fastetl.aws.upload import Upload
from fastetl.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from types_aiobotocore_s3 import S3Client


_PERHAPS_THERE = {"PreconditionFailed", "412", "ConditionalRequestConflict", "NoSuchUpload"}
"""Answers to a conditional write after which an object of this name may be there: an earlier attempt wrote it, or this
one did and its answer was lost (a multipart upload that was completed is unknown afterwards)."""


_MISSING = {"404", "NoSuchKey"}

_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}
"""Storage classes of which nothing can be read at once (Amazon S3 User Guide, "Restoring an archived object")."""

RESTORED_DAYS = 7

DOWNLOAD_BYTES = 1024 * 1024


class RefusedError(StorageError):
    """S3 answered with an error; `code` is its own, empty where no answer came."""

    def __init__(self, message: str, code: str) -> None:
        self.code = code
        super().__init__(message)


class Bucket:
    """One bucket. Every method raises `StorageError` when S3 does not do what was asked."""

    def __init__(self, client: S3Client, name: str) -> None:
        """Describe a bucket.

        Args:
            client: an open S3 client.
            name: the bucket's name.
        """
        self._client = client
        self._name = name

    async def put(
        self, key: str, pieces: Iterator[bytes], metadata: Mapping[str, str], *, max_parts_in_flight: int = 4
    ) -> StoredObject:
        """Write an object unless there is one of this name; give what is there now.

        A single piece goes up as it is; several as the parts of a multipart upload, up to `max_parts_in_flight` of them
        at once, while the next are still being made. Whatever interrupts it, no upload is left open.

        Args:
            key: of the object.
            pieces: the body, in order; each but the last is at least as large as S3 wants a part
                (`limits.MIN_PART_BYTES`).
            metadata: kept with the object, as text.
            max_parts_in_flight: parts that go up at the same time.

        Returns:
            The object that is there now: the new one, or the one that was there before.
        """
        first_two = list(itertools.islice(pieces, 2))
        try:
            if first_two[1:]:
                return await Upload(self, key, metadata, max_parts_in_flight).run(first_two, pieces)
            return await self._put_whole(key, b"".join(first_two), metadata)
        except RefusedError as error:
            if error.code in _PERHAPS_THERE and (there := await self.head(key)):
                return there
            raise

    async def replace(self, key: str, body: bytes) -> None:
        """Write an object whether or not there is one of this name.

        Args:
            key: of the object.
            body: its new content.
        """
        await self.call("put_object", Key=key, Body=body, ChecksumCRC32=encode_crc32(isal_zlib.crc32(body)))

    async def head(self, key: str) -> StoredObject | None:
        """Read what S3 knows of an object, without its content.

        Args:
            key: of the object.

        Returns:
            Size, checksum and metadata; None where the object does not exist.
        """
        try:
            answer = await self.call("head_object", Key=key, ChecksumMode="ENABLED")
        except RefusedError as error:
            if error.code in _MISSING:
                return None
            raise
        checksum = answer.get("ChecksumCRC32", "")
        return StoredObject(key, answer["ContentLength"], checksum, dict(answer["Metadata"]), created=False)

    async def get(self, key: str) -> bytes:
        """Read a whole object; the SDK compares it with its checksum.

        Args:
            key: of the object.
        """

        async def read(answer: Any) -> bytes:
            async with answer["Body"] as body:
                content: bytes = await body.read()
            return content

        content: bytes = await self.call("get_object", read, Key=key)
        return content

    async def download(self, key: str, into: Path) -> bytes:
        """Copy an object into a file, a piece at a time.

        Args:
            key: of the object.
            into: the file, which is overwritten.

        Returns:
            The content's MD5, 16 bytes.
        """
        md5: bytes = await self.call("get_object", lambda answer: _write(answer, into), Key=key)
        return md5

    async def download_changed(self, key: str, etag: str, into: Callable[[str], Path]) -> str:
        """Copy an object into a file unless its ETag is still `etag`, which may be empty; give its ETag.

        Args:
            key: the object's.
            etag: what is known already.
            into: gives the file for a new ETag.
        """

        async def read(answer: Any) -> str:
            await _write(answer, into(answer["ETag"]))
            return str(answer["ETag"])

        known: dict[str, Any] = {"IfNoneMatch": etag} if etag else {}
        try:
            found: str = await self.call("get_object", read, Key=key, **known)
        except RefusedError as error:
            if error.code in {"304", "NotModified"}:
                return etag
            raise
        return found

    async def region(self) -> str:
        """Tell the region that the bucket is in."""
        answer = await self.call("head_bucket")
        return str(answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"])

    async def list_keys(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        """Yield the keys that begin with a prefix, in the order of their UTF-8 bytes, page by page.

        Whatever was written before the call is listed ("Amazon S3 data consistency model", Amazon S3 User Guide).

        Args:
            prefix: the beginning; empty for every key.
            after: only keys that are greater; empty for all.
        """
        async for answer in self._list(Prefix=prefix, **({"StartAfter": after} if after else {})):
            for entry in answer.get("Contents", []):
                yield entry["Key"]

    async def list_folders(self, prefix: str) -> AsyncIterator[str]:
        """Yield the beginnings of keys up to the next `/` after a prefix, each once and with the `/`.

        Args:
            prefix: the beginning.
        """
        async for answer in self._list(Prefix=prefix, Delimiter="/"):
            for entry in answer.get("CommonPrefixes", []):
                yield entry["Prefix"]

    async def _list(self, **arguments: Any) -> AsyncIterator[Any]:
        while True:
            answer = await self.call("list_objects_v2", **arguments)
            yield answer
            if not answer.get("NextContinuationToken"):
                return
            arguments["ContinuationToken"] = answer["NextContinuationToken"]

    async def restore(self, key: str) -> bool:
        """Ask S3 for an object that is in an archive, unless it can be read.

        Args:
            key: of the object.

        Returns:
            True if there is nothing to wait for: the object can be read now, or does not exist.
        """
        try:
            answer = await self.call("head_object", Key=key)
        except RefusedError as error:
            if error.code in _MISSING:
                return True
            raise
        state = answer.get("Restore", "")
        tiered = "ArchiveStatus" in answer
        if not (tiered or answer.get("StorageClass") in _ARCHIVES) or 'ongoing-request="false"' in state:
            return True
        if not state:
            request: dict[str, Any] = {"GlacierJobParameters": {"Tier": "Standard"}}
            # An object of S3 Intelligent-Tiering stays what it is, and takes no number of days.
            await self._ask_for(key, request if tiered else request | {"Days": RESTORED_DAYS})
        return False

    async def _ask_for(self, key: str, request: dict[str, Any]) -> None:
        try:
            await self.call("restore_object", Key=key, RestoreRequest=request)
        except RefusedError as error:
            if error.code != "RestoreAlreadyInProgress":
                raise

    async def delete(self, key: str) -> None:
        """Delete an object; that there is none is no error.

        Args:
            key: of the object.
        """
        await self.call("delete_object", Key=key)

    async def call(self, operation: str, read: Callable[[Any], Awaitable[Any]] | None = None, **arguments: Any) -> Any:
        """Make one S3 call, again where that may help: every operation used here may be repeated.

        Args:
            operation: the client's method.
            read: takes the answer's body, which may break off as well; what it gives is the result then.
            arguments: the operation's.
        """

        async def request() -> Any:
            answer = await getattr(self._client, operation)(Bucket=self._name, **arguments)
            return await read(answer) if read else answer

        def refuse(refusal: Refusal) -> RefusedError:
            return RefusedError(f"{operation} {self._where(arguments)}: {refusal}", refusal.code)

        return await make_call(request, refuse)

    async def _put_whole(self, key: str, body: bytes, metadata: Mapping[str, str]) -> StoredObject:
        checksum = encode_crc32(isal_zlib.crc32(body))
        await self.call("put_object", Key=key, Body=body, Metadata=metadata, ChecksumCRC32=checksum, IfNoneMatch="*")
        return StoredObject(key, len(body), checksum, dict(metadata), created=True)

    def _where(self, arguments: Mapping[str, Any]) -> str:
        return f"s3://{self._name}/{arguments.get('Key', arguments.get('Prefix', ''))}"


async def _write(answer: Any, into: Path) -> bytes:
    """Write an answer's body into a file, a piece at a time; give its MD5."""
    md5 = hashlib.md5(usedforsecurity=False)  # as DynamoDB's exports have it
    async with answer["Body"] as body:
        with into.open("wb") as file:
            async for piece in body.content.iter_chunked(DOWNLOAD_BYTES):
                md5.update(piece)
                file.write(piece)
    return md5.digest()
