"""Events of DynamoDB Streams as frames of text columns, and the records that cannot be converted as rejects. Pure.

Every record goes one of two ways to the same row: the native pass, which takes what it can decide exactly, or the
reference, which takes everything and defines what is right.

Event shape: AWS Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB".
"""

from __future__ import annotations

import hashlib
import json
import re
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import orjson
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.decode.event import Tally, cut_name, has_label, name_record, parse_record, parse_records, write_record
from fastetl.decode.general import GeneralDecoder, Row
from fastetl.decode.kinesis import Unwrapped, unwrap
from fastetl.decode.native import LinesOf, NativePass, NativeRows, load_library
from fastetl.decode.other_input import describe_other_input
from fastetl.errors import EventError, FastetlError
from fastetl.model import MAX_DRIFT, Reject
from fastetl.versions import EpochStart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from fastetl.config import Pipeline

UNEXPECTED = (Exception, pl.exceptions.PanicException)
"""What the native pass and Polars may raise; a panic is no `Exception`."""

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
    decoded_native: int
    decoded_general: int
    """Records that were left to the reference, since the native pass does not decide everything."""
    changed_min: str
    changed_max: str
    """Bounds of `_changed_at`; empty without rows."""
    version_min: str
    version_max: str
    native_error: str = ""
    """Why the native pass failed, by type and place, so that the reference decoded everything; empty as a rule."""
    ties: int = 0
    """Of Kinesis: changes of one item in the same microsecond, whose order is not known."""
    passed_over: dict[str, int] = {}
    """Of Kinesis: records of other tables, by table; they are not among those received."""
    reject_positions: frozenset[int] = frozenset()
    """Where the rejects were among the records."""

    @property
    def row_positions(self) -> list[int]:
        """Where the rows' records were among those received."""
        return [position for position in range(self.received) if position not in self.reject_positions]

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
    """Sum what did not fit the columns, as the ledger keeps it.

    Args:
        ignored: counts by attribute.
        misfits: counts by column and reason.
        rejects: counts by column and reason.

    Returns:
        Counts by `ignored/<attribute>`, `misfit/<column>/<reason>` and `reject/<column>/<reason>`.
    """
    drift: Counter[str] = Counter()
    for name, count in ignored.items():
        drift[f"ignored/{cut_name(name)}"] += count
    drift.update({f"misfit/{column}/{reason}": count for (column, reason), count in misfits.items()})
    drift.update({f"reject/{column}/{reason}": count for (column, reason), count in rejects.items()})
    return dict(sorted(drift.items(), key=lambda each: (-each[1], each[0]))[:MAX_DRIFT])


def parse_source_arn(
    event: bytes | bytearray | dict[str, Any], is_known: Callable[[str], bool] = lambda _: True
) -> str:
    """Find the stream that an event comes from, without decoding it.

    Args:
        event: the JSON that Lambda hands over, or what it means.
        is_known: tells a stream that is read from any other: one odd record does not speak for the others.

    Returns:
        The first ARN that is known; the first of all where none is.

    Raises:
        EventError: no record says.
    """
    first = ""
    for arn in _find_arns(event):
        if is_known(arn):
            return arn
        first = first or arn
    if not first:
        what = describe_other_input(event)
        raise EventError(f"{what}; invoke the function through an event source mapping")
    return first


def _find_arns(event: bytes | bytearray | dict[str, Any]) -> Iterator[str]:
    if isinstance(event, dict):
        records = event.get("Records")
        every = records if isinstance(records, list) else []
        found = (record.get("eventSourceARN") for record in every if isinstance(record, dict))
        yield from (arn for arn in found if arn and isinstance(arn, str))
    else:
        # Inside an item this could only be an attribute's name, and an attribute's value is never plain text.
        yield from (match[1].decode(errors="replace") for match in _SOURCE_ARN.finditer(event))


class LineReader(Protocol):
    """Makes records of an export's lines."""

    @property
    def export(self) -> LinesOf:
        """What all lines share."""
        ...

    def read(self, line: bytes, number: int) -> dict[str, Any] | Reject:
        """Give the record that DynamoDB Streams would have sent; a reject where the line is none of an export.

        Args:
            line: of a data file.
            number: the line's number in its data file.

        Returns:
            The record, as an event has it; or the reject.
        """
        ...


