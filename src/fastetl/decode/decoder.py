"""Events of DynamoDB Streams as frames of text columns, and the records that cannot be converted as rejects. Pure.

Every record goes one of two ways to the same row: typed decoding, which is fast where records are many and takes what
fits, or the general way, which takes everything and defines what is right.

Event shape: AWS Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB".
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.decode.event import Tally, name_record, parse_records
from fastetl.decode.fast.typed import TypedDecoder, TypedRows
from fastetl.decode.general import GeneralDecoder, Row
from fastetl.decode.kinesis import unwrap
from fastetl.errors import EventError
from fastetl.model import MAX_DRIFT, Reject
from fastetl.versions import EpochStart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastetl.config import Pipeline

LONGEST_NAME = 255
"""Characters of an attribute's name that the ledger keeps."""

SMALL_EVENT_BYTES = 50_000
"""Of fewer than about a hundred records each is looked at for itself: looking at columns has a price of its own."""

_SOURCE_ARN = re.compile(rb'"eventSourceARN"\s*:\s*"([^"\\]+)"')


class Changes(msgspec.Struct, frozen=True):
    """What one event holds."""

    frame: pl.DataFrame
    """A row per converted record, in the event's order; every column is text as COPY reads it, null is SQL NULL."""
    file_id: str
    """Names the event's file: a hash of the stream's ARN and the event ids in order."""
    stream_arn: str
    received: int
    """Records of the event: rows and rejects."""
    rejects: tuple[Reject, ...]
    misfits: dict[tuple[str, str], int]
    """Values that became NULL or were truncated, by column and reason."""
    ignored: dict[str, int]
    """Undeclared attributes that were left out, by name."""
    decoded_fast: int
    decoded_general: int
    """Records that were left to be decoded one by one, since something in them does not fit."""
    decoded_small: int
    """Records of an event that is too small for anything else."""
    changed_min: str
    changed_max: str
    """Bounds of `_changed_at`; empty without rows."""
    version_min: str
    version_max: str
    ties: int = 0
    """Of Kinesis: changes of one item in the same microsecond, whose order is not known."""

    @property
    def rejects_by_reason(self) -> dict[tuple[str, str], int]:
        """How many rejects, by column and reason."""
        return Counter((reject.column, reject.reason) for reject in self.rejects)

    @property
    def drift(self) -> dict[str, int]:
        """What did not fit the columns, as `FileItem.drift`."""
        return count_drift(self.ignored, self.misfits, self.rejects_by_reason)


def count_drift(
    ignored: Mapping[str, int], misfits: Mapping[tuple[str, str], int], rejects: Mapping[tuple[str, str], int]
) -> dict[str, int]:
    """Sum what did not fit the columns, as the ledger keeps it."""
    drift: Counter[str] = Counter()
    for name, count in ignored.items():
        # A name may be text that no UTF-8 has; the ledger would refuse it.
        drift[f"ignored/{name[:LONGEST_NAME].encode(errors='replace').decode()}"] += count
    drift.update({f"misfit/{column}/{reason}": count for (column, reason), count in misfits.items()})
    drift.update({f"reject/{column}/{reason}": count for (column, reason), count in rejects.items()})
    return dict(drift.most_common(MAX_DRIFT))


def parse_source_arn(event: bytes | bytearray | dict[str, Any]) -> str:
    """Find the stream that an event comes from, without decoding it.

    Raises:
        EventError: the event does not say.
    """
    if isinstance(event, dict):
        records = event.get("Records")
        first = records[0] if isinstance(records, list) and records else None
        arn = first.get("eventSourceARN") if isinstance(first, dict) else None
    else:
        # Inside an item this could only be an attribute's name, and an attribute's value is never plain text.
        match = _SOURCE_ARN.search(event)
        arn = match[1].decode(errors="replace") if match else None
    if not isinstance(arn, str):
        raise EventError("no record with an eventSourceARN; invoke the function through an event source mapping")
    return arn


