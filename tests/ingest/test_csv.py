"""CSV by the native object and by Polars: the same bytes of every frame, a buffer at a time, and a bound that holds."""

from __future__ import annotations

import csv
import ctypes
import io
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.columns import RedshiftType
from fastetl.decode import load_library
from fastetl.ingest import csv as written_csv
from fastetl.ingest.csv import bound_row, write_csv
from fastetl.model import Layout

TEXT = RedshiftType.parse("VARCHAR(64)")
SPECIAL = st.text(st.sampled_from('ab",|\t\n\r \u00fc\u6771'), max_size=50)
LONG = st.text(st.sampled_from("abcdef"), min_size=11, max_size=40)
VALUES = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | SPECIAL | LONG


def build_layout(columns: int, delimiter: str = ",", null_marker: str = r"\N") -> Layout:
    return Layout(tuple((f"c{number}", TEXT) for number in range(columns)), delimiter, "gzip", null_marker, 1)


def build_frame(*rows: tuple[str | None, ...], columns: int = 0) -> pl.DataFrame:
    names = [f"c{number}" for number in range(columns or len(rows[0]))]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def write_both(frame: pl.DataFrame, layout: Layout) -> tuple[bytes, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        native = b"".join(map(bytes, write_csv(frame, layout)))
        patch.setattr(written_csv, "load_library", lambda: "not there")
        return native, b"".join(map(bytes, write_csv(frame, layout)))


def bound_both(frame: pl.DataFrame, layout: Layout) -> tuple[int, int]:
    with pytest.MonkeyPatch.context() as patch:
        native = bound_row(frame, layout)
        patch.setattr(written_csv, "load_library", lambda: "not there")
        return native, bound_row(frame, layout)


@given(
    rows=st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=40),
    delimiter=st.sampled_from([",", "|", "\t"]),
    null_marker=st.sampled_from([r"\N", "NULL", "a marker longer than a view"]),
    cut=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    buffer=st.sampled_from([1, 40, 300, 256 * 1024]),
)
def test_both_write_the_same(
    rows: list[Any], delimiter: str, null_marker: str, cut: tuple[int, int], buffer: int
) -> None:
    whole = build_frame(*rows, columns=3)
    # Slices and several chunks are read at an offset.
    frame = pl.concat([whole[cut[0] :], whole[: cut[1]], whole], rechunk=False)
    layout = build_layout(3, delimiter, null_marker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written_csv, "BUFFER_BYTES", buffer)
        native, by_polars = write_both(frame, layout)
    assert native == by_polars
    rows_alone = (frame[row : row + 1] for row in range(frame.height))
    longest = max((len(b"".join(map(bytes, write_csv(row, layout)))) for row in rows_alone), default=0)
    assert all(bound >= longest for bound in bound_both(frame, layout))


def test_every_length_is_written_with_a_quote_in_every_place() -> None:
    rows = [("x" * length,) for length in range(70)]
    rows += [("x" * place + '"' + "y" * (length - place),) for length in range(70) for place in range(length + 1)]
    native, by_polars = write_both(build_frame(*rows), build_layout(1))
    assert native == by_polars
    assert list(csv.reader(io.StringIO(native.decode(), newline=""))) == [list(row) for row in rows]


def test_a_large_frame_is_never_whole_and_a_long_row_gets_a_longer_buffer() -> None:
    frame = build_frame(*[("a" * 1000, '"' * 400_000 if number == 300 else "b") for number in range(1000)])
    sizes = [len(text) for text in write_csv(frame, build_layout(2))]
    assert sum(sizes) == 999 * 1003 + 1000 + 1 + 800_002 + 1
    assert len(sizes) > 3
    assert sizes[0] <= written_csv.BUFFER_BYTES
    assert max(sizes) < 1_000_000


def test_a_bound_is_close_to_the_longest_row_whatever_the_others_are() -> None:
    frame = build_frame(("a" * 1000, None), ("b", "c" * 900))
    native, by_polars = bound_both(frame, build_layout(2))
    assert native == 2 * 1000 + 3 + 2 * 2 + 3
    assert by_polars >= native


def test_what_is_no_text_is_refused() -> None:
    library = load_library()
    assert not isinstance(library, str)
    numbers = pl.DataFrame({"c0": [1, 2]})
    with pytest.raises(MemoryError):
        list(write_csv(numbers, build_layout(1)))
    assert list(write_csv(numbers.cast(pl.String), build_layout(1)))
    assert isinstance(library, ctypes.PyDLL)
