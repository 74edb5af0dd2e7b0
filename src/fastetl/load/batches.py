"""Build what a batch consists of: its name, its manifest, its list of files, and its parts when it is split. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from fastetl.model import Batch, FileItem
from fastetl.versions import find_epoch


def build_batch_id(pipeline: str, installation: str, file_ids: Iterable[str]) -> str:
    """Name a batch by its files, never by a counter.

    A ledger that was restored, or a stack that was deployed a second time against the same warehouse, would count the
    same numbers again, and the gate would take new files for loaded ones.

    Args:
        pipeline: the pipeline's name.
        installation: `Head.installation`.
        file_ids: of the batch's files, in any order.

    Returns:
        32 hexadecimal digits, the same for the same files.
    """
    text = "\n".join([pipeline, installation, *sorted(file_ids)])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def build_manifest(bucket: str, files: Sequence[FileItem]) -> bytes:
    """Build COPY's manifest. Without `mandatory` COPY would skip a missing object and succeed."""
    entries = [{"url": f"s3://{bucket}/{file.key}", "mandatory": True} for file in _in_order(files)]
    return msgspec.json.encode({"entries": entries})


def build_members(files: Sequence[FileItem]) -> bytes:
    """Build the batch's list of files and rows, which COPY reads as well: lines of `file_id,row_count`."""
    return "".join(f"{file.file_id},{file.rows}\n" for file in _in_order(files)).encode()


def _in_order(files: Sequence[FileItem]) -> list[FileItem]:
    """Sort files by their ids: a restored ledger may have registered them in another order."""
    return sorted(files, key=lambda file: file.file_id)


def list_members(batch: Batch) -> list[str]:
    """List the ids of a batch's files, in their order.

    Args:
        batch: as it was read.
    """
    ids = batch.members.hex()
    return [ids[start : start + 32] for start in range(0, len(ids), 32)]


def build_checksum(manifest: bytes, members: bytes) -> str:
    """Build the checksum that tells whether a committed batch was loaded from the same objects."""
    return hashlib.blake2b(manifest + b"\n" + members, digest_size=16).hexdigest()


def split(files: Sequence[FileItem], suspects: Sequence[str]) -> tuple[list[FileItem], list[FileItem]]:
    """Split a failed batch: the files that the warehouse named from the rest, or into halves.

    Args:
        files: of the batch.
        suspects: ids of the files that the warehouse's load errors name.

    Returns:
        Two parts, neither of them empty if there are two files or more.
    """
    named = set(suspects)
    blamed = [file for file in files if file.file_id in named]
    if blamed and len(blamed) < len(files):
        return blamed, [file for file in files if file.file_id not in named]
    middle = len(files) // 2
    return list(files[:middle]), list(files[middle:])


def build_batch(
    pipeline: str, installation: str, files: Sequence[FileItem], bucket: str, keys: tuple[str, str]
) -> Batch:
    """Build the BATCH item of files that are loaded together.

    Args:
        pipeline: the pipeline's name.
        installation: `Head.installation`.
        files: of one layout, and of one source beside exports; at least one.
        bucket: that holds them.
        keys: of the batch's manifest and of its list of files.

    Returns:
        A batch in state FORMED.
    """
    manifest_key, files_key = keys
    streamed = [file for file in files if file.source]
    return Batch(
        batch_id=build_batch_id(pipeline, installation, (file.file_id for file in files)),
        pipeline=pipeline,
        layout_id=files[0].layout_id,
        manifest_key=manifest_key,
        files_key=files_key,
        manifest_checksum=build_checksum(build_manifest(bucket, files), build_members(files)),
        files=len(files),
        bytes=sum(file.bytes for file in files),
        rows=sum(file.rows for file in files),
        changed_min=min(file.changed_min for file in files),
        changed_max=max(file.changed_max for file in files),
        source=streamed[0].source if streamed else "",
        source_epoch=max((find_epoch(file.version_max) for file in streamed), default=0),
        carried_epoch=max((find_epoch(file.version_max) for file in files if file.version_max), default=0),
        latest_file=max(files, key=lambda file: file.created).file_id,
        members=b"".join(bytes.fromhex(file.file_id) for file in _in_order(files)),
    )
