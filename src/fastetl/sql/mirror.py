"""The steps that bring staged rows into one target's log and mirror. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fastetl.columns import SYSTEM_COLUMNS, Column, RedshiftType
from fastetl.config import Pipeline
from fastetl.sql.staging import WINNERS, Load, Staged, rank
from fastetl.sql.text import define_columns, list_names, quote_identifier, quote_literal, quote_table


def append_to_log(part: Pipeline, staged: Staged, load: Load) -> list[tuple[str, str]]:
    """Build the step that adds the changes that the log does not have.

    Args:
        part: the target that has the log.
        staged: the rows as it sees them.
        load: between which times its changes happened.
    """
    log, names = quote_table(part, "_log"), staged.names
    logged = (
        f'SELECT "_event_id" AS "logged_id" FROM {log}'
        f' WHERE "_changed_at" BETWEEN {quote_literal(load.changed_min)} AND {quote_literal(load.changed_max)}'
    )
    ranked = rank(names, staged.rows, partition="_event_id", order='"_file"')
    insert = (
        f"INSERT INTO {log} ({list_names(names)}) SELECT {list_names(names, of='ranked')}"
        f' FROM ({ranked}) AS "ranked"'
        f' LEFT JOIN ({logged}) AS "logged" ON "ranked"."_event_id" = "logged"."logged_id"'
        ' WHERE "ranked"."_rank" = 1 AND "logged"."logged_id" IS NULL'
    )
    return [("log", insert)]


def merge_into_mirror(
    pipeline: Pipeline, staged: Staged, former_columns: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    """Build the steps that give each key of a pipeline's only mirror its newest version.

    Args:
        pipeline: with one target.
        staged: the rows as the target sees them.
        former_columns: columns of the mirror that loads no longer write: NULL in every row that is merged.
    """
    mirror, names = quote_table(pipeline), staged.names
    ranked = rank(names, staged.rows, partition="_key", order='"_version" DESC, "_file"')
    # Every column has a type: of the files, or of the configuration where this layout does not have the column yet.
    # What it lacks stays NULL: the older value belongs to an older version.
    types = merged_types(pipeline, staged)
    create = f'CREATE TEMP TABLE {WINNERS} ({define_columns(tuple(types.items()))}) DISTSTYLE KEY DISTKEY ("_key")'
    values = forget_deleted(pipeline, types, names)
    fill = (
        f"INSERT INTO {WINNERS} ({list_names(names)}) SELECT {', '.join(values.values())}"
        f' FROM ({ranked}) AS "ranked"'
        f' LEFT JOIN {mirror} AS "mirror" ON "ranked"."_key" = "mirror"."_key"'
        ' WHERE "ranked"."_rank" = 1 AND ("mirror"."_key" IS NULL OR "mirror"."_version" < "ranked"."_version")'
        f" AND {is_known(pipeline)}"
    )
    return [
        ("stage_winners", create),
        ("winners", fill),
        ("merge", merge_sql(pipeline, WINNERS, list(types))),
        *_empty_former_columns(mirror, former_columns),
        ("drop_winners", f"DROP TABLE {WINNERS}"),
    ]


def merged_types(part: Pipeline, staged: Staged) -> dict[str, RedshiftType]:
    """Give the columns that are merged, with the types of the files where these have them.

    Args:
        part: the target.
        staged: the rows as it sees them.
    """
    return {
        **dict(part.layout.columns),
        **{name: kind for name, kind in staged.types.items() if name in staged.names},
    }


def is_known(pipeline: Pipeline) -> str:
    """Build the condition that keeps out what is older than a resync, which knew of it: a key that it did not find
    stays gone.

    Args:
        pipeline: its table of resyncs is read.
    """
    return f'"ranked"."_version" >= (SELECT COALESCE(MAX("floor"), \'\') FROM {quote_table(pipeline, "_resyncs")})'


def merge_sql(part: Pipeline, source: str, names: list[str]) -> str:
    """Build the MERGE of rows that have won.

    Args:
        part: the target that has the mirror.
        source: the table with the rows, quoted.
        names: its columns.
    """
    values = {name: f"{source}.{quote_identifier(name)}" for name in names}
    updates = ", ".join(f"{quote_identifier(name)} = {value}" for name, value in values.items() if name != "_key")
    return (
        f'MERGE INTO {quote_table(part)} USING {source} ON {quote_identifier(part.target)}."_key" = {source}."_key"'
        f" WHEN MATCHED THEN UPDATE SET {updates}"
        f" WHEN NOT MATCHED THEN INSERT ({list_names(names)}) VALUES ({', '.join(values.values())})"
    )


def _empty_former_columns(mirror: str, columns: tuple[str, ...]) -> list[tuple[str, str]]:
    """Build the step that makes columns NULL in the rows that were merged; none without columns."""
    if not columns:
        return []
    names = [quote_identifier(name) for name in columns]
    # Only rows with a value: soon there are none, and the statement writes nothing.
    sql = (
        f"UPDATE {mirror} SET {', '.join(f'{name} = NULL' for name in names)}"
        f' WHERE "_key" IN (SELECT "_key" FROM {WINNERS})'
        f" AND ({' OR '.join(f'{name} IS NOT NULL' for name in names)})"
    )
    return [("former_columns", sql)]


def forget_deleted(part: Pipeline, types: Mapping[str, RedshiftType], names: list[str]) -> dict[str, str]:
    """Build the values of ranked rows: a tombstone keeps key and version, and forgets the item unless deletes are kept.

    Args:
        part: the target.
        types: of the columns.
        names: the columns that the ranked rows have.

    Returns:
        The expression of each column's value, by its name.
    """
    keeps = {name for name, _ in SYSTEM_COLUMNS} | {column.name for column in key_columns(part)}
    operations = ", ".join(quote_literal(op) for op in part.kept_deletes)
    forgets = '"ranked"."_deleted"' + (f' AND "ranked"."_op" NOT IN ({operations})' if operations else "")
    values = {name: f'"ranked".{quote_identifier(name)}' for name in names}
    return {
        name: value
        if name in keeps
        # Cast to the type that the staged column has already: a CASE may not keep it.
        else f"CAST(CASE WHEN {forgets} THEN NULL ELSE {value} END AS {types[name]})"
        for name, value in values.items()
    }


def key_columns(pipeline: Pipeline) -> list[Column]:
    """List the columns that hold the item's key attributes.

    Args:
        pipeline: with one target, or one of several.
    """
    return [column for column in pipeline.columns if column.path in {(key,) for key in pipeline.keys}]
