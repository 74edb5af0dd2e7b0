"""S3, as far as fastetl uses it: conditional writes, multipart uploads, metadata, full-object CRC32."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import TYPE_CHECKING, Any, Self

import msgspec

from fastetl.limits import MIN_PART_BYTES
from tests.simulation.faults import client_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


EXPIRING = ("manifests/", "exports/", "check/")
"""Prefixes that the template's lifecycle rules name."""

DAY = 24 * 3600.0
EXPIRES_SECONDS, ARCHIVES_SECONDS = 30 * DAY, 90 * DAY
"""After which the template's lifecycle deletes what expires, and moves files to an archive."""

ARCHIVED = "The operation is not valid for the object's storage class"

RESTORE_SECONDS = 4 * 3600.0
"""What a retrieval of the standard tier takes (Amazon S3 User Guide, "Understanding archive retrieval options")."""


class StoredBody:
    """The body of an answer: read once, as a stream."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, amount: int | None = None) -> bytes:
        """All that is left, or `amount` bytes of it."""
        amount = len(self._content) if amount is None else amount
        piece, self._content = self._content[:amount], self._content[amount:]
        return piece

    @property
    def content(self) -> Self:
        """The stream under it, as aiohttp has it."""
        return self

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield it piece by piece."""
        while piece := await self.read(size):
            yield piece

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._content = b""

    def close(self) -> None:
        """Drop the connection."""
        self._content = b""


class StoredObject(msgspec.Struct, frozen=True):
    """One object."""

    content: bytes
    metadata: dict[str, str]
    crc32: str
    etag: str
    written_at: float = 0.0
    is_archived: bool = False
    restored_from: float = 0.0
    """When a copy that can be read was there, or will be; 0 where nobody has asked for one."""
    restored_to: float = 0.0


class Upload(msgspec.Struct):
    """A multipart upload that is under way."""

    bucket: str
    key: str
    metadata: dict[str, str]
    parts: dict[int, bytes] = {}


