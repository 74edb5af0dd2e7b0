"""What has to exist in the warehouse before the first load, and how it changes with the configuration. Pure."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import msgspec

from fastetl.columns import RedshiftType
from fastetl.config import ALL, Grantee, Output, Pipeline, Storage
from fastetl.identifiers import fold
from fastetl.sql.gate import missing_row_sql
from fastetl.sql.text import (
    BATCH_ID,
    COUNT,
    FILE_ID,
    MOMENT,
    OWNER,
    SOURCE,
    Statement,
    build_statements,
    define_columns,
    list_names,
    name_grantee,
    quote_identifier,
    quote_literal,
    quote_table,
)


class Bookkeeping(msgspec.Struct, frozen=True):
    """One of the tables beside the target in which loads say what they have done."""

    suffix: str
    columns: tuple[tuple[str, RedshiftType], ...]
    rights: tuple[str, ...]
    """What a load does with it."""
    sortkey: str = ""
    """The time of a row, where there are ever more rows: every question names a time before which it reads nothing
    (Redshift Database Developer Guide, "Choose the best sort key": the leading column is the timestamp column)."""


# Once per pipeline: two pipelines that shared these would abort each other under SERIALIZABLE isolation.
BOOKKEEPING = (
    # One row. `owner`: the only stack that may write. `source`: what numbered the changes that were loaded last, and in
    # which epoch.
    Bookkeeping(
        "_gate",
        (("n", COUNT), ("owner", OWNER), ("source", SOURCE), ("source_epoch", COUNT)),
        ("SELECT", "UPDATE"),
    ),
    # `complete_up_to`: every change that the table made before is loaded by this load or an earlier one, where known.
    Bookkeeping(
        "_loads",
        (
            ("batch_id", BATCH_ID), ("attempt", COUNT), ("manifest_checksum", BATCH_ID),
            ("files", COUNT), ("row_count", COUNT), ("loaded_at", MOMENT), ("complete_up_to", MOMENT),
        ),
        ("SELECT", "INSERT"),
        "loaded_at",
    ),
    Bookkeeping(
        "_load_files",
        (("file_id", FILE_ID), ("batch_id", BATCH_ID), ("row_count", COUNT), ("loaded_at", MOMENT)),
        ("SELECT", "INSERT"),
        "loaded_at",
    ),
    Bookkeeping(
        "_fences",
        (("batch_id", BATCH_ID), ("attempt", COUNT), ("fenced_at", MOMENT)),
        ("SELECT", "INSERT"),
        "fenced_at",
    ),
    Bookkeeping("_resyncs", (("epoch", COUNT), ("floor", BATCH_ID), ("resynced_at", MOMENT)), ("SELECT",)),
    Bookkeeping(
        "_epochs",
        (("epoch", COUNT), ("floor", BATCH_ID), ("starts_at", MOMENT), ("kind", BATCH_ID)),
        ("SELECT",),
    ),
)  # fmt: skip


class Target(NamedTuple):
    """A table with the pipeline's columns."""

    suffix: str
    rights: tuple[str, ...]
    """What a load does with it: MERGE takes SELECT, and what its clauses do (Redshift Database Developer Guide, MERGE);
    deletes are rows, so that no mirror needs DELETE."""


TARGETS: dict[Output, Target] = {
    "mirror": Target("", ("SELECT", "INSERT", "UPDATE")),
    "log": Target("_log", ("SELECT", "INSERT")),
}

CHILD = Target("", ("SELECT", "INSERT", "DELETE"))
"""A child table, whose rows are replaced as a whole."""

SORTED_BY = {"mirror": "_key", "log": "_changed_at"}
"""The column that sorts a table where nothing else is said."""


# --- making ----------------------------------------------------------------------------------------------------------


