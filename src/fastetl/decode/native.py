"""Decode an event's bytes into columns of text in one pass, by the shared object that `native/` is compiled to.

It decides only what it can decide exactly. Each record that holds anything else is named by its position, and decoded
by the reference (`general`), which defines what is right. What rows point into (the event, an arena of the pass) stays
until no frame has them any more.

Called with ctypes through a plain C ABI, so that one object per processor serves every version of Python; frames are
handed over by the Arrow PyCapsule interface, without a copy.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_int64,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
)
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from fastetl.versions import SEQUENCE_DIGITS, EpochStart, build_version, epoch_at

if TYPE_CHECKING:
    from fastetl.columns import Column
    from fastetl.config import Pipeline

VERSION = 3
"""Of what the shared object offers, as `native/src/calls.zig` has it."""

_MACHINES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_NEEDED_FLAGS = {"x86_64": {"avx2", "bmi2"}}
"""Of a processor (`native/build.py`); Lambda's x86_64 has them (AWS Lambda Developer Guide, "Vectorization")."""

_KINDS = (
    "VARCHAR", "CHAR", "INTEGER", "DECIMAL", "REAL", "DOUBLE PRECISION", "BOOLEAN", "VARBYTE", "DATE", "TIMESTAMP",
    "TIMESTAMPTZ", "epoch DATE", "epoch TIMESTAMP", "epoch TIMESTAMPTZ", "TIME",
    "TIMETZ", "SUPER",
)  # fmt: skip
"""As `plan.zig` numbers them; what comes behind is unknown to it."""
_INTEGER_BITS = {"SMALLINT": 15, "INTEGER": 31, "BIGINT": 63}
_UNIT_MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_UNDECLARED = ("ignore", "extra", "reject")
_OLD_IMAGES = ("ignored", "kept", "needed")

_GOOD, _BROKEN = 0, 1
_NO_JSON = 2**64 - 1


class NativeError(Exception):
    """The native pass failed; the message holds no item content."""


class _Bytes(Structure):
    _fields_ = (("ptr", c_void_p), ("len", c_uint64))


class _Step(Structure):
    _fields_ = (("name", _Bytes), ("position", c_uint64))


class _Column(Structure):
    _fields_ = (
        ("path", POINTER(_Step)), ("steps", c_uint32), ("kind", c_uint32), ("length", c_uint32),
        ("precision", c_uint32), ("scale", c_uint32),
    )  # fmt: skip


class _VersionStart(Structure):
    _fields_ = (("from", c_double), ("prefix", _Bytes))


class _Export(Structure):
    _fields_ = (("id_prefix", _Bytes), ("first_line", c_uint64), ("seconds", _Bytes), ("incremental", c_uint32))


class _Left(Structure):
    _fields_ = (("position", c_uint32), ("start", c_uint32), ("end", c_uint32))


class _Ignored(Structure):
    _fields_ = (("name", c_void_p), ("length", c_uint64), ("count", c_uint64))


class _Result(Structure):
    _fields_ = (
        ("status", c_uint32), ("received", c_uint32), ("rows", c_uint32), ("left_count", c_uint32),
        ("ignored_count", c_uint64), ("ids_length", c_uint64), ("left", POINTER(_Left)),
        ("positions", POINTER(c_uint32)), ("ids", c_void_p), ("ignored", POINTER(_Ignored)),
    )  # fmt: skip


class _Schema(Structure):
    _fields_ = (
        ("format", c_char_p), ("name", c_char_p), ("metadata", c_void_p), ("flags", c_int64), ("n_children", c_int64),
        ("children", c_void_p), ("dictionary", c_void_p), ("release", ctypes.CFUNCTYPE(None, c_void_p)),
        ("private_data", c_void_p),
    )  # fmt: skip


class _Array(Structure):
    _fields_ = (
        ("length", c_int64), ("null_count", c_int64), ("offset", c_int64), ("n_buffers", c_int64),
        ("n_children", c_int64), ("buffers", c_void_p), ("children", c_void_p), ("dictionary", c_void_p),
        ("release", ctypes.CFUNCTYPE(None, c_void_p)), ("private_data", c_void_p),
    )  # fmt: skip