class FakeS3:
    """All buckets of one account. `min_part_bytes` may be lowered, so that small files go up in parts as well."""

    NAME = "s3"

    def __init__(self, clock: Callable[[], float] = lambda: 0.0, min_part_bytes: int = MIN_PART_BYTES) -> None:
        self.objects: dict[tuple[str, str], StoredObject] = {}
        self.uploads: dict[str, Upload] = {}
        self._min_part_bytes = min_part_bytes
        self._clock = clock
        self._begun = 0

    def expire(self) -> int:
        """Remove what the template's lifecycle removes after 30 days; give how many objects."""
        old = self._clock() - EXPIRES_SECONDS
        gone = [at for at, stored in self.objects.items() if at[1].startswith(EXPIRING) and stored.written_at < old]
        for at in gone:
            del self.objects[at]
        return len(gone)

    def archive(self, after_seconds: float = ARCHIVES_SECONDS) -> int:
        """Move files to an archive that have been there for long; give how many."""
        old = self._clock() - after_seconds
        moved = [
            at
            for at, stored in self.objects.items()
            if at[1].startswith("data/") and stored.written_at <= old and not stored.is_archived
        ]
        for at in moved:
            self.objects[at] = msgspec.structs.replace(self.objects[at], is_archived=True)
        return len(moved)

    def is_readable(self, stored: StoredObject) -> bool:
        """Tell whether an object can be read: one in an archive while a copy of it is there."""
        return not stored.is_archived or 0 < stored.restored_from <= self._clock() < stored.restored_to

    def restore_object(self, *, Bucket: str, Key: str, RestoreRequest: dict[str, Any], **_: Any) -> dict[str, Any]:
        found = self._found("restore_object", Bucket, Key, "NoSuchKey")
        if not found.is_archived:
            refused = "Restore is not allowed for the object's current storage class"
            raise client_error("restore_object", "InvalidObjectState", refused, 403)
        if found.restored_from > self._clock():
            under_way = "Object restore is already in progress"
            raise client_error("restore_object", "RestoreAlreadyInProgress", under_way, 409)
        begins = self._clock() + RESTORE_SECONDS
        ends = begins + RestoreRequest["Days"] * DAY
        self.objects[Bucket, Key] = msgspec.structs.replace(found, restored_from=begins, restored_to=ends)
        return {}

    def create_bucket(self, **_: Any) -> dict[str, Any]:
        """Buckets exist by being used."""
        return {}

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: bytes = b"",
        Metadata: dict[str, str] | None = None,
        IfNoneMatch: str = "",
        ChecksumCRC32: str = "",
        **_: Any,
    ) -> dict[str, Any]:
        content = bytes(Body)
        if ChecksumCRC32 and ChecksumCRC32 != crc32(content):
            raise client_error("put_object", "BadDigest", "The CRC32 you specified did not match")
        return self._store("put_object", Bucket, Key, content, Metadata or {}, IfNoneMatch)

    def head_object(self, *, Bucket: str, Key: str, ChecksumMode: str = "", **_: Any) -> dict[str, Any]:
        found = self._found("head_object", Bucket, Key, "404")
        answer = {
            "ContentLength": len(found.content),
            "Metadata": dict(found.metadata),
            "ETag": found.etag,
        }
        if found.is_archived:
            answer["StorageClass"] = "GLACIER"
        if found.restored_from and self._clock() < found.restored_to:
            ongoing = "true" if self._clock() < found.restored_from else "false"
            answer["Restore"] = f'ongoing-request="{ongoing}"'
        return answer | ({"ChecksumCRC32": found.crc32, "ChecksumType": "FULL_OBJECT"} if ChecksumMode else {})

    def get_object(self, *, Bucket: str, Key: str, **_: Any) -> dict[str, Any]:
        found = self._found("get_object", Bucket, Key, "NoSuchKey")
        if not self.is_readable(found):
            raise client_error("get_object", "InvalidObjectState", ARCHIVED, 403)
        return {
            "Body": StoredBody(found.content),
            "ContentLength": len(found.content),
            "Metadata": dict(found.metadata),
            "ETag": found.etag,
        }

    def delete_object(self, *, Bucket: str, Key: str, **_: Any) -> dict[str, Any]:
        self.objects.pop((Bucket, Key), None)
        return {}

    def delete_objects(self, *, Bucket: str, Delete: dict[str, Any], **_: Any) -> dict[str, Any]:
        for entry in Delete["Objects"]:
            self.objects.pop((Bucket, entry["Key"]), None)
        return {"Deleted": [{"Key": entry["Key"]} for entry in Delete["Objects"]]}

    def list_objects_v2(
        self,
        *,
        Bucket: str,
        Prefix: str = "",
        ContinuationToken: str = "",
        StartAfter: str = "",
        Delimiter: str = "",
        MaxKeys: int = 1000,
        **_: Any,
    ) -> dict[str, Any]:
        after = ContinuationToken or StartAfter
        keys = sorted(k for b, k in self.objects if b == Bucket and k.startswith(Prefix) and k > after)
        if Delimiter:
            below = (key[len(Prefix) :].partition("/") for key in keys)
            folders = sorted({f"{Prefix}{folder}/" for folder, slash, _ in below if slash})
            return {"KeyCount": len(folders), "CommonPrefixes": [{"Prefix": folder} for folder in folders]}
        page, more = keys[:MaxKeys], len(keys) > MaxKeys
        answer: dict[str, Any] = {"KeyCount": len(page), "IsTruncated": more}
        if page:
            answer["Contents"] = [{"Key": key, "Size": len(self.objects[Bucket, key].content)} for key in page]
        return answer | ({"NextContinuationToken": page[-1]} if more else {})

    def create_multipart_upload(
        self, *, Bucket: str, Key: str, Metadata: dict[str, str] | None = None, **_: Any
    ) -> dict[str, Any]:
        self._begun += 1
        upload_id = f"upload-{self._begun}"
        self.uploads[upload_id] = Upload(Bucket, Key, Metadata or {}, {})
        return {"UploadId": upload_id, "Bucket": Bucket, "Key": Key}

    def upload_part(
        self, *, UploadId: str, PartNumber: int, Body: bytes, ChecksumCRC32: str = "", **_: Any
    ) -> dict[str, Any]:
        content = bytes(Body)
        if ChecksumCRC32 and ChecksumCRC32 != crc32(content):
            raise client_error("upload_part", "BadDigest", "The CRC32 you specified did not match")
        self._upload("upload_part", UploadId).parts[PartNumber] = content
        return {"ETag": etag(content), "ChecksumCRC32": crc32(content)}

    def complete_multipart_upload(
        self, *, UploadId: str, MultipartUpload: dict[str, Any], IfNoneMatch: str = "", **_: Any
    ) -> dict[str, Any]:
        operation = "complete_multipart_upload"
        upload = self._upload(operation, UploadId)
        listed = MultipartUpload["Parts"]
        numbers = [part["PartNumber"] for part in listed]
        if numbers != sorted(numbers):
            raise client_error(operation, "InvalidPartOrder", "parts must be in ascending order")
        for part in listed:
            content = upload.parts.get(part["PartNumber"])
            if content is None or part["ETag"] != etag(content):
                raise client_error(operation, "InvalidPart", "a part could not be found")
        pieces = [upload.parts[number] for number in numbers]
        if any(len(piece) < self._min_part_bytes for piece in pieces[:-1]):
            raise client_error(operation, "EntityTooSmall", "a part is smaller than the minimum")
        answer = self._store(operation, upload.bucket, upload.key, b"".join(pieces), upload.metadata, IfNoneMatch)
        del self.uploads[UploadId]
        return answer

    def abort_multipart_upload(self, *, UploadId: str, **_: Any) -> dict[str, Any]:
        self._upload("abort_multipart_upload", UploadId)
        del self.uploads[UploadId]
        return {}

    def _store(
        self, operation: str, bucket: str, key: str, content: bytes, metadata: dict[str, str], if_none_match: str
    ) -> dict[str, Any]:
        if if_none_match == "*" and (bucket, key) in self.objects:
            raise client_error(operation, "PreconditionFailed", "At least one of the pre-conditions failed", 412)
        stored = StoredObject(content, dict(metadata), crc32(content), etag(content), self._clock())
        self.objects[bucket, key] = stored
        return {"ETag": stored.etag, "ChecksumCRC32": stored.crc32, "ChecksumType": "FULL_OBJECT"}

    def _found(self, operation: str, bucket: str, key: str, missing: str) -> StoredObject:
        if (found := self.objects.get((bucket, key))) is None:
            raise client_error(operation, missing, "The specified key does not exist.", 404)
        return found

    def _upload(self, operation: str, upload_id: str) -> Upload:
        if upload_id not in self.uploads:
            raise client_error(operation, "NoSuchUpload", "The specified upload does not exist.", 404)
        return self.uploads[upload_id]


def crc32(content: bytes) -> str:
    """A CRC32 as S3 writes it."""
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


def etag(content: bytes) -> str:
    """An ETag: opaque, quoted."""
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
