"""The statements that compare a table's items, staged as rows, with the mirror, and that repair single rows. Pure.

The warehouse compares values in its own types: none of them leaves it, only keys and the numbers of columns do.
"""

from __future__ import annotations

from fastetl.columns import RedshiftType
from fastetl.config import Pipeline
from fastetl.model import Layout
from fastetl.sql.gate import gate_steps
from fastetl.sql.load import copy_into
from fastetl.sql.mirror import merge_into_mirror
from fastetl.sql.staging import STAGED, see_all
from fastetl.sql.text import Statement, build_statements, define_columns, quote_identifier, quote_literal, quote_table

BUCKETS = 65_536
"""By the first four digits of the MD5 of a key, a sample takes the same keys on both sides."""

COLUMNS_AT_ONCE = 50
"""That one statement compares: with the longest names it has half the bytes that the Data API takes, and a table of
1,600 columns needs 32 of a transaction's 40 statements."""


def compare_sql(pipeline: Pipeline, layout: Layout, manifest_url: str, *, below: int | None) -> tuple[Statement, ...]:
    """Build the transaction that compares staged rows with the mirror; it changes nothing.

    A staged row that is deleted stands for an item that the table does not have. Each step whose name begins with
    `compare` gives rows of `(key, what, columns)`: `missing`, `extra` or `differs`, the latter with columns' positions
    in the pipeline. A key may differ in the columns of several steps.

    Args:
        pipeline: with a mirror.
        layout: how the staged files are written.
        manifest_url: of the staged files; empty where there are none.
        below: rows of the mirror in buckets below this number are extra where no staged row has their key; None to
            look only at keys that are staged.
    """
    names = [name for name, _ in layout.columns]
    steps = [
        ("stage", f'CREATE TEMP TABLE {STAGED} ({define_columns(layout.columns)}) DISTSTYLE KEY DISTKEY ("_key")'),
        *([("copy", copy_into(pipeline, STAGED, names, manifest_url, layout))] if manifest_url else []),
        ("compare_keys", _compare_keys(pipeline, below)),
        *(
            (f"compare_{first}", _compare_columns(pipeline, first))
            for first in range(0, len(pipeline.columns), COLUMNS_AT_ONCE)
        ),
        ("drop_staged", f"DROP TABLE {STAGED}"),
    ]
    return build_statements(pipeline.name, steps)


def repair_sql(
    pipeline: Pipeline, owner: str, layout: Layout, manifest_url: str, former_columns: tuple[str, ...]
) -> tuple[Statement, ...]:
    """Build the transaction that merges staged rows into the mirror, where they are newer, and writes nothing else.

    Args:
        pipeline: with a mirror.
        owner: of the target, as the stack names itself.
        layout: how the staged files are written.
        manifest_url: of the staged files.
        former_columns: columns of the mirror that loads no longer write: NULL in every row that is repaired.
    """
    names = [name for name, _ in layout.columns]
    steps = [
        *gate_steps(pipeline, owner),
        ("stage", f'CREATE TEMP TABLE {STAGED} ({define_columns(layout.columns)}) DISTSTYLE KEY DISTKEY ("_key")'),
        ("copy", copy_into(pipeline, STAGED, names, manifest_url, layout)),
        *merge_into_mirror(pipeline, see_all(pipeline, layout), former_columns),
        ("drop_staged", f"DROP TABLE {STAGED}"),
    ]
    return build_statements(pipeline.name, steps)


_LIVE = '"staged"."_key" = "mirror"."_key" AND NOT "mirror"."_deleted"'


def _compare_keys(pipeline: Pipeline, below: int | None) -> str:
    mirror = quote_table(pipeline)
    missing = (
        f'SELECT "staged"."_key", \'missing\' AS "what", \'\' AS "columns" FROM {STAGED} AS "staged"'
        f' LEFT JOIN {mirror} AS "mirror" ON {_LIVE} WHERE NOT "staged"."_deleted" AND "mirror"."_key" IS NULL'
    )
    gone = (
        f'SELECT "staged"."_key", \'extra\' AS "what", \'\' AS "columns" FROM {STAGED} AS "staged"'
        f' INNER JOIN {mirror} AS "mirror" ON {_LIVE} WHERE "staged"."_deleted"'
    )
    parts = [missing, gone]
    if below is not None:
        sample = (
            f' AND SUBSTRING(MD5("mirror"."_key"), 1, 4) < {quote_literal(f"{below:04x}")}' if below < BUCKETS else ""
        )
        parts.append(
            f'SELECT "mirror"."_key", \'extra\' AS "what", \'\' AS "columns" FROM {mirror} AS "mirror"'
            f' LEFT JOIN {STAGED} AS "staged" ON "staged"."_key" = "mirror"."_key"'
            f' WHERE NOT "mirror"."_deleted" AND "staged"."_key" IS NULL{sample}'
        )
    return " UNION ALL ".join(parts)


def _compare_columns(pipeline: Pipeline, first: int) -> str:
    kinds = dict(pipeline.layout.columns)
    columns = list(enumerate(pipeline.columns))[first : first + COLUMNS_AT_ONCE]
    listed = " || ".join(
        f"CASE WHEN {_differs(column.name, kinds[column.name])} THEN ' {position:d}' ELSE '' END"
        for position, column in columns
    )
    compared = (
        f'SELECT "staged"."_key", {listed} AS "columns" FROM {STAGED} AS "staged"'
        f' INNER JOIN {quote_table(pipeline)} AS "mirror" ON {_LIVE} WHERE NOT "staged"."_deleted"'
    )
    return f'SELECT "_key", \'differs\' AS "what", "columns" FROM ({compared}) AS "compared" WHERE "columns" <> \'\''


def _differs(name: str, kind: RedshiftType) -> str:
    one, other = (f"{table}.{quote_identifier(name)}" for table in ('"staged"', '"mirror"'))
    unlike = f"{one} <> {other}"
    if str(kind).startswith(("VARCHAR", "CHAR")):
        # Redshift passes over trailing blanks when it compares texts.
        unlike = f"{one} || ';' <> {other} || ';'"
    elif str(kind) == "SUPER":
        # Comparing documents of different shapes gives NULL; a document's text is always written in one order.
        unlike = f"JSON_SERIALIZE({one}) <> JSON_SERIALIZE({other})"
    return f"({unlike} OR ({one} IS NULL AND {other} IS NOT NULL) OR ({one} IS NOT NULL AND {other} IS NULL))"
