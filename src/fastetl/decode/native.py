"""Decode an event's bytes into columns of text in one pass, by the shared object that `native/` is compiled to.

It decides only what it can decide exactly. Each record that holds anything else is named by its position, and decoded
by the reference (`general`), which defines what is right. What rows point into (the event, an arena of the pass) stays
until no frame has them any more.

Frames are handed over by the Arrow PyCapsule interface, without a copy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from fastetl.decode.shared_object import (
    ArrowArray,
    ArrowSchema,
    Bytes,
    ColumnPlan,
    ExportLines,
    Result,
    Step,
    Text,
    VersionStart,
    new_capsule,
)
from fastetl.versions import SEQUENCE_DIGITS, EpochStart, build_version, epoch_at, find_label

if TYPE_CHECKING:
    from fastetl.columns import Column
    from fastetl.config import Pipeline

_KINDS = (
    "VARCHAR", "CHAR", "INTEGER", "DECIMAL", "REAL", "DOUBLE PRECISION", "BOOLEAN", "VARBYTE", "DATE", "TIMESTAMP",
    "TIMESTAMPTZ", "epoch DATE", "epoch TIMESTAMP", "epoch TIMESTAMPTZ", "TIME",
    "TIMETZ", "SUPER", "spelled",
)  # fmt: skip
"""The types in the order of their numbers in `plan.zig`; it does not know any other."""
_INTEGER_BITS = {"SMALLINT": 15, "INTEGER": 31, "BIGINT": 63}
_UNIT_MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_UNDECLARED = ("ignore", "extra", "reject")
_OLD_IMAGES = ("ignored", "kept", "needed")

_GOOD, _BROKEN = 0, 1
_NO_JSON = 2**64 - 1


class NativeError(Exception):
    """The native pass failed; the message holds no item content."""


class LinesOf(msgspec.Struct, frozen=True):
    """What all lines of an export's data file share."""

    id_prefix: str
    """The beginning of their events' ids; a colon and the line's number follow."""
    stream_arn: str
    exported_at: int
    """Unix seconds."""
    incremental: bool


class NativeRows:
    """What the pass made of one event: rows, and the records that it left."""

    def __init__(self, library: ctypes.PyDLL, address: int, content: bytes | bytearray) -> None:
        self._library = library
        self._address = address
        self._content = content
        result = self._result = Result.from_address(address)
        self.received: int = result.received
        self.rows: int = result.rows
        self.left: dict[int, tuple[int, int]] = {
            each.position: (each.start, each.end) for each in result.left[: result.left_count]
        }
        """Where each record that is left stands in the content, by its position."""
        self.ignored: dict[str, int] = {
            ctypes.string_at(each.name, each.length).decode(): each.count
            for each in result.ignored[: result.ignored_count]
        }
        """Undeclared attributes of the rows, by name."""

    @property
    def positions(self) -> list[int]:
        """The rows' positions in the event."""
        positions: list[int] = self._result.positions[: self.rows]
        return positions

    @property
    def ids(self) -> bytes:
        """The rows' event ids, a line feed before each."""
        return ctypes.string_at(self._result.ids, self._result.ids_length) if self.rows else b""

    def text(self, position: int) -> bytes:
        """Give the JSON of a record that is left."""
        start, end = self.left[position]
        return bytes(self._content[start:end])

    def frame(self, names: Sequence[str], file_id: str) -> pl.DataFrame:
        """Give the rows as columns of text with these names; `_file` is the seventh."""
        frame = pl.DataFrame(_Described(self._library, self._address, file_id))
        frame.columns = list(names)
        return frame


class _Described:
    """Rows by the Arrow PyCapsule interface; what is imported has no `release` any more."""

    def __init__(self, library: ctypes.PyDLL, address: int, file_id: str) -> None:
        self._array, self._schema = ArrowArray(), ArrowSchema()
        file = Text(file_id.encode())
        if not library.fastetl_describe(address, file.bytes, byref(self._array), byref(self._schema)):
            raise MemoryError

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return new_capsule(self._schema, b"arrow_schema"), new_capsule(self._array, b"arrow_array")

    def __del__(self) -> None:
        for described in (self._array, self._schema):
            if described.release:
                described.release(ctypes.addressof(described))


_alive: dict[int, tuple[ctypes.PyDLL, Text]] = {}
"""Events whose rows may still be used, with the text that the rows point into. Dropping a frame, in any thread, only
counts down; texts whose count is 0 are freed before the next event."""


def free_rows() -> int:
    """Free what no frame needs any more; give how many events are left that one needs."""
    for address, (library, _) in list(_alive.items()):
        if library.fastetl_free(address):
            del _alive[address]
    return len(_alive)