class LinesOf(msgspec.Struct, frozen=True):
    """What all lines of an export's data file share."""

    id_prefix: str
    """Of their events' ids; a colon and the line's number follow."""
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
        result = self._result = _Result.from_address(address)
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
        self._array, self._schema = _Array(), _Schema()
        file = _Text(file_id.encode())
        if not library.fastetl_describe(address, file.bytes, byref(self._array), byref(self._schema)):
            raise MemoryError

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return _capsule(self._schema, b"arrow_schema"), _capsule(self._array, b"arrow_array")

    def __del__(self) -> None:
        for described in (self._array, self._schema):
            if described.release:
                described.release(ctypes.addressof(described))


class _Text:
    """Bytes, and where they are, for as long as this is there."""

    def __init__(self, content: bytes | bytearray) -> None:
        self._content = content
        if isinstance(content, bytes):
            address = ctypes.cast(c_char_p(content), c_void_p).value
        else:
            self._view = (ctypes.c_char * len(content)).from_buffer(content)
            address = ctypes.addressof(self._view)
        self.bytes = _Bytes(address, len(content))


_alive: dict[int, tuple[ctypes.PyDLL, _Text]] = {}
"""Events whose rows may still be used, with the text that the rows point into. Dropping a frame, in any thread, only
counts down; texts whose count is 0 are freed before the next event."""


def free_rows(*, trim: bool = False) -> int:
    """Free what no frame needs any more; give how many events are left that one needs.

    Args:
        trim: also give back the memory that is kept for the next event. Mapping it again takes some time, keeping it
            adds to what the process has while the next event comes in.
    """
    for address, (library, _) in list(_alive.items()):
        if library.fastetl_free(address):
            del _alive[address]
        if trim:
            library.fastetl_trim()
    return len(_alive)


