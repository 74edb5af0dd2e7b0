"""The values that travel between the floors. Nothing here does any work beyond naming itself."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Literal

import msgspec

from fastetl.columns import RedshiftType
from fastetl.limits import STREAM_KEEPS_SECONDS
from fastetl.versions import EXPORT_LABEL, EpochStart

ENCODER = 1
"""Rises when the same change comes to be written differently in the same columns."""

Op = Literal["INSERT", "MODIFY", "REMOVE", "EXPIRE", "LEAVE"]
"""What happened to the item. EXPIRE is a REMOVE that DynamoDB's time to live did, not a user; LEAVE says that the item
does not belong to the table, since a filter does not keep it."""


class Reject(msgspec.Struct, frozen=True):
    """A record that could not be converted. `record` is item content: never log it."""

    event_id: str
    reason: str
    """A code, fit for a metric's dimension: `type`, `range`, `too_long`, …"""
    column: str
    """Empty where the record as a whole is malformed."""
    detail: str
    """What was expected, in words; without item content."""
    record: str
    """The raw record, as JSON text in ASCII."""


class Layout(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything a load must know about how a file was written."""

    columns: tuple[tuple[str, RedshiftType], ...]
    """Names and types in the file's order, the system columns included."""
    delimiter: str
    compression: Literal["gzip", "zstd", "none"]
    null_marker: str
    encoder: int
    """Rises when the same columns come to be written differently."""
    targets: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """With several targets: for each, by its name, its columns and the file's columns that hold their values. `_target`
    then tells which target a row belongs to."""
    children: tuple[str, ...] = ()
    """Those of the targets whose rows are elements of another target's items, with the key and version of these."""

    @property
    def layout_id(self) -> str:
        """A short name for exactly this layout."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()


FileState = Literal["PENDING", "LOADED", "QUARANTINED", "REJECTED", "DROPPED"]
"""REJECTED: every record was a reject, so that there is no object to load; terminal from the start. DROPPED: an
operator gave a quarantined file up."""


class FileItem(msgspec.Struct, frozen=True):
    """One S3 object of changes, as the ledger knows it."""

    file_id: str
    pipeline: str
    key: str
    """The S3 object; empty when every record was a reject."""
    layout_id: str
    checksum: str
    """CRC32 of the object, base64, as S3 gives it."""
    bytes: int
    rows: int
    rejects: int
    rejects_key: str
    version_min: str
    version_max: str
    changed_min: str
    changed_max: str
    """ISO 8601, UTC, microseconds: bounds of `_changed_at`."""
    created: int
    """Unix milliseconds when it was registered."""
    state: FileState = "PENDING"
    batch_id: str = ""
    reason: str = ""
    received: int = -1
    """Records that came in, counted before any was converted: rows and rejects together; -1 where nobody counted."""
    elements: int = 0
    """Rows of child tables, which are among the rows, and of which a record may have any number."""
    rejects_ended: bool = False
    """Whether an operator has replayed or dropped its rejects, so that their object is gone."""
    source: str = ""
    """What numbers its changes, as `versions.name_source` says; empty for rows of an export."""
    drift: dict[str, int] = {}
    """What did not fit the columns, for `fastetl schema diff`: `ignored/<attribute>`, `misfit/<column>/<reason>`,
    `reject/<column>/<reason>` and `unrouted/<kind>`, with how often; the `MAX_DRIFT` most frequent."""
    shard_id: str = ""
    """The shard that its records came from; empty where the event did not say."""
    last_sequence: str = ""
    """The sequence number of its last record, rejects included; empty where `shard_id` is."""
    last_changed: int = 0
    """Unix milliseconds: when DynamoDB says that its last record was created; 0 where `shard_id` is empty."""


GAP_MARGIN_SECONDS = 1800


def follows_gap(file: FileItem) -> bool:
    """Tell whether a file's first change was so old when it was read that the stream may have lost what came before it.

    Not of an export's rows, which have no age.
    """
    if not file.changed_min or file.version_min[5:].startswith(EXPORT_LABEL):
        return False
    changed = datetime.fromisoformat(file.changed_min).replace(tzinfo=UTC).timestamp()
    return file.created / 1000 - changed > STREAM_KEEPS_SECONDS - GAP_MARGIN_SECONDS


UNROUTED = "unrouted/"
"""What drift of items that no target takes begins with; what tells their kind follows."""

MAX_DRIFT = 50
"""Kinds of drift kept in one FILE item, which is at most 400 KB (DynamoDB quotas)."""


class PendingFile(msgspec.Struct, frozen=True):
    """What the sparse index tells of a file that waits. A hint: the FILE item decides."""

    file_id: str
    created: int
    bytes: int
    layout_id: str


BatchState = Literal["FORMED", "SUBMITTING", "SUBMITTED", "RESOLVING", "RETRY", "LOADED", "SPLIT", "QUARANTINED"]


class LoadedBatch(msgspec.Struct, frozen=True):
    """A batch that the warehouse was seen to have: it has it still, unless it was set back to an earlier time."""

    batch_id: str = ""
    """Empty where none was seen."""
    attempt: int = 0
    """That was committed; 0 where it is not known which."""
    changed_min: str = ""
    began: int = 0
    """As of the batch: they tell before when it was not loaded."""


class Head(msgspec.Struct, frozen=True):
    """The pipeline's one mutable place: which batches are open, and whether it is paused."""

    pipeline: str
    generation: int
    open: tuple[str, ...]
    """Batch ids, oldest first; at most `MAX_OPEN_BATCHES`."""
    installation: str
    """Tells this ledger from any other that ever wrote to the same warehouse."""
    paused: str = ""
    """Why, in words; empty when running."""
    paused_by: Literal["", "operator", "fastetl"] = ""
    """What fastetl paused, it resumes by itself when a load succeeds; what an operator paused, only an operator."""
    load_requested: bool = False
    """An operator asked to load now, whatever the thresholds say."""
    loads: int = 0
    """Loads seen to succeed so far: tells whether anything else has loaded since a suspect failed."""
    last_load: int = 0
    """Unix milliseconds when a batch was last seen to be loaded; 0 before the first."""
    last_batch: LoadedBatch = LoadedBatch()
    """Seen at `last_load`."""
    epochs: tuple[EpochStart, ...] = ()
    stack: str = ""
    """`Deployment.owner` of the stack that has read the epochs from the warehouse. In a ledger that was restored or
    copied under another name they may be old: no change is stamped before they have been read again."""
    probe_at: int = 0
    """Unix milliseconds before which a paused pipeline with suspects tries no other file."""


MAX_OPEN_BATCHES = 8
"""Open batches of a pipeline. Splits and suspects are open beside the next batch: a bad file never blocks good ones."""

Failure = Literal["", "gate", "files", "data", "unreadable", "archived", "infrastructure", "transient"]
"""Why an attempt failed: the gate refused it; files of it are loaded already; the data; objects
that COPY may not read; files that are in an archive;
permissions, space, tables and whatever nobody knows; chance."""


Packed = bytes
"""Ids of files without anything between them. In `Batch`, `bytes` is a field."""


class Batch(msgspec.Struct, frozen=True):
    """Files that are loaded together, and how far their load has come."""

    batch_id: str
    pipeline: str
    layout_id: str
    manifest_key: str
    files_key: str
    manifest_checksum: str
    files: int
    bytes: int
    rows: int
    changed_min: str
    changed_max: str
    state: BatchState = "FORMED"
    parent: str = ""
    attempt: int = 0
    began: int = 0
    """Unix milliseconds when the attempt was meant to begin."""
    steps: tuple[str, ...] = ()
    """The steps of the attempt's statements in order: a failed statement is known by its index."""
    statement_id: str = ""
    submitted_at: int = 0
    """Unix milliseconds, of the attempt or of the resolve that is under way."""
    resolves: int = 0
    """Resolves begun for this attempt."""
    failure: Failure = ""
    suspects: tuple[str, ...] = ()
    """File ids that the warehouse named when the load failed."""
    error: str = ""
    failures: int = 0
    """Attempts that failed, of whatever cause; the delay before the next grows with it."""
    data_failures: int = 0
    loads_seen: int = 0
    """`Head.loads` when the data failed first: a later number means that another batch has loaded since."""
    loads_begun: int = 0
    """`Head.loads` when the attempt began."""
    latest_epoch: int = 0
    """The number of the latest of `Head.epochs` when the attempt began; 0 where there was none."""
    source: str = ""
    """Of its files; empty where all of them are an export's."""
    source_epoch: int = 0
    """The latest epoch that a change of the source is of."""
    follows: LoadedBatch = LoadedBatch()
    """`Head.last_batch` when the attempt began."""
    carried_epoch: int = 0
    """The latest epoch that a row of its files is of, an export's included."""
    foreign_epoch: int = 0
    """`carried_epoch`, if HEAD did not have it when the attempt began."""
    not_before: int = 0
    """Unix milliseconds before which a RETRY waits."""
    marked_to: str = ""
    """Of a step that takes a part of the files at a time, the last one, in the order of the ids, that it has done."""
    restoring: bool = False
    """Whether an archived file was found that is not back yet, among those up to `marked_to`."""
    members: Packed = b""
    """The ids of its files, 16 bytes each, in their order: what S3 holds of a batch may be deleted by a lifecycle."""
    latest_file: str = ""
    """The id of that of its files that was registered last."""
    written_at: int = 0
    """Unix milliseconds when its manifest and its list of files were last written."""
    complete_up_to: int = 0
    """Unix milliseconds: once it is loaded, so is every change that the table made before, as was known when the
    attempt began; 0 where it was not."""


class IngestError(msgspec.Struct, frozen=True):
    """What the ingest function failed with last, for `fastetl status`. Without item content."""

    pipeline: str
    at: int
    """Unix milliseconds."""
    message: str


class WrittenColumns(msgspec.Struct, frozen=True):
    """The columns of a table that loads have ever written."""

    pipeline: str
    table: str
    """Schema and name, as `analytics.orders`."""
    columns: tuple[str, ...]


class Backfill(msgspec.Struct, frozen=True):
    """An export that is being carried over, and how far that has come."""

    pipeline: str
    epoch: int
    location: str
    """Of the export's folder: `s3://bucket/…` or a path."""
    export_id: str
    exported_at: int
    """Unix seconds of the state that the export holds."""
    files: int
    """Data files of the export."""
    items: int
    split_bytes: int
    """Of DynamoDB JSON that go into one file; kept, since files are named by it."""
    resync: bool = False
    """Whether rows that the export does not have are to be deleted when everything is loaded."""
    state: Literal["CONVERTING", "FINISHED", "GIVEN_UP"] = "CONVERTING"
    """GIVEN_UP: an operator has ended it as it was; the rows that it has carried over stay."""

    @property
    def name(self) -> str:
        """A short name for the export; an epoch may have several."""
        return name_export(self.export_id)


def name_export(export_id: str) -> str:
    """Make a short name for an export of its id, which may have any length."""
    return hashlib.blake2b(export_id.encode(), digest_size=12).hexdigest()


class ShardProgress(msgspec.Struct, frozen=True, array_like=True):
    """How far one shard of a stream has been read into files. Kept without names: there may be hundreds."""

    shard_id: str
    parent_id: str = ""
    began: int = 0
    """Unix milliseconds: no change of the shard was made before; 0 where that is not known."""
    sequence: str = ""
    """The sequence number of the last record that a file has; empty where no file is of this shard yet."""
    read_up_to: int = 0
    """Unix milliseconds: when that record was created; 0 where no file is of this shard yet."""
    unread_since: int = 0
    """Unix milliseconds since which the shard is perhaps not read; 0 where it is read, as far as anything tells."""
    closed_by: int = 0
    """Unix milliseconds: it takes no change that is made later; 0 while it is open."""

    @property
    def up_to(self) -> int:
        """Unix milliseconds before which every change of the shard is in a file; 0 where that is not known."""
        return self.read_up_to or self.began


class Gap(msgspec.Struct, frozen=True):
    """A time of which the stream has forgotten what nobody had read."""

    shard_id: str
    since: int
    until: int
    """Unix milliseconds; changes made between the two may be missing."""


class PutBack(msgspec.Struct, frozen=True, array_like=True):
    """A file that an operator has let wait for a load again, or wait at all: a quarantined one, or one of rejects."""

    file_id: str
    before: int
    """Unix milliseconds: none of its changes was made before."""


class Watermark(msgspec.Struct, frozen=True):
    """Up to when everything is loaded, as far as that is proved, and what keeps changes from being read."""

    pipeline: str
    stream_arn: str = ""
    """The stream that is followed; empty before the first look."""
    checked_at: int = 0
    """Unix milliseconds of the latest look; 0 before the first."""
    proved_up_to: int = 0
    """Unix milliseconds: as `complete_up_to`, whatever becomes of the files in `put_back`."""
    held_by: str = ""
    """What keeps `complete_up_to` from being later: a shard, files that wait, or a gap."""
    shards: tuple[ShardProgress, ...] = ()
    """Those of which not everything is known to be in files."""
    finished: tuple[str, ...] = ()
    """Ids of those of which everything is, as long as the stream lists them."""
    gaps: tuple[Gap, ...] = ()
    unread_since: int = 0
    """Unix milliseconds since which nothing is read, as Lambda or the stream say; 0 where all is well."""
    read_since: int = 0
    """Unix milliseconds since which all is well; 0 where it is not."""
    problems: tuple[str, ...] = ()
    """What somebody has to mend, as sentences."""
    put_back: tuple[PutBack, ...] = ()
    """The files that an operator has put back and that no look has found loaded yet, nor in quarantine again."""
    unknown_until: int = 0
    """Unix milliseconds: before, and until all files are loaded that were registered before, it is not known up to when
    everything is loaded; 0 where nobody has rebuilt the ledger."""
    generation: int = 0
    """How often it was written."""

    @property
    def complete_up_to(self) -> int:
        """Unix milliseconds: every change that the table made before is loaded, a reject, or in quarantine.

        0 where that is not known.
        """
        return max(0, min([self.proved_up_to, *(file.before for file in self.put_back)]))


class Converted(msgspec.Struct, frozen=True):
    """What one data file of an export became."""

    name: str
    """`DataFile.name`."""
    items: int
    rows: int
    rejects: int
    files: int
