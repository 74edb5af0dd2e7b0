"""The statements that compare a table's items, staged as rows, with the mirror, and that repair single rows. Pure.

The warehouse compares values in its own types: none of them leaves it, only keys and the numbers of columns do.
"""

from __future__ import annotations

import msgspec

from fastetl.columns import RedshiftType
from fastetl.config import Pipeline
from fastetl.limits import MAX_STATEMENTS
from fastetl.model import Layout
from fastetl.sql.gate import gate_steps
from fastetl.sql.group import group_steps
from fastetl.sql.load import copy_into
from fastetl.sql.mirror import merge_into_mirror
from fastetl.sql.staging import STAGED, FormerColumnsByTarget, locate, see_all, see_own
from fastetl.sql.text import Statement, build_statements, define_columns, quote_identifier, quote_literal, quote_table

BUCKETS = 65_536
"""By the first four digits of the MD5 of a key, a sample takes the same keys on both sides."""

COLUMNS_AT_ONCE = 50
"""That one statement compares: with the longest names it has half the bytes that the Data API takes, and a table of
1,600 columns needs 32 of a transaction's 40 statements."""


def list_compared(pipeline: Pipeline) -> tuple[tuple[Pipeline, ...], ...]:
    """List the targets whose rows are compared, those with a mirror and child tables, by the transaction that does it.

    Args:
        pipeline: its targets.
    """
    groups: list[list[Pipeline]] = []
    room = 0
    for part in pipeline.targets:
        needed = 1 + len(range(0, len(part.columns), COLUMNS_AT_ONCE))
        if "mirror" in part.outputs:
            if needed > room:
                groups.append([])
                room = MAX_STATEMENTS - len(("stage", "copy", "drop_staged"))
            groups[-1].append(part)
            room -= needed
    return tuple(map(tuple, groups))


def compare_sql(
    pipeline: Pipeline, parts: tuple[Pipeline, ...], layout: Layout, manifest_url: str, *, below: int | None
) -> tuple[Statement, ...]:
    """Build a transaction that compares staged rows with the rows of targets; it changes nothing.

    A staged row that is deleted stands for an item that the table does not have. Each step whose name begins with
    `compare` gives rows of `(key, what, columns)`: `missing`, `extra` or `differs`, the latter with columns' positions
    in the target, whose name ends the step's where there are several. A key may differ in the columns of several steps.

    Args:
        pipeline: with a mirror.
        parts: the targets, one of `list_compared`.
        layout: how the staged files are written.
        manifest_url: of the staged files; empty where there are none.
        below: rows of the mirror in buckets below this number are extra where no staged row has their key; None to
            look only at keys that are staged.
    """
    names = [name for name, _ in layout.columns]
    steps = [
        ("stage", f'CREATE TEMP TABLE {STAGED} ({define_columns(layout.columns)}) DISTSTYLE KEY DISTKEY ("_key")'),
        *([("copy", copy_into(pipeline, STAGED, names, manifest_url, layout))] if manifest_url else []),
        *(step for part in parts for step in _compare_target(pipeline, part, layout, below)),
        ("drop_staged", f"DROP TABLE {STAGED}"),
    ]
    return build_statements(pipeline.name, steps)


def repair_sql(
    pipeline: Pipeline, owner: str, layout: Layout, manifest_url: str, former_columns: FormerColumnsByTarget
) -> tuple[Statement, ...]:
    """Build the transaction that merges staged rows into the mirrors, where they are newer, and writes nothing else.

    Args:
        pipeline: with a mirror.
        owner: of the target, as the stack names itself.
        layout: how the staged files are written.
        manifest_url: of the staged files.
        former_columns: they are NULL in every row that is repaired.
    """
    names = [name for name, _ in layout.columns]
    if pipeline.parts:
        mirrors = msgspec.structs.replace(pipeline, parts=tuple(map(_leave_out_log, pipeline.parts)))
        merges, tables = group_steps(mirrors, layout, former_columns)
        drops = [("drop", f"DROP TABLE {', '.join([STAGED, *tables])}")]
    else:
        own = dict(former_columns).get(pipeline.name, ())
        merges = merge_into_mirror(pipeline, see_all(pipeline, layout), own)
        drops = [("drop_staged", f"DROP TABLE {STAGED}")]
    steps = [
        *gate_steps(pipeline, owner),
        ("stage", f'CREATE TEMP TABLE {STAGED} ({define_columns(layout.columns)}) DISTSTYLE KEY DISTKEY ("_key")'),
        ("copy", copy_into(pipeline, STAGED, names, manifest_url, layout)),
        *merges,
        *drops,
    ]
    return build_statements(pipeline.name, steps)


def _leave_out_log(part: Pipeline) -> Pipeline:
    return msgspec.structs.replace(part, outputs=part.outputs - {"log"})


_LIVE = '"staged"."_key" = "mirror"."_key" AND NOT "mirror"."_deleted"'