def ddl_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statements that create what a pipeline needs in the warehouse; running them again loses nothing.

    There may be more statements than fit one transaction: they may be handed over in pieces.

    Args:
        pipeline: its target, outputs and columns.
    """
    views = (view_sql(each, name) for each in (pipeline, *pipeline.parts) for name in view_names(each))
    return (*tables_sql(pipeline), *itertools.chain.from_iterable(views))


def tables_sql(pipeline: Pipeline, owner: str = "") -> tuple[Statement, ...]:
    """Build the statements that create the schema and every table that is not there.

    Args:
        pipeline: its target, outputs and columns.
        owner: the stack to which a gate without its row is given: whoever owned the target went with the row. Without
            it the next stack that writes becomes the owner.
    """
    schemas = dict.fromkeys(each.schema for each in (pipeline, *pipeline.targets))
    steps = [("schema", f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema)}") for schema in schemas]
    steps += [
        (
            output,
            f"CREATE TABLE IF NOT EXISTS {quote_table(part, TARGETS[output].suffix)}"
            f" ({define_columns(part.layout.columns, storage.encode)}){build_keys(storage, SORTED_BY[output])}",
        )
        for part in pipeline.targets
        for output, storage in part.storages.items()
    ]
    steps += [("bookkeeping", sql) for sql in _bookkeeping(pipeline, owner)]
    return build_statements(pipeline.name, steps)


def view_sql(pipeline: Pipeline, name: str) -> tuple[Statement, ...]:
    """Build the statement that creates a view, or replaces it by one with the same columns, which keeps its grants.

    Views are late-binding: they hold no table back (Redshift Database Developer Guide, CREATE VIEW).

    Args:
        pipeline: that has the view.
        name: one of `view_names`.
    """
    return build_statements(pipeline.name, [(name[1:], f"CREATE OR REPLACE {_view(pipeline, name)}")])


def replace_view_sql(pipeline: Pipeline, name: str, readers: tuple[Grantee, ...]) -> tuple[Statement, ...]:
    """Build the one transaction that gives a view other columns, and grants it to whom it was granted before.

    CREATE OR REPLACE VIEW keeps to the columns that a view has (Redshift Database Developer Guide, CREATE VIEW).

    Args:
        pipeline: that has the view.
        name: one of `view_names`.
        readers: who may read the view now.
    """
    view = quote_table(pipeline, name)
    steps = [("drop_view", f"DROP VIEW {view}"), (name[1:], f"CREATE {_view(pipeline, name)}")]
    steps += [("grant", f"GRANT SELECT ON {view} TO {name_grantee(reader)}") for reader in readers]
    return build_statements(pipeline.name, steps)


def add_column_sql(pipeline: Pipeline, name: str, column: str, kind: RedshiftType) -> str:
    """Build the statement that adds a column to a table.

    One column at a time (Redshift Database Developer Guide, ALTER TABLE).

    Args:
        pipeline: that has the table.
        name: one of `target_names`.
        column: the new column's name.
        kind: its type.
    """
    storage = pipeline.log if name == f"{pipeline.target}{TARGETS['log'].suffix}" else pipeline.mirror
    encode = {known: encoding for known, encoding in storage.encode.items() if fold(known) == fold(column)}
    return f"ALTER TABLE {_in_schema(pipeline, name)} ADD COLUMN {define_columns(((column, kind),), encode)}"


def widen_column_sql(pipeline: Pipeline, name: str, column: str, kind: RedshiftType) -> str:
    """Build the statement that lengthens a VARCHAR column: the one change of type that Redshift makes in place.

    Not inside a transaction (Redshift Database Developer Guide, ALTER TABLE).

    Args:
        pipeline: that has the table.
        name: one of `target_names`.
        column: the column's name.
        kind: its new type.
    """
    return f"ALTER TABLE {_in_schema(pipeline, name)} ALTER COLUMN {quote_identifier(column)} TYPE {kind}"


# --- asking ----------------------------------------------------------------------------------------------------------


def table_columns_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that asks which columns mirror and log have.

    Args:
        pipeline: that has the tables.
    """
    return _columns_sql(pipeline, "table_columns", target_names(pipeline))


def gate_columns_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that asks which columns the gate has: none where there is no gate.

    Args:
        pipeline: that has the gate.
    """
    return _columns_sql(pipeline, "gate_columns", [pipeline.target + "_gate"])


def view_columns_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that asks which columns the views have.

    Args:
        pipeline: that has the views.
    """
    return _columns_sql(pipeline, "view_columns", [pipeline.target + name for name in view_names(pipeline)])


def _columns_sql(pipeline: Pipeline, step: str, relations: list[str]) -> tuple[Statement, ...]:
    # SVV_COLUMNS has tables and late-binding views, their names as the catalog has them (Redshift Database Developer
    # Guide, SVV_COLUMNS).
    schema, *names = (quote_literal(fold(name)) for name in (pipeline.schema, *relations))
    sql = (
        'SELECT "table_name", "column_name", "data_type", "character_maximum_length", "numeric_precision",'
        f' "numeric_scale" FROM "svv_columns" WHERE "table_schema" = {schema} AND "table_name" IN ({", ".join(names)})'
        ' ORDER BY "table_name", "ordinal_position"'
    )
    return build_statements(pipeline.name, [(step, sql)])


