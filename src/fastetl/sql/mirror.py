"""The steps that bring staged rows into a pipeline's log and mirror. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fastetl.columns import SYSTEM_COLUMNS, Column, RedshiftType
from fastetl.config import Pipeline
from fastetl.model import Layout
from fastetl.sql.staging import WINNERS, Load, rank, share
from fastetl.sql.text import define_columns, list_names, quote_identifier, quote_literal, quote_table


def append_to_log(pipeline: Pipeline, load: Load) -> list[tuple[str, str]]:
    """Build the step that adds the changes that the log does not have.

    Args:
        pipeline: with a log.
        load: the layout of its files, and between which times its changes happened.
    """
    log, names = quote_table(pipeline, "_log"), share(pipeline, load.layout)
    logged = (
        f'SELECT "_event_id" AS "logged_id" FROM {log}'
        f' WHERE "_changed_at" BETWEEN {quote_literal(load.changed_min)} AND {quote_literal(load.changed_max)}'
    )
    ranked = rank(names, partition="_event_id", order='"_file"')
    insert = (
        f"INSERT INTO {log} ({list_names(names)}) SELECT {list_names(names, of='ranked')}"
        f' FROM ({ranked}) AS "ranked"'
        f' LEFT JOIN ({logged}) AS "logged" ON "ranked"."_event_id" = "logged"."logged_id"'
        ' WHERE "ranked"."_rank" = 1 AND "logged"."logged_id" IS NULL'
    )
    return [("log", insert)]


def merge_steps(pipeline: Pipeline, layout: Layout, former_columns: tuple[str, ...]) -> list[tuple[str, str]]:
    """Build the steps that merge staged rows into the mirror, where they are newer than what it has.

    Args:
        pipeline: with a mirror.
        layout: of the staged rows.
        former_columns: columns of the mirror that loads no longer write: NULL in every row that is merged.
    """
    mirror, names = quote_table(pipeline), share(pipeline, layout)
    ranked = rank(names, partition="_key", order='"_version" DESC, "_file"')
    # Every column has a type: of the files, or of the configuration where this layout does not have the column yet.
    # What it lacks stays NULL: the older value belongs to an older version.
    types = {**dict(pipeline.layout.columns), **{name: kind for name, kind in layout.columns if name in names}}
    create = f'CREATE TEMP TABLE {WINNERS} ({define_columns(tuple(types.items()))}) DISTSTYLE KEY DISTKEY ("_key")'
    fill = (
        f"INSERT INTO {WINNERS} ({list_names(names)}) SELECT {_forgetting_deleted(pipeline, types, names)}"
        f' FROM ({ranked}) AS "ranked"'
        f' LEFT JOIN {mirror} AS "mirror" ON "ranked"."_key" = "mirror"."_key"'
        ' WHERE "ranked"."_rank" = 1 AND ("mirror"."_key" IS NULL OR "mirror"."_version" < "ranked"."_version")'
        # What is older than a resync was known to it: a key that it did not find stays gone.
        f' AND "ranked"."_version" >= (SELECT COALESCE(MAX("floor"), \'\') FROM {quote_table(pipeline, "_resyncs")})'
    )
    source = {name: f"{WINNERS}.{quote_identifier(name)}" for name in types}
    updates = ", ".join(f"{quote_identifier(name)} = {value}" for name, value in source.items() if name != "_key")
    merge = (
        f'MERGE INTO {mirror} USING {WINNERS} ON {quote_identifier(pipeline.target)}."_key" = {WINNERS}."_key"'
        f" WHEN MATCHED THEN UPDATE SET {updates}"
        f" WHEN NOT MATCHED THEN INSERT ({list_names(list(types))}) VALUES ({', '.join(source.values())})"
    )
    return [
        ("stage_winners", create),
        ("winners", fill),
        ("merge", merge),
        *_empty_former_columns(mirror, former_columns),
        ("drop_winners", f"DROP TABLE {WINNERS}"),
    ]


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


def _forgetting_deleted(pipeline: Pipeline, types: Mapping[str, RedshiftType], names: list[str]) -> str:
    """Build the staged columns: a tombstone keeps key and version, and forgets the item unless deletes are kept."""
    keeps = {name for name, _ in SYSTEM_COLUMNS} | {column.name for column in key_columns(pipeline)}
    operations = ", ".join(quote_literal(op) for op in pipeline.kept_deletes)
    forgets = '"ranked"."_deleted"' + (f' AND "ranked"."_op" NOT IN ({operations})' if operations else "")
    values = {name: f'"ranked".{quote_identifier(name)}' for name in names}
    return ", ".join(
        value
        if name in keeps
        # Cast to the type that the staged column has already: a CASE may not keep it.
        else f"CAST(CASE WHEN {forgets} THEN NULL ELSE {value} END AS {types[name]})"
        for name, value in values.items()
    )


def key_columns(pipeline: Pipeline) -> list[Column]:
    """List the columns that hold the item's key attributes.

    Args:
        pipeline: its columns.
    """
    return [column for column in pipeline.columns if column.path in {(key,) for key in pipeline.keys}]
