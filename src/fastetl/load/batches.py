"""What a batch is made of: its name, its manifest, its list of files, and what to blame when its load fails. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

from fastetl.model import Batch, Failure, FileItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Member(msgspec.Struct, frozen=True):
    """A file of a batch, as the batch's list has it."""

    file_id: str
    rows: int


def build_batch_id(pipeline: str, installation: str, file_ids: Iterable[str]) -> str:
    """Name a batch by its files, never by a counter.

    A ledger that was restored, or a stack deployed anew against the same warehouse, would count the same numbers
    again, and the gate would take new files for loaded ones.
    """
    text = "\n".join([pipeline, installation, *sorted(file_ids)])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def build_token(*parts: str | int) -> str:
    """A client token for the Data API: the same for the same attempt, whoever submits it; 64 characters at most."""
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=24).hexdigest()


def build_manifest(bucket: str, files: Sequence[FileItem]) -> bytes:
    """COPY's manifest. `mandatory`: without it COPY passes over a missing object without a word."""
    entries = [{"url": f"s3://{bucket}/{file.key}", "mandatory": True} for file in _in_order(files)]
    return msgspec.json.encode({"entries": entries})


def build_members(files: Sequence[FileItem]) -> bytes:
    """The batch's own list of files and rows, which COPY reads as well: `file_id,row_count` lines."""
    return "".join(f"{file.file_id},{file.rows}\n" for file in _in_order(files)).encode()


def _in_order(files: Sequence[FileItem]) -> list[FileItem]:
    """Files by their ids: the order in which they were registered may be another in a ledger that was restored."""
    return sorted(files, key=lambda file: file.file_id)


def parse_members(body: bytes) -> list[Member]:
    """Read what `build_members` wrote."""
    lines = (line.split(",") for line in body.decode().splitlines())
    return [Member(file_id, int(rows)) for file_id, rows in lines]


def build_checksum(manifest: bytes, members: bytes) -> str:
    """Tells whether a committed batch is the batch that was meant."""
    return hashlib.blake2b(manifest + b"\n" + members, digest_size=16).hexdigest()


def split(files: Sequence[FileItem], suspects: Sequence[str]) -> tuple[list[FileItem], list[FileItem]]:
    """Part what failed: those that the warehouse named from the rest, or into halves. Neither part is empty."""
    named = set(suspects)
    blamed = [file for file in files if file.file_id in named]
    if blamed and len(blamed) < len(files):
        return blamed, [file for file in files if file.file_id not in named]
    middle = len(files) // 2
    return list(files[:middle]), list(files[middle:])


def classify(step: str, error: str, *, named: bool) -> Failure:
    """Tell by the step that failed whose fault it is; `named` says that the warehouse's load errors name a file.

    The steps are fastetl's own, so that a message is read only to part the surroundings, which may fail at any step,
    from the data, which fails at COPY or when its rows are counted. A wrong guess is safe: what fails for every file
    pauses the pipeline, and what the surroundings cause is tried again.
    """
    if step == "copy" and (named or _MISSING_OBJECT.search(error)):
        return "data"
    if step in {"", "lock", "bump"} or _TRANSIENT.search(error):
        return "transient"
    if is_environment(error):
        return "environment"
    match step:
        case "gate_batch" | "gate_fence":
            return "gate"
        case "gate_files":
            return "files"
        case "copy" | "count":
            return "data"
        case _:
            return "environment"


def is_environment(error: str) -> bool:
    """Tell whether a message is about what surrounds a load: permissions, space, tables that are not there."""
    return bool(_SURROUNDINGS.search(error))


_MISSING_OBJECT = re.compile(
    r"NoSuchKey|(?:key|prefix|file|object)\b.*does not exist|not found|mandatory", re.IGNORECASE
)
_TRANSIENT = re.compile(r"\b1023\b|serializ|deadlock|terminat|connection|timed? ?out|restart|SlowDown", re.IGNORECASE)
_SURROUNDINGS = re.compile(
    r"denied|permission|not authorized|authentication failed|secrets manager|credential|\biam\b|\bkms\b|expired"
    r"|disk|space|paused|resiz|unavailable|memory|relation|schema"
    r"|table .* does not exist|column .* (?:does not exist|of)",
    re.IGNORECASE,
)


def build_batch(
    pipeline: str, installation: str, files: Sequence[FileItem], bucket: str, keys: tuple[str, str]
) -> Batch:
    """Describe a batch of files of one layout; `keys` are those of its manifest and its list of files."""
    manifest_key, files_key = keys
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
    )