# --- names -----------------------------------------------------------------------------------------------------------


def target_names(pipeline: Pipeline) -> list[str]:
    """List the tables with the pipeline's columns: mirror and log, as far as it has them.

    Args:
        pipeline: its target and outputs.
    """
    return [pipeline.target + table.suffix for output, table in TARGETS.items() if output in pipeline.outputs]


def view_names(pipeline: Pipeline) -> list[str]:
    """List what the names of the pipeline's views add to the target's.

    Args:
        pipeline: its outputs, and whether it keeps deletes; of several targets each, or the pipeline as a whole.
    """
    mirror, log = ("mirror" in pipeline.outputs, "log" in pipeline.outputs)
    views = {"_current": mirror, ALL: bool(pipeline.kept_deletes), "_history": log, "_complete": not pipeline.part_of}
    if pipeline.parts:
        return ["_complete"]
    return [name for name, is_there in views.items() if is_there]


def view_columns(pipeline: Pipeline, name: str) -> list[str]:
    """List the columns of a view, in order.

    Args:
        pipeline: that has the view.
        name: one of `view_names`.
    """
    if name == "_complete":
        return ["complete_up_to", "loaded_at"]
    more = ["_valid_from", "_valid_to"] if name == "_history" else []
    return [*(column for column, _ in pipeline.layout.columns), *more]


def build_keys(storage: Storage, sorted_by: str) -> str:
    """Build what follows the columns in CREATE TABLE: how the rows are distributed and sorted.

    Args:
        storage: of the table.
        sorted_by: the column that sorts it where nothing else is said.
    """
    distkey = f" DISTKEY ({quote_identifier(storage.distkey or '_key')})" if storage.diststyle == "KEY" else ""
    if storage.sortkey == "AUTO":
        sortkey = " SORTKEY AUTO"
    else:
        sortkey = f" SORTKEY ({list_names([sorted_by] if storage.sortkey is None else list(storage.sortkey))})"
    return f" DISTSTYLE {storage.diststyle}{distkey}{sortkey}"


def _in_schema(pipeline: Pipeline, name: str) -> str:
    return f"{quote_identifier(pipeline.schema)}.{quote_identifier(name)}"


def _view(pipeline: Pipeline, name: str) -> str:
    queries = {"_history": _history_query, "_complete": _complete_query}
    query = queries[name](pipeline) if name in queries else _mirror_query(pipeline, name)
    return f"VIEW {quote_table(pipeline, name)} AS {query} WITH NO SCHEMA BINDING"


def _complete_query(pipeline: Pipeline) -> str:
    latest = ", ".join(f"MAX({name}) AS {name}" for name in map(quote_identifier, view_columns(pipeline, "_complete")))
    return f"SELECT {latest} FROM {quote_table(pipeline, '_loads')}"


def _mirror_query(pipeline: Pipeline, name: str) -> str:
    kept = ", ".join(quote_literal(op) for op in pipeline.kept_deletes)
    unless_kept = f' OR "_op" IN ({kept})' if name == ALL else ""
    names = list_names(view_columns(pipeline, name))
    return f'SELECT {names} FROM {quote_table(pipeline)} WHERE NOT "_deleted"{unless_kept}'


def _history_query(pipeline: Pipeline) -> str:
    # Ordered by version, not by time: DynamoDB's times are whole seconds, and changes may arrive in any order.
    names = list_names([name for name, _ in pipeline.layout.columns])
    until = 'LEAD("_changed_at") OVER (PARTITION BY "_key" ORDER BY "_version")'
    return (
        f'SELECT {names}, "_valid_from", "_valid_to"'
        f' FROM (SELECT {names}, "_changed_at" AS "_valid_from", {until} AS "_valid_to"'
        f' FROM {quote_table(pipeline, "_log")}) AS "versions" WHERE NOT "_deleted"'
    )


def _bookkeeping(pipeline: Pipeline, owner: str) -> list[str]:
    creates = [
        f"CREATE TABLE IF NOT EXISTS {quote_table(pipeline, table.suffix)} ({define_columns(table.columns)})"
        f"{f' SORTKEY ({quote_identifier(table.sortkey)})' if table.sortkey else ''}"
        for table in BOOKKEEPING
    ]
    return [*creates, missing_row_sql(pipeline, owner)]
