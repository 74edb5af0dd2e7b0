"""Turn the changes of one invocation into one file on S3 and one FILE item in the ledger: the first story."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.decode import Decoder, find_position, part_event
from fastetl.errors import LedgerError
from fastetl.ingest.encode import encode_frames
from fastetl.ingest.records import refine
from fastetl.ingest.store import Contents, FileStore
from fastetl.model import FileItem
from fastetl.versions import list_carried, name_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fastetl.aws import Deployment
    from fastetl.config import Pipeline
    from fastetl.decode import Changes, Position
    from fastetl.ingest.records import Enricher, Refined
    from fastetl.versions import EpochStart

EPOCHS_KEPT_SECONDS = 30
"""The epochs of HEAD are read again after this time. An epoch is announced longer than this before it begins."""


def describe_unknown_epochs(pipeline: str) -> str:
    """Say why a pipeline's changes cannot be stamped, and what ends that.

    Args:
        pipeline: its name.
    """
    return (
        f"the epochs of {pipeline} are not known yet: the coordinator reads them from the warehouse when it next wakes,"
        " and events are tried again until then; its log says what keeps it"
    )


class Outcome(msgspec.Struct, frozen=True):
    """What one invocation did, in numbers; without item content."""

    pipeline: str
    file_id: str
    records: int
    file: FileItem | None = None
    """The file as the ledger has it; None where there was nothing to write."""
    already_there: bool = False
    """An earlier attempt had registered this file, or written its object."""
    rejects: dict[tuple[str, str], int] = {}
    """Counts by column ("" for the record as a whole) and reason."""
    misfits: dict[tuple[str, str], int] = {}
    """Values that became NULL or were truncated, by column and reason."""
    ignored: dict[str, int] = {}
    """Undeclared attributes, by name."""
    unrouted: dict[str, int] = {}
    """Items that no target takes, by what tells their kind."""
    enrichment: dict[str, int] = {}
    enrichment_errors: dict[str, int] = {}
    """What enrichments raised and where, and for how many rows."""
    decoded_native: int = 0
    decoded_general: int = 0
    native_error: str = ""
    """Why the native pass failed, so that the reference decoded everything."""
    ties: int = 0
    """Changes of one item in the same microsecond; only Kinesis has them."""
    passed_over: dict[str, int] = {}
    """Records of other tables in a Kinesis stream, by table."""


class Ingest:
    """Ingests one pipeline's events. It needs no warehouse."""

    def __init__(
        self, deployment: Deployment, enricher: Enricher, monotonic: Callable[[], float] | None = None
    ) -> None:
        """Describe the ingest of one pipeline.

        Args:
            deployment: of the pipeline.
            enricher: runs its enrichments.
            monotonic: a clock that never steps back, in seconds. The deployment's may step back, and this one may
                stand still while the process is frozen: epochs are read again when either says that it is time.
        """
        self.deployment = deployment
        config, self._pipeline = deployment.config, deployment.pipeline
        self._decoder = Decoder(self._pipeline, takes_nameless=config.takes_nameless(self._pipeline))
        self._files = FileStore(deployment)
        self._ledger = deployment.ledger
        self._owner = deployment.owner
        self._enricher = enricher
        self._clocks = (deployment.clock, *([monotonic] if monotonic else []))
        self._epochs: tuple[EpochStart, ...] = ()
        self._epochs_read_at: list[float] = []

    @property
    def native_missing(self) -> str:
        """Why there is no native pass, so that the reference decodes everything; empty where there is one."""
        return self._decoder.native_missing

    async def ingest(self, event: bytes | bytearray | dict[str, Any], *, replay: str = "") -> Outcome:
        """Write an event's changes to S3, and record the file in the ledger. When this returns, both are done.

        Args:
            event: the JSON that Lambda hands over, or what it means.
            replay: a name that no other replay has, where records are ingested again that were rejected: they form
                a file of their own, whatever was registered of the event before.

        Returns:
            What was written, and what did not fit.

        Raises:
            EventError: the event as a whole cannot be read.
            MisfitError, EnrichmentError: a value does not fit, and by the configuration the batch is then retried.
            StorageError, LedgerError: S3 or the ledger refused a step; repeating the invocation does the missing steps.
            LedgerError: it is not known yet which epochs have begun, so that no change can be stamped.
        """
        delivery = part_event(event)
        if delivery.is_empty:
            return Outcome(self._pipeline.name, "", 0)
        epochs = await self._read_epochs()
        changes = self._decoder.decode(delivery.event, epochs)
        if replay:
            changes = _as_another_file(changes, replay)
        refined = refine(
            changes,
            self._enricher,
            self._pipeline.layout,
            lambda positions: self._decoder.write_records(delivery.event, positions),
        )
        position = find_position(delivery) if self._pipeline.source == "stream" else None
        return await self._store(refined, position, epochs)

    async def _read_epochs(self) -> tuple[EpochStart, ...]:
        now = [clock() for clock in self._clocks]
        if not self._epochs_read_at or not all(
            0 <= each - read_at < EPOCHS_KEPT_SECONDS for each, read_at in zip(now, self._epochs_read_at, strict=True)
        ):
            head = await self._ledger.batches.head(self._pipeline.name)
            if head is None or head.stack != self._owner:
                raise LedgerError(describe_unknown_epochs(self._pipeline.name))
            self._epochs, self._epochs_read_at = head.epochs, now
        return self._epochs

    async def _store(self, refined: Refined, position: Position | None, epochs: tuple[EpochStart, ...]) -> Outcome:
        changes, frame, layout = refined.changes, refined.changes.frame, self._pipeline.layout
        if frame.is_empty() and not changes.rejects:
            return _outcome(self._pipeline, refined)
        contents = Contents(
            file_id=changes.file_id,
            label=changes.stream_arn.rpartition("/")[2],
            received=changes.received,
            rows=frame.height,
            rejects=changes.rejects,
            version_min=changes.version_min,
            version_max=changes.version_max,
            changed_min=changes.changed_min,
            changed_max=changes.changed_max,
            source=name_source(changes.stream_arn),
            drift=changes.drift,
            position=position,
            elements=refined.elements,
            epochs=list_carried(epochs, changes.version_min, changes.version_max),
        )
        pieces = encode_frames([frame], layout, self._pipeline.file.part_size_bytes)
        item, already_there = await self._files.store(contents, pieces)
        return _outcome(self._pipeline, refined, item, already_there=already_there)


def _as_another_file(changes: Changes, name: str) -> Changes:
    file_id = hashlib.blake2b(f"{changes.file_id}\n{name}".encode(), digest_size=16).hexdigest()
    frame = changes.frame.with_columns(pl.lit(file_id).alias("_file"))
    return msgspec.structs.replace(changes, file_id=file_id, frame=frame)


def _outcome(
    pipeline: Pipeline, refined: Refined, file: FileItem | None = None, *, already_there: bool = False
) -> Outcome:
    changes = refined.changes
    return Outcome(
        pipeline=pipeline.name,
        file_id=changes.file_id,
        records=changes.received,
        file=file,
        already_there=already_there,
        rejects=changes.rejects_by_reason,
        misfits=changes.misfits,
        ignored=changes.ignored,
        unrouted=changes.unrouted,
        enrichment=refined.counts,
        enrichment_errors=refined.errors,
        decoded_native=changes.decoded_native,
        decoded_general=changes.decoded_general,
        native_error=changes.native_error,
        ties=changes.ties,
        passed_over=changes.passed_over,
    )
