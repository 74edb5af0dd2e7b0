"""Where COPY reads: the objects that a URL or a manifest names, and what is in them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec
from backports import zstd
from botocore.exceptions import BotoCoreError, ClientError

from fastetl.local.warehouse.copy_command import CopyCommand
from fastetl.local.warehouse.engine import SqlError

_GZIP_WINDOW_BITS = 31


class S3Client(Protocol):
    """What COPY calls of boto3's blocking client, which is safe to share between threads."""

    def get_object(self, *, Bucket: str, Key: str) -> Any: ...  # noqa: N803

    def head_object(self, *, Bucket: str, Key: str) -> Any: ...  # noqa: N803

    def get_paginator(self, operation_name: str) -> Any: ...


class UnreadableObjectError(Exception):
    """An object is not what its compression says."""


class Entry(msgspec.Struct, frozen=True):
    """One line of a manifest."""

    url: str
    mandatory: bool = False


class Manifest(msgspec.Struct, frozen=True):
    """A manifest: `{"entries": [{"url": "s3://…", "mandatory": true}]}`."""

    entries: tuple[Entry, ...]


def find_urls(command: CopyCommand, s3: S3Client) -> Iterator[str]:
    """List the objects to load: a manifest's entries as often as it lists them, or all names with the prefix."""
    if not command.manifest:
        bucket, prefix = _split(command.url)
        try:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            found = [f"s3://{bucket}/{item['Key']}" for page in pages for item in page.get("Contents", ())]
        except (ClientError, BotoCoreError) as error:
            raise _storage_error(error, command.url) from error
        if not found:
            raise SqlError(f"The specified S3 prefix '{prefix}' does not exist")
        yield from found
        return
    try:
        manifest = msgspec.json.decode(_get(s3, command.url), type=Manifest)
    except msgspec.DecodeError as error:
        raise SqlError(f"Problem reading manifest file - {command.url} is not a manifest: {error}") from error
    present = [entry.url for entry in manifest.entries if entry.mandatory or _exists(s3, entry.url)]
    if not present:
        raise SqlError(f"No files found in the manifest {command.url}")
    yield from present


def _split(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _exists(s3: S3Client, url: str) -> bool:
    bucket, key = _split(url)
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError:
        return False
    return True


def _get(s3: S3Client, url: str) -> bytes:
    bucket, key = _split(url)
    try:
        body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except (ClientError, BotoCoreError) as error:
        raise _storage_error(error, url) from error
    return body


def _storage_error(error: ClientError | BotoCoreError, url: str) -> SqlError:
    if isinstance(error, BotoCoreError):
        return SqlError(f"S3CurlException: {error}, {url}")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    details = error.response.get("Error", {})
    return SqlError(f"S3ServiceException:{details.get('Message')},Status {status},Error {details.get('Code')}, {url}")


def read_object(command: CopyCommand, s3: S3Client, url: str) -> bytes:
    """Read an object and undo its compression, of exactly one member or frame: nothing says that COPY reads several.

    Raises:
        SqlError: the object cannot be had.
        UnreadableObjectError: it is damaged, or compressed in another way.
    """
    body = _get(s3, url)
    try:
        if command.compression == "gzip":
            member = zlib.decompressobj(_GZIP_WINDOW_BITS)
            content, finished, rest = member.decompress(body), member.eof, member.unused_data
        elif command.compression == "zstd":
            frame = zstd.ZstdDecompressor()
            content, finished, rest = frame.decompress(body), frame.eof, frame.unused_data
        else:
            return body
    except (zlib.error, zstd.ZstdError) as error:
        raise UnreadableObjectError(f"Invalid {command.compression} data") from error
    if not finished or rest:
        raise UnreadableObjectError(f"{command.compression}: one whole member or frame is expected")
    return content
