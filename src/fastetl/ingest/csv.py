"""Write frames of text columns as CSV: natively, or by Polars where there is no native object; the bytes are the same.

What is written is what COPY reads with `FORMAT AS CSV`: a field is quoted where it holds the delimiter, a quote, CR
or LF, or is empty; SQL NULL is the null marker, never quoted.
"""

from __future__ import annotations

import ctypes
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

import polars as pl

from fastetl.decode import load_library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastetl.model import Layout

BUFFER_BYTES = 256 * 1024
"""The size of the buffer of CSV. A longer row gets a longer buffer."""

SLICE_BYTES = 768 * 1024
"""The size in memory of the rows that Polars writes at once."""

COLUMN_BYTES = 10 * 1024
"""At least this much for each column, because every column of every slice costs some time, however short it is."""

_FAILED = 2**64 - 1

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def write_csv(frame: pl.DataFrame, layout: Layout) -> Iterator[memoryview]:
    """Write a frame's columns in the layout's order, some whole rows at a time; the CSV is never held as a whole.

    Args:
        frame: columns of text as COPY reads it, null for NULL; those of the layout, and perhaps others.
        layout: which columns, the delimiter and the null marker.

    Yields:
        Pieces of CSV. Each is overwritten when the next one is asked for.
    """
    if frame.is_empty():
        return
    library = load_library()
    chosen = frame[[name for name, _ in layout.columns]]
    if isinstance(library, str):
        yield from _write_by_polars(chosen, layout)
    else:
        yield from _write_native(library, chosen, layout)


def bound_row(frame: pl.DataFrame, layout: Layout) -> int:
    """Compute an upper bound, in bytes of CSV, for the longest row of a frame; much less work than writing the rows.

    Args:
        frame: as `write_csv` takes it.
        layout: as there.
    """
    library = load_library()
    chosen = frame[[name for name, _ in layout.columns]]
    if not isinstance(library, str):
        with _open(library, chosen, layout) as writer:
            bound: int = library.fastetl_csv_longest(writer)
            return bound
    # At worst every byte of a field is a quote, which is doubled, and the field is quoted; NULL is the marker.
    beside = chosen.width * (2 * len(layout.null_marker.encode()) + 3)
    return 2 * sum(int(each or 0) for each in chosen.select(pl.all().str.len_bytes().max()).row(0)) + beside


@contextmanager
def _open(library: ctypes.PyDLL, frame: pl.DataFrame, layout: Layout) -> Iterator[int]:
    """Have the object read a frame's columns, which are lent to it by the Arrow PyCapsule interface.

    Raises:
        MemoryError: there is none.
    """
    stream: object = frame.__arrow_c_stream__()
    delimiter, null_marker = layout.delimiter.encode(), layout.null_marker.encode()
    address = _pointer_of(stream, b"arrow_array_stream")
    writer = library.fastetl_csv(address, delimiter[0], null_marker, len(null_marker))
    if not writer:
        raise MemoryError
    try:
        yield writer
    finally:
        library.fastetl_csv_free(writer)
        del stream  # Only now may it be released.


def _write_native(library: ctypes.PyDLL, frame: pl.DataFrame, layout: Layout) -> Iterator[memoryview]:
    buffer = bytearray(BUFFER_BYTES)
    with _open(library, frame, layout) as writer:
        while True:
            room = (ctypes.c_char * len(buffer)).from_buffer(buffer)
            written = library.fastetl_csv_write(writer, room, len(buffer))
            if written == _FAILED:
                raise MemoryError
            if written:
                yield memoryview(buffer)[:written]
            elif needed := library.fastetl_csv_room(writer):
                buffer = bytearray(needed)
            else:
                return


def _write_by_polars(frame: pl.DataFrame, layout: Layout) -> Iterator[memoryview]:
    slice_bytes = max(SLICE_BYTES, COLUMN_BYTES * len(layout.columns))
    rows = max(1, slice_bytes * frame.height // max(1, int(frame.estimated_size())))
    csv = io.BytesIO()
    for part in frame.iter_slices(rows):
        # The buffer of the slice before is used again: allocating a new one costs as much time as writing into it.
        csv.seek(0)
        part.write_csv(
            csv,
            include_header=False,
            separator=layout.delimiter,
            null_value=layout.null_marker,
            quote_style="necessary",
        )
        with csv.getbuffer()[: csv.tell()] as text:
            yield text
