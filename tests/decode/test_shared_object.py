"""The structures that are handed to the shared object and to Arrow, as the C headers lay them out."""

from __future__ import annotations

import ctypes

from fastetl.decode import shared_object
from fastetl.decode.shared_object import ArrowArray, ArrowSchema, Bytes, ColumnPlan, Result, Step, Text


def offsets(structure: type[ctypes.Structure]) -> dict[str, int]:
    return {name: getattr(structure, name).offset for name, *_ in structure._fields_}


def test_arrows_structures_are_those_of_its_c_data_interface() -> None:
    """Apache Arrow, "The Arrow C data interface": on machines of 64 bits each member has 8 bytes."""
    schema = ["format", "name", "metadata", "flags", "n_children", "children", "dictionary", "release", "private_data"]
    array = [
        "length", "null_count", "offset", "n_buffers", "n_children", "buffers", "children", "dictionary", "release",
        "private_data",
    ]  # fmt: skip
    assert offsets(ArrowSchema) == {name: 8 * place for place, name in enumerate(schema)}
    assert offsets(ArrowArray) == {name: 8 * place for place, name in enumerate(array)}


def test_the_objects_structures_are_those_of_calls_zig() -> None:
    assert offsets(Bytes) == {"ptr": 0, "len": 8}
    assert offsets(Step) == {"name": 0, "position": 16}
    assert offsets(ColumnPlan) == {"path": 0, "steps": 8, "kind": 12, "length": 16, "precision": 20, "scale": 24}
    assert offsets(Result) == {
        "status": 0, "received": 4, "rows": 8, "left_count": 12, "ignored_count": 16, "ids_length": 24, "left": 32,
        "positions": 40, "ids": 48, "ignored": 56,
    }  # fmt: skip
    sizes = {"VersionStart": 24, "ExportLines": 48, "LeftRecord": 12, "Ignored": 24}
    assert {name: ctypes.sizeof(getattr(shared_object, name)) for name in sizes} == sizes


def test_a_text_knows_where_its_bytes_are() -> None:
    for content in (b"abc", bytearray(b"abc")):
        text = Text(content)
        assert ctypes.string_at(text.bytes.ptr, text.bytes.len) == b"abc"
