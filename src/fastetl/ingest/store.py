"""Store one file (rejects, layout, object, FILE item) in an order that makes every step safe to repeat.

Rejects are stored before the file that names them, the layout before the first file that uses it, and the object before
the FILE item. Every name is made from what is stored, so a repeated step writes nothing new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastetl import keys
from fastetl.aws import StoredObject
from fastetl.errors import StorageError
from fastetl.ingest.encode import encode_rejects
from fastetl.model import FileItem, Reject
from fastetl.versions import parse_epochs, write_epochs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastetl.aws import Deployment
    from fastetl.decode import Position
    from fastetl.versions import EpochStart

UNKNOWN_TIME = "1970-01-01 00"
"""Stands in the key of the rejects where no record of the event has a time."""

NOTHING = StoredObject("", 0, "", {}, created=True)
"""Stands for an object where there is nothing to store."""


class Contents(msgspec.Struct, frozen=True):
    """What a file holds."""

    file_id: str
    label: str
    """The stream's label, or what stands in its place; it is a folder of the object's key."""
    received: int
    """Records, counted before any was converted."""
    rows: int
    rejects: tuple[Reject, ...]
    version_min: str
    version_max: str
    changed_min: str
    changed_max: str
    source: str = ""
    """As `FileItem.source`."""
    drift: dict[str, int] = {}
    """What did not fit the columns, as `FileItem.drift` has it."""
    position: Position | None = None
    """How far its records go in their shard; None where that is not known."""
    elements: int = 0
    """Rows of child tables, as `FileItem.elements` has it."""
    epochs: tuple[EpochStart, ...] = ()
    """Those that its rows carry, so that they outlive a ledger and a warehouse that are both set back."""


class FileStore:
    """Stores one pipeline's files. It needs no warehouse."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe where a pipeline's files are stored.

        Args:
            deployment: of the pipeline.
        """
        self._prefix = deployment.config.prefix
        self._pipeline = deployment.pipeline
        self._layout = deployment.pipeline.layout
        self._layout_written = False
        self._bucket = deployment.bucket
        self._ledger = deployment.ledger
        self._clock = deployment.clock

    async def store(self, contents: Contents, pieces: Iterator[bytes]) -> tuple[FileItem, bool]:
        """Store a file's rejects, its object and its FILE item. When this returns, all of them are stored.

        Args:
            contents: what it holds; at least a row or a reject.
            pieces: its bytes, as `encode_frames` gives them; read only if the file has rows.

        Returns:
            The item as the ledger has it, and whether an earlier attempt had registered it, or written its object.

        Raises:
            StorageError, LedgerError: S3 or the ledger refused a step; repeating the call does the missing steps.
        """
        rejects = await self._put_rejects(contents)
        described = self._describe(contents, rejects.key)
        stored = msgspec.structs.replace(NOTHING, metadata=described)
        if contents.rows:
            await self._put_layout()
            stored = await self._put_object(contents, pieces, described)
        item = build_file(stored, int(self._clock() * 1000))
        item = msgspec.structs.replace(item, drift=contents.drift)
        registered = await self._ledger.files.register(item)
        # What the ledger has under this file_id counts. A deploy in between may have changed the names. An object that
        # was there before may be named by the ledger of another stack with the same bucket: it stays.
        for written in (stored, rejects):
            if written.created and written.key not in {registered.key, registered.rejects_key, ""}:
                await self._bucket.delete(written.key)
        return registered, registered != item or not stored.created

    async def _put_rejects(self, contents: Contents) -> StoredObject:
        if not contents.rejects:
            return NOTHING
        name, when = self._pipeline.name, contents.changed_min or UNKNOWN_TIME
        body, crc32 = encode_rejects(contents.rejects)
        key = keys.rejects_key(self._prefix, name, when, contents.file_id, crc32)
        return await self._bucket.put(key, iter([body]), {"pipeline": name, "file-id": contents.file_id})

    async def _put_layout(self) -> None:
        if self._layout_written:
            return
        layout = self._layout
        key = keys.layout_key(self._prefix, self._pipeline.name, layout.layout_id)
        await self._bucket.put(key, iter([msgspec.json.encode(layout)]), {})
        self._layout_written = True

    async def _put_object(self, contents: Contents, pieces: Iterator[bytes], described: dict[str, str]) -> StoredObject:
        file = self._pipeline.file
        key = keys.data_key(
            self._prefix, self._pipeline.name, contents.label, contents.changed_min, contents.file_id, file.compression
        )
        return await self._bucket.put(key, pieces, described, max_parts_in_flight=file.max_parts_in_flight)

    def _describe(self, contents: Contents, rejects_key: str) -> dict[str, str]:
        """Build the object's metadata, from which the FILE item can be built again."""
        at = contents.position
        place: dict[str, str] = {}
        if at:
            place = {"shard-id": at.shard_id, "last-sequence": at.sequence_number, "last-changed": str(at.created_ms)}
        return place | {
            "pipeline": self._pipeline.name,
            "file-id": contents.file_id,
            "layout-id": self._layout.layout_id,
            "received": str(contents.received),
            "rows": str(contents.rows),
            **({"elements": str(contents.elements)} if contents.elements else {}),
            **({"epochs": write_epochs(contents.epochs)} if contents.epochs else {}),
            "rejects": str(len(contents.rejects)),
            "rejects-key": rejects_key,
            "version-min": contents.version_min,
            "version-max": contents.version_max,
            "changed-min": contents.changed_min,
            "changed-max": contents.changed_max,
            "source": contents.source,
        }


def build_file(stored: StoredObject, created: int) -> FileItem:
    """Build the FILE item of an object from the object's own metadata.

    Args:
        stored: the object; an empty key says that there is none, since every record was a reject.
        created: Unix milliseconds.

    Raises:
        StorageError: the object was not written by fastetl.
    """
    described = stored.metadata
    try:
        return FileItem(
            file_id=described["file-id"],
            pipeline=described["pipeline"],
            key=stored.key,
            layout_id=described["layout-id"],
            checksum=stored.checksum,
            bytes=stored.bytes,
            rows=int(described["rows"]),
            rejects=int(described["rejects"]),
            rejects_key=described.get("rejects-key", ""),
            version_min=described["version-min"],
            version_max=described["version-max"],
            changed_min=described["changed-min"],
            changed_max=described["changed-max"],
            created=created,
            received=int(described.get("received", -1)),
            source=described.get("source", ""),
            shard_id=described.get("shard-id", ""),
            last_sequence=described.get("last-sequence", ""),
            last_changed=int(described.get("last-changed", 0)),
            elements=int(described.get("elements", 0)),
            state="PENDING" if stored.key else "REJECTED",
        )
    except (KeyError, ValueError) as error:
        raise StorageError(f"{stored.key}: its metadata is not fastetl's ({error}); move the object away") from error


def find_epochs(stored: StoredObject) -> tuple[EpochStart, ...]:
    """Find the epochs that the rows of a file carry, in its object's own metadata.

    Args:
        stored: the object.

    Raises:
        StorageError: the object was not written by fastetl.
    """
    try:
        return parse_epochs(stored.metadata.get("epochs", ""))
    except ValueError as error:
        raise StorageError(f"{stored.key}: its metadata is not fastetl's ({error}); move the object away") from error