class Decoder:
    """Decodes one pipeline's events."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._is_kinesis = pipeline.source == "kinesis"
        self._typed = TypedDecoder(pipeline)
        self._general = GeneralDecoder(pipeline)
        extra = [pipeline.extra_column] if pipeline.undeclared == "extra" else []
        system = [name for name, _ in SYSTEM_COLUMNS if name != "_file"]
        self._system = len(system)
        self._names = [*system, *(column.name for column in pipeline.columns), *extra]

    def decode(self, event: bytes | bytearray | dict[str, Any], epochs: tuple[EpochStart, ...] = ()) -> Changes:
        """Convert an event, whole, as Lambda's own bytes or as a dict: typed where it fits, else record by record.

        Raises:
            EventError: it is not an event of one stream.
            MisfitError: a value does not fit a column whose policy is `fail`.
        """
        ties = 0
        if self._is_kinesis:
            content, ties = unwrap(event if isinstance(event, dict) else bytes(event))
        elif isinstance(event, dict):
            try:
                # Written out and read again by type, a dict costs a fraction of being looked through.
                content = orjson.dumps(event)
            except TypeError:  # text that is no Unicode, or what no JSON has
                return self.decode_each(event, epochs)
        else:
            content = bytes(event)
        if len(content) < SMALL_EVENT_BYTES:
            changes = self.decode_each(content, epochs)
        else:
            stream_arn, tally = parse_source_arn(content), Tally()
            typed = self._typed.decode(content, stream_arn, epochs, tally)
            changes = self._convert(typed, stream_arn, epochs, tally)
        return msgspec.structs.replace(changes, ties=ties)

    def decode_each(self, event: bytes | dict[str, Any], epochs: tuple[EpochStart, ...] = ()) -> Changes:
        """Do the same record by record: what the other way is held against.

        Raises:
            EventError, MisfitError: as `decode` does.
        """
        stream_arn = parse_source_arn(event)
        typed = TypedRows(len(records := parse_records(event)))
        typed.left = dict(enumerate(records))
        changes = self._convert(typed, stream_arn, epochs, Tally())
        return msgspec.structs.replace(changes, decoded_general=0, decoded_small=len(records))

    def _convert(self, typed: TypedRows, stream_arn: str, epochs: tuple[EpochStart, ...], tally: Tally) -> Changes:
        rows: dict[int, Row] = {}
        rejects: list[Reject] = []
        event_ids = dict(zip(typed.positions, typed.event_ids, strict=True)) if typed.left else {}
        for position, record in typed.left.items():
            event_ids[position] = name_record(record)
            row = self._general.decode(record, stream_arn, epochs, tally)
            if isinstance(row, Reject):
                rejects.append(row)
            else:
                rows[position] = row
        in_order = [event_ids[position] for position in range(typed.received)] if typed.left else typed.event_ids
        file_id = build_file_id(stream_arn, in_order)
        frame = self._build_frame(typed, rows, file_id)
        versions, times = frame["_version"], frame["_changed_at"]
        return Changes(
            frame=frame,
            file_id=file_id,
            stream_arn=stream_arn,
            received=typed.received,
            rejects=tuple(rejects),
            misfits=tally.misfits,
            ignored=tally.ignored,
            decoded_fast=len(typed.positions),
            decoded_general=len(typed.left),
            decoded_small=0,
            changed_min=str(times.min() or ""),
            changed_max=str(times.max() or ""),
            version_min=str(versions.min() or ""),
            version_max=str(versions.max() or ""),
        )

    def _build_frame(self, typed: TypedRows, rows: dict[int, Row], file_id: str) -> pl.DataFrame:
        """Put the rows of both ways together, in the event's order."""
        columns = typed.columns
        if rows or not columns:
            values = zip(*rows.values(), strict=True) if rows else [()] * len(self._names)
            general = [pl.Series(values=each, dtype=pl.String) for each in values]
            order = pl.Series(values=[*typed.positions, *rows]).arg_sort()
            pairs = zip(columns, general, strict=True) if columns else ()
            columns = [pl.concat([fast, slow])[order] for fast, slow in pairs] or general
        named = [column.alias(name) for column, name in zip(columns, self._names, strict=True)]
        file_column = pl.Series("_file", [file_id], dtype=pl.String).new_from_index(0, len(columns[0]))
        return pl.DataFrame([*named[: self._system], file_column, *named[self._system :]])


def build_file_id(stream_arn: str, event_ids: Sequence[str]) -> str:
    """Name an event's file by what is in it, so that a repeated delivery has the same name."""
    return hashlib.blake2b("\n".join([stream_arn, *event_ids]).encode(), digest_size=16).hexdigest()