class Decoder:
    """Decodes one pipeline's events, and lines of its table's exports."""

    def __init__(self, pipeline: Pipeline, *, is_native: bool = True, takes_nameless: bool = True) -> None:
        """Describe a decoder of one pipeline's events.

        Args:
            pipeline: its columns and policies.
            is_native: whether the native pass may be used; the reference alone gives the same.
            takes_nameless: whether records of a Kinesis stream that name no table are this pipeline's rejects.
        """
        self._pipeline = pipeline
        self._takes_nameless = takes_nameless
        self._general = GeneralDecoder(pipeline)
        extra = [pipeline.extra_column] if pipeline.undeclared == "extra" else []
        system = [name for name, _ in SYSTEM_COLUMNS if name != "_file"]
        self._system = len(system)
        self._names = [*system, "_file", *(column.name for column in pipeline.columns), *extra]
        self._native, self.native_missing = _build_native(pipeline) if is_native else (None, "")
        """The pass, or None and why there is none."""

    def decode(self, event: bytes | bytearray | dict[str, Any], epochs: tuple[EpochStart, ...] = ()) -> Changes:
        """Convert an event, whole, as Lambda's own bytes or as a dict.

        Args:
            event: the JSON that Lambda hands over, or what it means.
            epochs: by which changes are stamped.

        Returns:
            A frame with a row for each record that fits, every column as the text that COPY reads; and what did not
            fit.

        Raises:
            EventError: it is not an event of one stream.
            MisfitError: a value does not fit a column whose policy is `fail`.
        """
        if self._pipeline.source == "kinesis":
            own = self._unwrap(event)
            changes = self._decode(own.event, epochs) if own.event["Records"] else self._nothing(event)
            return msgspec.structs.replace(changes, ties=own.ties, passed_over=own.passed_over)
        return self._decode(event, epochs)

    def write_records(self, event: bytes | bytearray | dict[str, Any], positions: Iterable[int]) -> list[str]:
        """Write records of an event as rejects keep them, by their positions among those that `decode` received.

        Args:
            event: that `decode` was given.
            positions: of the records, from 0 on.
        """
        records = parse_records(self._unwrap(event).event if self._pipeline.source == "kinesis" else event)
        return [write_record(records[position]) for position in positions]

    def _unwrap(self, event: bytes | bytearray | dict[str, Any]) -> Unwrapped:
        content = event if isinstance(event, dict) else bytes(event)
        return unwrap(content, self._pipeline.table, takes_nameless=self._takes_nameless)

    def _nothing(self, event: bytes | bytearray | dict[str, Any]) -> Changes:
        return self._complete(None, _Left((), self._general, "", ()), parse_source_arn(event, self._knows))

    def _decode(self, event: bytes | bytearray | dict[str, Any], epochs: tuple[EpochStart, ...]) -> Changes:
        content = _to_bytes(event)
        native_error = ""
        changes = None
        if self._native and content is not None:
            try:
                changes = self._decode_native(self._native, content, epochs)
            except FastetlError:
                raise
            except UNEXPECTED as error:  # whatever it is, the reference takes the event
                native_error = _describe(error)
        if changes is None:
            changes = self.decode_each(event if content is None else content, epochs)
        return msgspec.structs.replace(changes, native_error=native_error)

    def decode_each(self, event: bytes | bytearray | dict[str, Any], epochs: tuple[EpochStart, ...] = ()) -> Changes:
        """Decode an event by the reference alone, record by record; the native pass has to give the same.

        Args:
            event: the JSON that Lambda hands over, or what it means.
            epochs: by which changes are stamped.

        Raises:
            EventError, MisfitError: as `decode` does.
        """
        stream_arn = parse_source_arn(event, self._knows)
        records = enumerate(parse_records(event))
        return self._complete(None, _Left(records, self._general, stream_arn, epochs), stream_arn)

    def decode_lines(
        self, text: bytes, reader: LineReader, first_line: int, epochs: tuple[EpochStart, ...], file_id: str
    ) -> Changes:
        """Convert lines of an export's data file.

        Args:
            text: whole lines, with line feeds between them.
            reader: knows the export, and makes records of the lines that the native pass leaves.
            first_line: the first one's number in the file, from 0.
            epochs: the pipeline's, as HEAD has them.
            file_id: of the file that they go to.

        Raises:
            MisfitError: a value does not fit a column whose policy is `fail`.
        """
        native_error = ""
        if self._native:
            try:
                rows = self._native.decode_lines(text, reader.export, first_line, epochs)
                lines = ((position, rows.text(position)) for position in rows.left)
                return self._complete_lines(rows, lines, reader, first_line, epochs, file_id)
            except FastetlError:
                raise
            except UNEXPECTED as error:
                native_error = _describe(error)
        numbered = enumerate(text.removesuffix(b"\n").split(b"\n"))
        changes = self._complete_lines(None, numbered, reader, first_line, epochs, file_id)
        return msgspec.structs.replace(changes, native_error=native_error)

    def write_lines(self, text: bytes, reader: LineReader, first_line: int, positions: Iterable[int]) -> list[str]:
        """Write lines of an export as rejects keep their records; the arguments are those of `decode_lines`.

        Args:
            text: lines of a data file.
            reader: of the export's format.
            first_line: the number of the text's first line.
            positions: of the lines, from 0 on.
        """
        lines = text.removesuffix(b"\n").split(b"\n")
        records = (reader.read(lines[position], first_line + position) for position in positions)
        return [record.record if isinstance(record, Reject) else write_record(record) for record in records]

    def _knows(self, stream_arn: str) -> bool:
        return self._pipeline.reads(stream_arn) and has_label(stream_arn)

    def _decode_native(self, native: NativePass, event: bytes, epochs: tuple[EpochStart, ...]) -> Changes | None:
        stream_arn = parse_source_arn(event, self._knows)
        if not has_label(stream_arn):
            return None
        rows = native.decode(event, stream_arn, epochs)
        if rows is None:
            return None
        records = ((position, parse_record(rows.text(position))) for position in rows.left)
        return self._complete(rows, _Left(records, self._general, stream_arn, epochs, rows.ignored), stream_arn)

    def _complete_lines(
        self, rows: NativeRows | None, lines: Iterable[tuple[int, bytes]], reader: LineReader, first_line: int,
        epochs: tuple[EpochStart, ...], file_id: str,
    ) -> Changes:  # fmt: skip
        records = ((position, reader.read(line, first_line + position)) for position, line in lines)
        stream_arn = reader.export.stream_arn
        left = _Left(records, self._general, stream_arn, epochs, rows.ignored if rows else None)
        return self._complete(rows, left, stream_arn, file_id)

    def _complete(self, rows: NativeRows | None, left: _Left, stream_arn: str, file_id: str = "") -> Changes:
        """Put the rows of both ways together, in the event's order."""
        file_id = file_id or name_file(stream_arn, rows, left.names)
        frame = self._build_frame(rows, left.rows, file_id)
        versions, times = frame["_version"], frame["_changed_at"]
        native = rows.rows if rows else 0
        return Changes(
            frame=frame,
            file_id=file_id,
            stream_arn=stream_arn,
            received=native + len(left.names),
            rejects=tuple(left.rejects),
            reject_positions=frozenset(left.names.keys() - left.rows.keys()),
            misfits=left.tally.misfits,
            ignored=left.tally.ignored,
            decoded_native=native,
            decoded_general=len(left.names),
            changed_min=str(times.min() or ""),
            changed_max=str(times.max() or ""),
            version_min=str(versions.min() or ""),
            version_max=str(versions.max() or ""),
        )

    def _build_frame(self, native: NativeRows | None, general: dict[int, Row], file_id: str) -> pl.DataFrame:
        if native and not general:
            return native.frame(self._names, file_id)
        whole = ((*row[: self._system], file_id, *row[self._system :]) for row in general.values())
        columns = list(zip(*whole, strict=True)) or [()] * len(self._names)
        frame = pl.DataFrame(
            [pl.Series(name, values, dtype=pl.String) for name, values in zip(self._names, columns, strict=True)]
        )
        if not (native and native.rows):
            return frame
        order = pl.Series(values=[*native.positions, *general]).arg_sort()
        return pl.concat([native.frame(self._names, file_id), frame])[order]