class NativePass:
    """The pass over one pipeline's events."""

    def __init__(self, library: ctypes.PyDLL, pipeline: Pipeline) -> None:
        self._library = library
        keep: list[Any] = []
        keys = [_Text(name.encode()) for name in pipeline.keys]
        columns = [_describe_column(column, keep) for column in pipeline.columns]
        null_marker = _Text(pipeline.file.null_marker.encode())
        old_images = "needed" if pipeline.kept_deletes else "kept" if pipeline.keeps_old_images else "ignored"
        self._plan = library.fastetl_plan(
            (_Bytes * len(keys))(*(key.bytes for key in keys)), len(keys),
            (_Column * len(columns))(*columns), len(columns),
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
        arn = _Text(stream_arn.encode())
        starts, count, _ = _version_starts(epochs, stream_arn.rpartition("/")[2])

        def read(content: _Text) -> int | None:
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
        prefix, seconds = _Text(lines.id_prefix.encode()), _Text(b"%d" % lines.exported_at)
        source = _Export(prefix.bytes, first_line, seconds.bytes, lines.incremental)
        starts, count, _ = _version_starts(epochs, lines.stream_arn.rpartition("/")[2])

        def read(content: _Text) -> int | None:
            address: int | None = self._library.fastetl_decode_lines(
                self._plan, content.bytes, byref(source), starts, count
            )
            return address

        rows = self._run(read, text)
        if rows is None:
            raise NativeError("lines as a whole refused")
        return rows

    def _run(self, read: Any, content: bytes | bytearray) -> NativeRows | None:
        """Run the pass; None where the content is not spelled as it has to be."""
        free_rows()
        text = _Text(content)
        address = read(text)
        if not address:
            raise MemoryError
        _alive[address] = self._library, text
        status = _Result.from_address(address).status
        if status == _GOOD:
            return NativeRows(self._library, address, content)
        free_rows()
        if status == _BROKEN:
            return None
        raise MemoryError

    def _compact(self, event: bytes) -> bytearray | None:
        """Write an event without blanks between its tokens; None where that is not possible."""
        compacted = bytearray(len(event))
        source, target = _Text(event), _Text(compacted)
        length = self._library.fastetl_compact(source.bytes, target.bytes.ptr)
        if length == _NO_JSON:
            return None
        del target  # which keeps it from becoming shorter
        del compacted[length:]
        return compacted


@cache
def load_library() -> ctypes.PyDLL | str:
    """Load this processor's shared object; where that cannot be, say why."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    path = find_object(machine)
    if not path.exists():
        return f"{path.name} is not installed"
    if missing := _NEEDED_FLAGS.get(machine, set()) - _processor_flags():
        return f"this processor lacks {', '.join(sorted(missing))}"
    try:
        # It keeps Python's lock: a call takes milliseconds, and plans are used by one thread at a time.
        library = ctypes.PyDLL(str(path))
        _declare(library)
    except (OSError, AttributeError) as error:
        return f"{path.name} cannot be loaded: {type(error).__name__}"
    if library.fastetl_version() != VERSION:
        return f"{path.name} is of another version"
    return library


def find_object(machine: str) -> Path:
    """Give where the shared object of a processor is to be, as `native/build.py` names it."""
    return Path(__file__).with_name(f"native.{machine}.so")


def _processor_flags() -> set[str]:
    """Read what this processor can; everything where the system does not say."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        flags = ""
    return set(flags.split()) or {flag for flags in _NEEDED_FLAGS.values() for flag in flags}


def _declare(library: ctypes.PyDLL) -> None:
    starts = POINTER(_VersionStart)
    library.fastetl_plan.argtypes = [
        POINTER(_Bytes), c_uint32, POINTER(_Column), c_uint32, _Bytes, c_uint32, c_uint32,
    ]  # fmt: skip
    library.fastetl_plan.restype = c_void_p
    library.fastetl_plan_free.argtypes = [c_void_p]
    library.fastetl_decode.argtypes = [c_void_p, _Bytes, _Bytes, starts, c_uint32]
    library.fastetl_decode.restype = c_void_p
    library.fastetl_decode_lines.argtypes = [c_void_p, _Bytes, POINTER(_Export), starts, c_uint32]
    library.fastetl_decode_lines.restype = c_void_p
    library.fastetl_describe.argtypes = [c_void_p, _Bytes, POINTER(_Array), POINTER(_Schema)]
    library.fastetl_free.argtypes = [c_void_p]
    library.fastetl_compact.argtypes = [_Bytes, c_void_p]
    library.fastetl_compact.restype = c_uint64
    library.fastetl_csv.argtypes = [c_void_p, c_uint8, c_char_p, c_uint64]
    library.fastetl_csv.restype = c_void_p
    library.fastetl_csv_write.argtypes = [c_void_p, c_void_p, c_uint64]
    library.fastetl_csv_write.restype = c_uint64
    library.fastetl_csv_room.argtypes = [c_void_p]
    library.fastetl_csv_room.restype = c_uint64
    library.fastetl_csv_longest.argtypes = [c_void_p]
    library.fastetl_csv_longest.restype = c_uint64
    library.fastetl_csv_free.argtypes = [c_void_p]


def _describe_column(column: Column, keep: list[Any]) -> _Column:
    kind = column.type
    steps = (_Step * len(column.path))()
    for step, part in zip(steps, column.path, strict=True):
        if isinstance(part, int):
            step.position = part
        else:
            keep.append(text := _Text(part.encode()))
            step.name = text.bytes
    keep.append(steps)
    name, length = kind.kind if kind.kind not in _INTEGER_BITS else "INTEGER", kind.length
    if kind.kind in _INTEGER_BITS:
        length = _INTEGER_BITS[kind.kind]
    elif column.time_format in _UNIT_MICROSECONDS:
        name, length = f"epoch {kind.kind}", _UNIT_MICROSECONDS[column.time_format]
    code = _KINDS.index(name) if name in _KINDS else len(_KINDS)
    return _Column(steps, len(steps), code, length, kind.precision, kind.scale)


@lru_cache(maxsize=64)
def _version_starts(epochs: tuple[EpochStart, ...], label: str) -> tuple[Any, int, object]:
    """Build the table of epochs for the pass: when each begins, and how its versions begin.

    Returns:
        The table, its length, and the texts, which live as long as somebody holds them.
    """
    moments = sorted({float("-inf"), *(float(each.starts_at) for each in epochs)})
    versions = [build_version(epoch_at(epochs, moment), label, "") for moment in moments]
    texts = [_Text(version[:-SEQUENCE_DIGITS].encode()) for version in versions]
    pairs = zip(moments, texts, strict=True)
    starts = (_VersionStart * len(moments))(*(_VersionStart(at, text.bytes) for at, text in pairs))
    return starts, len(moments), texts


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = py_object, [c_void_p, c_char_p, c_void_p]


def _capsule(described: Structure, name: bytes) -> object:
    return _new_capsule(ctypes.addressof(described), name, None)
