"""The first story: what one invocation is given becomes one file on S3 and one FILE item in the ledger.

The order makes every step repeatable: the layout before the first file that uses it, the rejects before the file that
names them, the object before the item that promises it. Every name comes from the records, so that an invocation
that is repeated, by whomever and however often, writes nothing new.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

import msgspec

from fastetl import manifest
from fastetl.decode import Decoder
from fastetl.encode import encode, encode_rejects
from fastetl.errors import StorageError
from fastetl.model import MAX_DRIFT, FileItem
from fastetl.s3 import StoredObject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    import polars as pl

    from fastetl.config import Config, Pipeline
    from fastetl.decode import Changes
    from fastetl.ledger import Ledger
    from fastetl.model import EpochStart
    from fastetl.s3 import Bucket

EPOCHS_KEPT_SECONDS = 30
"""HEAD's epochs are read anew after this time: whoever begins an epoch lets it start further ahead than that."""

LONGEST_NAME = 255
"""Characters of an attribute's name that the ledger keeps."""

UNKNOWN_TIME = "1970-01-01 00"
"""Names the rejects of a batch in which no record tells when it happened."""


class Enriched(Protocol):
    """What enrichment gives."""

    @property
    def frame(self) -> pl.DataFrame:
        """The rows to write, with every column of the layout."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """What happened, for logs and metrics."""
        ...


class Enricher(Protocol):
    """Whatever adds columns to a frame."""

    def apply(self, frame: pl.DataFrame) -> Enriched:
        """Give the frame with what was added."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """What one invocation did, in numbers; without item content."""

    pipeline: str
    file_id: str
    records: int
    file: FileItem | None = None
    """As the ledger has it; None where there was nothing to write."""
    already_there: bool = False
    """An earlier attempt had registered this file, or written its object."""
    rejects: dict[tuple[str, str], int] = {}
    """By column ("" for the record as a whole) and reason."""
    misfits: dict[tuple[str, str], int] = {}
    """Values that became NULL or were truncated, by column and reason."""
    ignored: dict[str, int] = {}
    """Undeclared attributes, by name."""
    enrichment: dict[str, int] = {}
    decoded_fast: int = 0
    decoded_general: int = 0
    ties: int = 0
    """Of Kinesis: changes of one item in the same microsecond."""


class Ingest:
    """Ingests one pipeline's events. `clock` gives Unix seconds."""

    def __init__(
        self,
        config: Config,
        pipeline: Pipeline,
        bucket: Bucket,
        ledger: Ledger,
        enricher: Enricher,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._pipeline = pipeline
        self._layout = pipeline.layout
        self._layout_written = False
        self._decoder = Decoder(pipeline)
        self._bucket = bucket
        self._ledger = ledger
        self._enricher = enricher
        self._clock = clock
        self._epochs: tuple[EpochStart, ...] = ()
        self._epochs_read_at = float("-inf")

    async def ingest(self, event: bytes | bytearray | dict[str, Any]) -> Outcome:
        """Put an event's changes on S3 and into the ledger. When it returns, they are there.

        Raises:
            EventError: the event as a whole cannot be read.
            MisfitError, EnrichmentError: the configuration would rather have the batch retried.
            StorageError, LedgerError: not everything is there; repeating the invocation completes it.
        """
        changes = self._decoder.decode(event, await self._read_epochs())
        enriched = self._enricher.apply(changes.frame)
        rejects_key = await self._put_rejects(changes)
        stored = await self._put_file(changes, enriched.frame, rejects_key)
        return await self._register(changes, enriched, rejects_key, stored)

    async def _read_epochs(self) -> tuple[EpochStart, ...]:
        if self._clock() - self._epochs_read_at >= EPOCHS_KEPT_SECONDS:
            read_at = self._clock()
            head = await self._ledger.head(self._pipeline.name)
            self._epochs, self._epochs_read_at = head.epochs if head else (), read_at
        return self._epochs

    async def _put_rejects(self, changes: Changes) -> str:
        if not changes.rejects:
            return ""
        body, crc32 = encode_rejects(changes.rejects)
        key = manifest.rejects_key(
            self._config.prefix, self._pipeline.name, changes.changed_min or UNKNOWN_TIME, changes.file_id, crc32
        )
        await self._bucket.put(key, iter([body]), {"pipeline": self._pipeline.name, "file-id": changes.file_id})
        return key

    async def _put_file(self, changes: Changes, frame: pl.DataFrame, rejects_key: str) -> StoredObject | None:
        """Write the file; None where no row is left to write."""
        if frame.is_empty():
            return None
        await self._put_layout()
        file = self._pipeline.file
        key = manifest.data_key(
            self._config.prefix,
            self._pipeline.name,
            changes.stream_arn.rpartition("/")[2],
            changes.changed_min,
            changes.file_id,
            file.compression,
        )
        pieces = encode([frame], self._layout, file.part_size_bytes)
        metadata = self._describe(changes, frame.height, rejects_key)
        return await self._bucket.put(key, pieces, metadata, max_parts_in_flight=file.max_parts_in_flight)

    async def _put_layout(self) -> None:
        if self._layout_written:
            return
        layout = self._layout
        key = manifest.layout_key(self._config.prefix, self._pipeline.name, layout.layout_id)
        await self._bucket.put(key, iter([msgspec.json.encode(layout)]), {})
        self._layout_written = True

    def _describe(self, changes: Changes, rows: int, rejects_key: str) -> dict[str, str]:
        """Everything from which the FILE item can be built anew, as the object's metadata."""
        return {
            "pipeline": self._pipeline.name,
            "file-id": changes.file_id,
            "layout-id": self._layout.layout_id,
            "rows": str(rows),
            "rejects": str(len(changes.rejects)),
            "rejects-key": rejects_key,
            "version-min": changes.version_min,
            "version-max": changes.version_max,
            "changed-min": changes.changed_min,
            "changed-max": changes.changed_max,
        }

    async def _register(
        self, changes: Changes, enriched: Enriched, rejects_key: str, stored: StoredObject | None
    ) -> Outcome:
        if not stored and not changes.rejects:
            return _outcome(self._pipeline, changes, enriched)
        nothing_stored = StoredObject("", 0, "", self._describe(changes, 0, rejects_key), created=True)
        item = build_file(stored or nothing_stored, int(self._clock() * 1000))
        item = msgspec.structs.replace(item, drift=_drift(changes))
        registered = await self._ledger.register(item)
        # What the ledger has under this file_id counts. A deploy in between may have changed the names.
        for orphan in {item.key, rejects_key} - {registered.key, registered.rejects_key, ""}:
            await self._bucket.delete(orphan)
        already_there = registered != item or bool(stored and not stored.created)
        return _outcome(self._pipeline, changes, enriched, registered, already_there=already_there)


def build_file(stored: StoredObject, created: int) -> FileItem:
    """The FILE item of an object, from the object's own metadata; `created` in Unix milliseconds.

    An empty key says that there is no object, since every record was a reject.

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
            state="PENDING" if stored.key else "REJECTED",
        )
    except (KeyError, ValueError) as error:
        raise StorageError(f"{stored.key}: its metadata is not fastetl's ({error}); move the object away") from error


def _count_rejects(changes: Changes) -> dict[tuple[str, str], int]:
    return Counter((reject.column, reject.reason) for reject in changes.rejects)


def _drift(changes: Changes) -> dict[str, int]:
    """What did not fit, as the FILE item keeps it."""
    drift = Counter({f"ignored/{name[:LONGEST_NAME]}": count for name, count in changes.ignored.items()})
    drift.update({f"misfit/{column}/{reason}": count for (column, reason), count in changes.misfits.items()})
    drift.update({f"reject/{column}/{reason}": count for (column, reason), count in _count_rejects(changes).items()})
    return dict(drift.most_common(MAX_DRIFT))


def _outcome(
    pipeline: Pipeline,
    changes: Changes,
    enriched: Enriched,
    file: FileItem | None = None,
    *,
    already_there: bool = False,
) -> Outcome:
    return Outcome(
        pipeline=pipeline.name,
        file_id=changes.file_id,
        records=changes.received,
        file=file,
        already_there=already_there,
        rejects=_count_rejects(changes),
        misfits=changes.misfits,
        ignored=changes.ignored,
        enrichment=dict(enriched.counts),
        decoded_fast=changes.decoded_fast,
        decoded_general=changes.decoded_general,
        ties=changes.ties,
    )
