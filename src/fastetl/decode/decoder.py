"""Events of DynamoDB Streams as frames of text columns, and the records that cannot be converted as rejects. Pure.

Every record goes one of two ways to the same row: the native pass, which takes what it can decide exactly, or the
reference, which takes everything and defines what is right.

Event shape: AWS Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB".
"""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.config import name_list
from fastetl.decode.changes import Changes
from fastetl.decode.event import has_label, parse_record, parse_records, write_record
from fastetl.decode.general import GeneralDecoder, Row
from fastetl.decode.kinesis import Unwrapped, unwrap
from fastetl.decode.left import Left, LineReader, name_file
from fastetl.decode.native import NativePass, NativeRows
from fastetl.decode.shared_object import load_library
from fastetl.decode.source_arn import parse_source_arn
from fastetl.errors import FastetlError
from fastetl.model import Reject
from fastetl.versions import EpochStart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastetl.config import Pipeline

UNEXPECTED = (Exception, pl.exceptions.PanicException)
"""What the native pass and Polars may raise; a panic is no `Exception`."""


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
        lists = map(name_list, pipeline.lists)
        self._names = [*system, "_file", *(column.name for column in pipeline.columns), *lists, *extra]
        self._native, self.native_missing = build_native(pipeline) if is_native else (None, "")
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
        return self._complete(None, Left((), self._general, "", ()), parse_source_arn(event, self._knows))

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
        return self._complete(None, Left(records, self._general, stream_arn, epochs), stream_arn)

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
        return self._complete(rows, Left(records, self._general, stream_arn, epochs, rows.ignored), stream_arn)

    def _complete_lines(
        self, rows: NativeRows | None, lines: Iterable[tuple[int, bytes]], reader: LineReader, first_line: int,
        epochs: tuple[EpochStart, ...], file_id: str,
    ) -> Changes:  # fmt: skip
        records = ((position, reader.read(line, first_line + position)) for position, line in lines)
        stream_arn = reader.export.stream_arn
        left = Left(records, self._general, stream_arn, epochs, rows.ignored if rows else None)
        return self._complete(rows, left, stream_arn, file_id)

    def _complete(self, rows: NativeRows | None, left: Left, stream_arn: str, file_id: str = "") -> Changes:
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


def build_native(pipeline: Pipeline) -> tuple[NativePass | None, str]:
    """Build the native pass of a pipeline's columns; None and why, where there is none."""
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