class NativePass:
    """The pass over one pipeline's events."""

    def __init__(self, library: ctypes.PyDLL, pipeline: Pipeline) -> None:
        self._library = library
        keep: list[Any] = []
        keys = [Text(name.encode()) for name in pipeline.keys]
        columns = [_describe_column(column, keep) for column in pipeline.columns]
        columns += [_describe_list(path, keep) for path in pipeline.lists]
        null_marker = Text(pipeline.file.null_marker.encode())
        old_images = "needed" if pipeline.kept_deletes else "kept" if pipeline.keeps_old_images else "ignored"
        self._plan = library.fastetl_plan(
            (Bytes * len(keys))(*(key.bytes for key in keys)), len(keys),
            (ColumnPlan * len(columns))(*columns), len(columns),
            null_marker.bytes, _UNDECLARED.index(pipeline.undeclared),
            _OLD_IMAGES.index(old_images),
        )  # fmt: skip
        if not self._plan:
            raise NativeError("no plan for this pipeline")

    def __del__(self) -> None:
        if getattr(self, "_plan", None):
            self._library.fastetl_plan_free(self._plan)

    def decode(self, event: bytes, stream_arn: str, epochs: tuple[EpochStart, ...]) -> NativeRows | None:
        """Read an event; None where it is not spelled as Lambda spells one, with blanks between the tokens at most.

        Raises:
            MemoryError: there is no more.
        """
        arn = Text(stream_arn.encode())
        starts, count, _ = _version_starts(epochs, find_label(stream_arn))

        def read(content: Text) -> int | None:
            address: int | None = self._library.fastetl_decode(self._plan, content.bytes, arn.bytes, starts, count)
            return address

        rows = self._run(read, event)
        if rows is None and (compacted := self._compact(event)):
            rows = self._run(read, compacted)
        return rows

    def decode_lines(self, text: bytes, lines: LinesOf, first_line: int, epochs: tuple[EpochStart, ...]) -> NativeRows:
        """Read lines of an export's data file.

        Raises:
            MemoryError: there is no more.
        """
        prefix, seconds = Text(lines.id_prefix.encode()), Text(b"%d" % lines.exported_at)
        source = ExportLines(prefix.bytes, first_line, seconds.bytes, lines.incremental)
        starts, count, _ = _version_starts(epochs, find_label(lines.stream_arn))

        def read(content: Text) -> int | None:
            address: int | None = self._library.fastetl_decode_lines(
                self._plan, content.bytes, byref(source), starts, count
            )
            return address

        rows = self._run(read, text)
        if rows is None:
            raise NativeError("lines as a whole refused")
        return rows

    def decode_elements(self, text: bytes) -> NativeRows:
        """Read lists and maps, a line each as an event spells them, into rows of their elements.

        Of a row, `_event_id` is the element's position in a list and `_op` its name in a map; the other is null.

        Raises:
            MemoryError: there is no more.
        """

        def read(content: Text) -> int | None:
            address: int | None = self._library.fastetl_decode_elements(self._plan, content.bytes)
            return address

        rows = self._run(read, text)
        if rows is None:
            raise NativeError("lists as a whole refused")
        return rows

    def _run(self, read: Any, content: bytes | bytearray) -> NativeRows | None:
        """Run the pass; None where the content is not spelled as it has to be."""
        free_rows()
        text = Text(content)
        address = read(text)
        if not address:
            raise MemoryError
        _alive[address] = self._library, text
        status = Result.from_address(address).status
        if status == _GOOD:
            return NativeRows(self._library, address, content)
        free_rows()
        if status == _BROKEN:
            return None
        raise MemoryError

    def _compact(self, event: bytes) -> bytearray | None:
        """Write an event without blanks between its tokens; None where that is not possible."""
        compacted = bytearray(len(event))
        source, target = Text(event), Text(compacted)
        length = self._library.fastetl_compact(source.bytes, target.bytes.ptr)
        if length == _NO_JSON:
            return None
        del target  # which keeps it from becoming shorter
        del compacted[length:]
        return compacted


def _describe_column(column: Column, keep: list[Any]) -> ColumnPlan:
    kind = column.type
    name, length = kind.kind if kind.kind not in _INTEGER_BITS else "INTEGER", kind.length
    if kind.kind in _INTEGER_BITS:
        length = _INTEGER_BITS[kind.kind]
    elif column.time_format in _UNIT_MICROSECONDS:
        name, length = f"epoch {kind.kind}", _UNIT_MICROSECONDS[column.time_format]
    code = _KINDS.index(name) if name in _KINDS else len(_KINDS)
    steps = _describe_path(column.path, keep)
    return ColumnPlan(steps, len(steps), code, length, kind.precision, kind.scale)


def _describe_list(path: Sequence[str], keep: list[Any]) -> ColumnPlan:
    steps = _describe_path(path, keep)
    return ColumnPlan(steps, len(steps), _KINDS.index("spelled"))


def _describe_path(path: Sequence[str | int], keep: list[Any]) -> Any:
    steps = (Step * len(path))()
    for step, part in zip(steps, path, strict=True):
        if isinstance(part, int):
            step.position = part
        else:
            keep.append(text := Text(part.encode()))
            step.name = text.bytes
    keep.append(steps)
    return steps


@lru_cache(maxsize=64)
def _version_starts(epochs: tuple[EpochStart, ...], label: str) -> tuple[Any, int, object]:
    """Build the table of epochs for the pass: when each begins, and how its versions begin.

    Returns:
        The table, its length, and the texts, which live as long as somebody holds them.
    """
    moments = sorted({float("-inf"), *(float(each.starts_at) for each in epochs)})
    versions = [build_version(epoch_at(epochs, moment), label, "") for moment in moments]
    texts = [Text(version[:-SEQUENCE_DIGITS].encode()) for version in versions]
    pairs = zip(moments, texts, strict=True)
    starts = (VersionStart * len(moments))(*(VersionStart(at, text.bytes) for at, text in pairs))
    return starts, len(moments), texts
