"""Frames as files: read back with the standard library, they say what was in them, whatever the pieces."""

import csv
import gzip
import io

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fastetl.columns.types import RedshiftType
from fastetl.ingest.encode import encode_frames, encode_rejects
from fastetl.model import Layout, Reject

NULL = r"\N"
TEXT = RedshiftType.parse("VARCHAR(64)")
TEXTS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=20)


def build_layout(*kinds: RedshiftType, delimiter: str = ",", compression: str = "gzip") -> Layout:
    columns = tuple((f"c{number}", kind) for number, kind in enumerate(kinds))
    return Layout(columns, delimiter, compression, NULL, 1)


def read(file: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(gzip.decompress(file).decode(), newline=""), delimiter=delimiter))


@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS | st.none()).filter(lambda row: NULL not in row), max_size=30),
    delimiter=st.sampled_from([",", "|", "\t"]),
    part_size=st.integers(1, 200),
)
def test_what_was_written_can_be_read(rows, delimiter, part_size):
    frame = pl.DataFrame(rows, schema={"c0": pl.String, "c1": pl.String}, orient="row")
    layout = build_layout(TEXT, TEXT, delimiter=delimiter)
    pieces = list(encode_frames([frame], layout, part_size))
    assert read(b"".join(pieces), delimiter) == [[NULL if text is None else text for text in row] for row in rows]
    assert all(len(piece) >= part_size for piece in pieces[:-1])
    assert pieces == list(encode_frames([frame], layout, part_size)), "a second attempt writes the same bytes"


def test_several_frames_make_one_member():
    frame = pl.DataFrame({"c0": ["a" * 50] * 1000})
    file = b"".join(encode_frames([frame, frame.clear(), frame], build_layout(TEXT), 10))
    assert len(read(file)) == 2000
    assert file.count(b"\x1f\x8b\x08") == 1


def test_the_columns_have_the_order_of_the_layout():
    frame = pl.DataFrame({"c1": ["b"], "other": ["x"], "c0": ["a"]})
    assert read(b"".join(encode_frames([frame], build_layout(TEXT, TEXT), 1))) == [["a", "b"]]


def test_zstd_is_one_frame_with_the_same_text():
    from backports import zstd  # noqa: PLC0415 - as the product does

    frame = pl.DataFrame({"c0": ["a", None]})
    file = b"".join(encode_frames([frame, frame], build_layout(TEXT, compression="zstd"), 1))
    assert zstd.decompress(file) == b"a\n\\N\na\n\\N\n"


def test_rejects_are_named_by_their_lines_and_not_by_their_compression():
    reject = Reject("1", "type", "a", "N", "{}")
    file, crc = encode_rejects([reject, reject])
    assert len(gzip.decompress(file).splitlines()) == 2
    assert encode_rejects([reject, reject])[1] == crc != encode_rejects([reject])[1]
