"""What the files of a rehearsal hold, and the questions whether the warehouse has it: a value of every column type.

The files are written as ingest writes them. The questions compare inside the warehouse, so that no answer depends on
how the Data API spells a value.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import polars as pl

from fastetl.columns import DOCUMENT, Column, build_converter, make_example, only
from fastetl.ingest import encode_frames
from fastetl.load import CHANGED_AT
from fastetl.sql import quote_identifier, quote_literal, quote_table
from fastetl.versions import build_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.config import Pipeline
    from fastetl.load import FileName
    from fastetl.model import Layout

LABEL = "2026-01-01T00:00:00.000"

SAMPLES = {
    "DECIMAL": "1234567890123456789012345678.0123456789",
    "VARCHAR": 'é, a "quoted" \\N|\tand\nanother line',
    "VARBYTE": "00112233445566778899",
    "CHAR": "of eight",
    # One name in each object: nothing is documented about the order in which JSON_SERIALIZE gives several.
    "SUPER": '{"a":[1,2.5,null,{"B":true},"x"]}',
}
"""Texts as COPY reads them, for types where much can go wrong; other types have what is made up for tests."""

Row = dict[str, str | None]


def build_body(pipeline: Pipeline, file: FileName, file_id: str, layout: Layout) -> bytes:
    """Build the content of a file of a rehearsal.

    Args:
        pipeline: of the rehearsal.
        file: its name there.
        file_id: as its rows carry it.
        layout: how it is written.
    """
    rows = [row | {"_file": file_id} for row in _build_rows(pipeline, file)]
    frame = pl.DataFrame(rows, schema=dict.fromkeys((name for name, _ in pipeline.layout.columns), pl.String))
    return b"".join(encode_frames([frame], layout, 1024))


def _build_rows(pipeline: Pipeline, file: FileName) -> list[Row]:
    full: Row = {column.name: sample(column) for column in pipeline.columns}
    nothing: Row = dict.fromkeys(full)
    match file:
        case "first":
            return [_row(1, 1, full), _row(2, 2, nothing), _row(3, 3, full)]
        case "older":
            return [_row(1, 11, full), _row(4, 12, nothing)]
        case "deletes":
            return [_row(3, 20, nothing, op="REMOVE")]
        case "late":
            return [_row(3, 15, full)]
        case "poison":
            return [_row(5, 30, nothing) | {"c_integer": "no number"}]
        case "short":
            return [_row(6, 40, nothing)]
        case _:
            return [_row(9, 90, nothing)]


def _row(number: int, sequence: int, values: Row, *, op: str = "MODIFY") -> Row:
    return values | {
        "_key": f"N={number};",
        "_version": build_version(0, LABEL, str(sequence)),
        "_op": op,
        "_event_id": f"event-{sequence}",
        "_changed_at": CHANGED_AT,
        "_deleted": "true" if op == "REMOVE" else "false",
        "id": str(number),
    }


def sample(column: Column) -> str:
    """Give a text that fits a column, as COPY reads it.

    Args:
        column: of a rehearsal.
    """
    if column.type.kind in SAMPLES:
        return SAMPLES[column.type.kind]
    text = build_converter(column, "")(*only(make_example(column, random.Random(0))))  # noqa: S311 - no secret
    assert text is not None  # noqa: S101 - an example is a value
    return text


def compare_sql(pipeline: Pipeline, number: int, columns: Sequence[Column], *, null: bool = False) -> str:
    """Build the question whether a row of the mirror has the samples, or NULL, in columns: `true` or `false` for each.

    Args:
        pipeline: of the rehearsal.
        number: the row's `id`.
        columns: that are asked about.
        null: whether they are to be NULL.
    """
    checks = [f"{quote_identifier(column.name)} IS NULL" if null else _equals(column) for column in columns]
    flags = [f"CASE WHEN {check} THEN 'true' ELSE 'false' END AS \"c{n}\"" for n, check in enumerate(checks)]
    return f'SELECT {", ".join(flags)} FROM {quote_table(pipeline)} WHERE "id" = {number:d}'


def _equals(column: Column) -> str:
    name, text = quote_identifier(column.name), sample(column)
    if "\\" in text:
        # No literal holds a backslash.
        return f"MD5({name}) = {quote_literal(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())}"
    if column.type.rule.tag == DOCUMENT:
        return f"JSON_SERIALIZE({name}) = {quote_literal(text)}"
    if column.type.rule.tag == "B":
        return f"TO_HEX({name}) = {quote_literal(text)}"
    return f"{name} = CAST({quote_literal(text)} AS {column.type})"
