"""The shared object that `native/` is compiled to: its structures, and how it is found and loaded.

It is called with ctypes through a plain C ABI, so that one object per processor serves every version of Python.
"""

from __future__ import annotations

import ctypes
import platform
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int64,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
)
from functools import cache
from pathlib import Path

VERSION = 5
"""The version of the functions that the shared object offers; `native/src/calls.zig` has the same number."""

_MACHINES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_NEEDED_FLAGS = {"x86_64": {"avx2", "bmi2"}}
"""What a processor needs (`native/build.py`); Lambda's x86_64 has it (AWS Lambda Developer Guide, "Vectorization")."""


class Bytes(Structure):
    """Where bytes are, and how many."""

    _fields_ = (("ptr", c_void_p), ("len", c_uint64))


class Step(Structure):
    """One step of a column's path: a map's key, or a list's position."""

    _fields_ = (("name", Bytes), ("position", c_uint64))


class ColumnPlan(Structure):
    """One column of the plan, as `plan.zig` has it."""

    _fields_ = (
        ("path", POINTER(Step)), ("steps", c_uint32), ("kind", c_uint32), ("length", c_uint32),
        ("precision", c_uint32), ("scale", c_uint32),
    )  # fmt: skip


class VersionStart(Structure):
    """A text with which versions begin, and the Unix second from which on they do."""

    _fields_ = (("from", c_double), ("prefix", Bytes))


class ExportLines(Structure):
    """What all lines of an export's data file share."""

    _fields_ = (("id_prefix", Bytes), ("first_line", c_uint64), ("seconds", Bytes), ("incremental", c_uint32))


class LeftRecord(Structure):
    """A record that the pass left: its position, and where it stands in the content."""

    _fields_ = (("position", c_uint32), ("start", c_uint32), ("end", c_uint32))


class Ignored(Structure):
    """An undeclared attribute, and how often it was seen."""

    _fields_ = (("name", c_void_p), ("length", c_uint64), ("count", c_uint64))


class Result(Structure):
    """What the pass made of one event."""

    _fields_ = (
        ("status", c_uint32), ("received", c_uint32), ("rows", c_uint32), ("left_count", c_uint32),
        ("ignored_count", c_uint64), ("ids_length", c_uint64), ("left", POINTER(LeftRecord)),
        ("positions", POINTER(c_uint32)), ("ids", c_void_p), ("ignored", POINTER(Ignored)),
    )  # fmt: skip


class ArrowSchema(Structure):
    """A schema of the Arrow C data interface."""

    _fields_ = (
        ("format", c_char_p), ("name", c_char_p), ("metadata", c_void_p), ("flags", c_int64), ("n_children", c_int64),
        ("children", c_void_p), ("dictionary", c_void_p), ("release", ctypes.CFUNCTYPE(None, c_void_p)),
        ("private_data", c_void_p),
    )  # fmt: skip


class ArrowArray(Structure):
    """An array of the Arrow C data interface."""

    _fields_ = (
        ("length", c_int64), ("null_count", c_int64), ("offset", c_int64), ("n_buffers", c_int64),
        ("n_children", c_int64), ("buffers", c_void_p), ("children", c_void_p), ("dictionary", c_void_p),
        ("release", ctypes.CFUNCTYPE(None, c_void_p)), ("private_data", c_void_p),
    )  # fmt: skip


class Text:
    """Bytes, and where they are, for as long as this is there."""

    def __init__(self, content: bytes | bytearray) -> None:
        self._content = content
        if isinstance(content, bytes):
            address = ctypes.cast(c_char_p(content), c_void_p).value
        else:
            self._view = (ctypes.c_char * len(content)).from_buffer(content)
            address = ctypes.addressof(self._view)
        self.bytes = Bytes(address, len(content))


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
    starts = POINTER(VersionStart)
    library.fastetl_plan.argtypes = [
        POINTER(Bytes), c_uint32, POINTER(ColumnPlan), c_uint32, Bytes, c_uint32, c_uint32,
    ]  # fmt: skip
    library.fastetl_plan.restype = c_void_p
    library.fastetl_plan_free.argtypes = [c_void_p]
    library.fastetl_decode.argtypes = [c_void_p, Bytes, Bytes, starts, c_uint32]
    library.fastetl_decode.restype = c_void_p
    library.fastetl_decode_lines.argtypes = [c_void_p, Bytes, POINTER(ExportLines), starts, c_uint32]
    library.fastetl_decode_lines.restype = c_void_p
    library.fastetl_decode_elements.argtypes = [c_void_p, Bytes]
    library.fastetl_decode_elements.restype = c_void_p
    library.fastetl_describe.argtypes = [c_void_p, Bytes, POINTER(ArrowArray), POINTER(ArrowSchema)]
    library.fastetl_free.argtypes = [c_void_p]
    library.fastetl_compact.argtypes = [Bytes, c_void_p]
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


_pycapsule_new = ctypes.pythonapi.PyCapsule_New
_pycapsule_new.restype, _pycapsule_new.argtypes = py_object, [c_void_p, c_char_p, c_void_p]


def new_capsule(described: Structure, name: bytes) -> object:
    """Wrap a structure of the Arrow C data interface in a PyCapsule, which Polars takes.

    Args:
        described: has to live until Polars has taken it.
        name: `arrow_schema` or `arrow_array`.
    """
    return _pycapsule_new(ctypes.addressof(described), name, None)
