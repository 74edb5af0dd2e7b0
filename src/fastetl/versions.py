"""What orders every state of an item: versions, and the epochs that they begin with. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

SEQUENCE_DIGITS = 40
"""DynamoDB's sequence numbers have 21 to 40 digits (DynamoDB Streams API, StreamRecord)."""

EXPORT_LABEL = "0000-00-00T00:00:00.000"
"""Stands where a stream's label stands, for rows of an export: older than any stream of the same epoch."""


KINESIS_LABEL = "kinesis"
"""Stands where a stream's label stands, for changes that came through Kinesis: newer than any export of their epoch."""


def find_label(stream_arn: str) -> str:
    """Give the label that orders a stream among those of its kind.

    A table has one stream of DynamoDB after the other, each with numbers of its own: the label is the time at which it
    was enabled. Through Kinesis changes are numbered by their own time, whichever stream they take, so that all of its
    streams have one label; their names would order them by the alphabet.

    Args:
        stream_arn: of DynamoDB Streams or of Kinesis.

    Returns:
        The label, as `build_version` takes it.
    """
    return KINESIS_LABEL if ":kinesis:" in stream_arn else stream_arn.rpartition("/")[2]


def name_source(stream_arn: str) -> str:
    """Name what numbers the changes of a stream: labels and numbers order changes of one source only.

    Args:
        stream_arn: of DynamoDB Streams or of Kinesis.

    Returns:
        `stream-` with a hash of the table's ARN, so that a replica is another source than its original; `kinesis-` with
        one of account and region, since DynamoDB's clock there numbers the changes, whichever stream they take. The
        hash keeps what an event says out of SQL.
    """
    is_kinesis = ":kinesis:" in stream_arn
    origin = stream_arn.partition(":stream/" if is_kinesis else "/stream/")[0]
    digest = hashlib.blake2b(origin.encode(errors="replace"), digest_size=8).hexdigest()
    return f"{'kinesis' if is_kinesis else 'stream'}-{digest}"


def find_epoch(version: str) -> int:
    """Read the number of a version's epoch."""
    return int(version[:4])


def build_version(epoch: int, label: str, sequence_number: str) -> str:
    """Order every state an item ever had: later compares greater, as bytes.

    Sequence numbers are decimal and of varying length, so that as text `9` would be newer than `10`, and with
    up to 40 digits they are too long for DECIMAL(38): they are padded instead.
    """
    return f"{epoch:04d}#{label}#{sequence_number.rjust(SEQUENCE_DIGITS, '0')}"


def epoch_floor(epoch: int) -> str:
    """Give the text that every version of this epoch or a later one is equal to or greater than, and no earlier one."""
    return f"{epoch:04d}#"


def first_change(epoch: int) -> str:
    """Give the text below every version of the stream in this epoch, and above those of its exports."""
    return f"{epoch:04d}#1"


class EpochStart(msgspec.Struct, frozen=True):
    """From this second on, events belong to this epoch (see `docs/architecture.md`, backfill)."""

    epoch: int
    starts_at: int
    """Unix seconds."""


def epoch_at(starts: tuple[EpochStart, ...], changed_at: float) -> int:
    """Find the epoch of an event by the event's own time, so that a retry finds the same one."""
    return max((start.epoch for start in starts if changed_at >= start.starts_at), default=0)


def list_carried(starts: Iterable[EpochStart], version_min: str, version_max: str) -> tuple[EpochStart, ...]:
    """List the epochs of which some versions may be.

    Args:
        starts: the epochs by which they were stamped.
        version_min: the least of them; empty where there is none.
        version_max: the greatest of them.
    """
    if not version_min:
        return ()
    first, last = find_epoch(version_min), find_epoch(version_max)
    return tuple(start for start in starts if first <= start.epoch <= last)


def write_epochs(starts: Iterable[EpochStart]) -> str:
    """Write epochs as text: `1@1790000000 2@1790009000`, each with the Unix second from which it is in force."""
    return " ".join(f"{start.epoch:d}@{start.starts_at:d}" for start in starts)


def parse_epochs(text: str) -> tuple[EpochStart, ...]:
    """Parse epochs as `write_epochs` writes them.

    Raises:
        ValueError: the text is something else.
    """
    pairs = (each.partition("@") for each in text.split())
    return tuple(EpochStart(int(epoch), int(starts_at)) for epoch, _, starts_at in pairs)