def _compare_target(pipeline: Pipeline, part: Pipeline, layout: Layout, below: int | None) -> list[tuple[str, str]]:
    """Build the steps that compare the rows of one target."""
    if part.rows_of:
        keys, same = _compare_elements(part, layout, below)
    else:
        # What is another target's is a tombstone here, and so must not be there.
        staged = see_own(pipeline, part, layout).rows if pipeline.parts else f'{STAGED} AS "staged"'
        keys = _compare_keys(part, staged, below)
        same = f'{staged} INNER JOIN {quote_table(part)} AS "mirror" ON {_LIVE} WHERE NOT "staged"."_deleted"'
    columns = range(0, len(part.columns), COLUMNS_AT_ONCE)
    steps = [("compare_keys", keys), *((f"compare_{first}", _compare_columns(part, same, first)) for first in columns)]
    return [(f"{step}@{part.name}", sql) for step, sql in steps] if pipeline.parts else steps


def _compare_keys(part: Pipeline, staged: str, below: int | None) -> str:
    mirror = quote_table(part)
    missing = (
        f'SELECT "staged"."_key", \'missing\' AS "what", \'\' AS "columns" FROM {staged}'
        f' LEFT JOIN {mirror} AS "mirror" ON {_LIVE} WHERE NOT "staged"."_deleted" AND "mirror"."_key" IS NULL'
    )
    gone = (
        f'SELECT "staged"."_key", \'extra\' AS "what", \'\' AS "columns" FROM {staged}'
        f' INNER JOIN {mirror} AS "mirror" ON {_LIVE} WHERE "staged"."_deleted"'
    )
    parts = [missing, gone]
    if below is not None:
        parts.append(
            f'SELECT "mirror"."_key", \'extra\' AS "what", \'\' AS "columns" FROM {mirror} AS "mirror"'
            f' LEFT JOIN {staged} ON "staged"."_key" = "mirror"."_key"'
            f' WHERE NOT "mirror"."_deleted" AND "staged"."_key" IS NULL{_sample(below)}'
        )
    return " UNION ALL ".join(parts)


def _compare_elements(child: Pipeline, layout: Layout, below: int | None) -> tuple[str, str]:
    """Build the statement that compares the places of elements, and what joins those of one place on both sides."""
    located, names, _ = locate(child, layout)
    columns = ", ".join(f"{quote_identifier(located.get(name, name))} AS {quote_identifier(name)}" for name in names)
    is_own = f'"_target" = {quote_literal(child.name)}'
    staged = f'(SELECT {columns} FROM {STAGED} WHERE {is_own}) AS "staged"'
    table = f'(SELECT * FROM {quote_table(child)} WHERE NOT "_deleted") AS "mirror"'
    same = (
        '"staged"."_key" = "mirror"."_key"'
        ' AND COALESCE("staged"."_position", -1) = COALESCE("mirror"."_position", -1)'
        " AND COALESCE(\"staged\".\"_name\", '') || ';' = COALESCE(\"mirror\".\"_name\", '') || ';'"
    )
    looked_at = f' AND "mirror"."_key" IN (SELECT "_key" FROM {STAGED})' if below is None else _sample(below)
    keys = (
        f'SELECT "staged"."_key", \'missing\' AS "what", \'\' AS "columns" FROM {staged}'
        f' LEFT JOIN {table} ON {same} WHERE "mirror"."_key" IS NULL'
        f' UNION ALL SELECT "mirror"."_key", \'extra\' AS "what", \'\' AS "columns" FROM {table}'
        f' LEFT JOIN {staged} ON {same} WHERE "staged"."_key" IS NULL{looked_at}'
    )
    return keys, f"{staged} INNER JOIN {table} ON {same}"


def _sample(below: int) -> str:
    """Build the condition that a row of the mirror is in the sample, behind others."""
    return f' AND SUBSTRING(MD5("mirror"."_key"), 1, 4) < {quote_literal(f"{below:04x}")}' if below < BUCKETS else ""


def _compare_columns(part: Pipeline, same: str, first: int) -> str:
    kinds = dict(part.layout.columns)
    columns = list(enumerate(part.columns))[first : first + COLUMNS_AT_ONCE]
    listed = " || ".join(
        f"CASE WHEN {_differs(column.name, kinds[column.name])} THEN ' {position:d}' ELSE '' END"
        for position, column in columns
    )
    compared = f'SELECT "staged"."_key", {listed} AS "columns" FROM {same}'
    return f'SELECT "_key", \'differs\' AS "what", "columns" FROM ({compared}) AS "compared" WHERE "columns" <> \'\''


def _differs(name: str, kind: RedshiftType) -> str:
    one, other = (f"{table}.{quote_identifier(name)}" for table in ('"staged"', '"mirror"'))
    unlike = f"{one} <> {other}"
    if str(kind).startswith(("VARCHAR", "CHAR")):
        # Redshift passes over trailing blanks when it compares texts.
        unlike = f"{one} || ';' <> {other} || ';'"
    elif str(kind) == "SUPER":
        # Comparing documents of different shapes gives NULL. Files hold the names of a map sorted, so that the same
        # document is the same text; JSON_SERIALIZE would fail on one that is longer than a VARCHAR.
        unlike = f"JSON_SERIALIZE_TO_VARBYTE({one}) <> JSON_SERIALIZE_TO_VARBYTE({other})"
    return f"({unlike} OR ({one} IS NULL AND {other} IS NOT NULL) OR ({one} IS NOT NULL AND {other} IS NULL))"