class _Left:
    """Records that the reference decodes: all of an event, or those that the native pass left."""

    def __init__(
        self, records: Iterable[tuple[int, Any]], general: GeneralDecoder, stream_arn: str,
        epochs: tuple[EpochStart, ...], ignored: dict[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.rows: dict[int, Row] = {}
        self.rejects: list[Reject] = []
        self.names: dict[int, str] = {}
        """What each adds to the file's name, by position."""
        self.tally = Tally(ignored)
        for position, record in records:
            made = record if isinstance(record, Reject) else general.decode(record, stream_arn, epochs, self.tally)
            self.names[position] = name_record(record) if record is not made else made.event_id
            if isinstance(made, Reject):
                self.rejects.append(made)
            else:
                self.rows[position] = made


def _build_native(pipeline: Pipeline) -> tuple[NativePass | None, str]:
    library = load_library()
    if isinstance(library, str):
        return None, library
    try:
        return NativePass(library, pipeline), ""
    except Exception as error:  # noqa: BLE001 - a pipeline that the pass cannot serve is served by the reference
        return None, _describe(error)


def _to_bytes(event: bytes | bytearray | dict[str, Any]) -> bytes | None:
    """Give an event's JSON; None where it is a dict that no JSON can say."""
    if not isinstance(event, dict):
        return bytes(event)
    try:
        # Written out and read again, a dict costs a fraction of being looked through.
        return orjson.dumps(event)
    except TypeError:  # lone surrogates, deep nesting, or what no JSON has
        pass
    try:
        return json.dumps(event, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return None


def _describe(error: BaseException) -> str:
    """Say what failed and where; its message may quote an item."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def name_file(stream_arn: str, rows: NativeRows | None, left: dict[int, str]) -> str:
    """Name an event's file by what is in it, so that a repeated delivery has the same name."""
    digest = hashlib.blake2b(stream_arn.encode(), digest_size=16)
    if rows and not left:
        digest.update(rows.ids)
        return digest.hexdigest()
    ids = dict(left)
    if rows and rows.rows:
        ids.update(zip(rows.positions, rows.ids.decode().split("\n")[1:], strict=True))
    digest.update("".join(f"\n{ids[position]}" for position in range(len(ids))).encode())
    return digest.hexdigest()
