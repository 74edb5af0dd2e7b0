"""What has to exist in the warehouse before the first load, and how it changes with the configuration. Pure."""

from __future__ import annotations

from fastetl.columns import RedshiftType
from fastetl.config import ALL, Output, Pipeline, Storage
from fastetl.identifiers import fold
from fastetl.sql.text import (
    BATCH_ID,
    COUNT,
    FILE_ID,
    MOMENT,
    Statement,
    build_statements,
    define_columns,
    list_names,
    quote_identifier,
    quote_literal,
    quote_table,
)


def table_columns_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that asks which columns mirror and log have (SVV_COLUMNS, Redshift Database Developer Guide).

    Args:
        pipeline: that has the tables.
    """
    # As the catalog has them.
    schema, *names = (quote_literal(fold(name)) for name in (pipeline.schema, *target_names(pipeline)))
    sql = (
        'SELECT "table_name", "column_name", "data_type", "character_maximum_length", "numeric_precision",'
        f' "numeric_scale" FROM "svv_columns" WHERE "table_schema" = {schema} AND "table_name" IN ({", ".join(names)})'
        ' ORDER BY "table_name", "ordinal_position"'
    )
    return build_statements(pipeline.name, [("table_columns", sql)])


def target_names(pipeline: Pipeline) -> list[str]:
    """List the tables with the pipeline's columns: mirror and log, as far as it has them.

    Args:
        pipeline: its target and outputs.
    """
    suffixes = {"mirror": "", "log": "_log"}
    return [pipeline.target + suffix for output, suffix in suffixes.items() if output in pipeline.outputs]


def add_column_sql(pipeline: Pipeline, name: str, column: str, kind: RedshiftType) -> str:
    """Build the statement that adds a column to a table.

    Args:
        pipeline: that has the table.
        name: one of `target_names`.
        column: the new column's name.
        kind: its type.
    """
    # `_log` is what the log's name adds to the target's (`target_names`).
    storage = pipeline.log if name == f"{pipeline.target}_log" else pipeline.mirror
    encode = {known: encoding for known, encoding in storage.encode.items() if fold(known) == fold(column)}
    return f"ALTER TABLE {_beside(pipeline, name)} ADD COLUMN {define_columns(((column, kind),), encode)}"


def widen_column_sql(pipeline: Pipeline, name: str, column: str, kind: RedshiftType) -> str:
    """Build the statement that lengthens a VARCHAR column: the one change of type that Redshift makes in place.

    Args:
        pipeline: that has the table.
        name: one of `target_names`.
        column: the column's name.
        kind: its new type.
    """
    return f"ALTER TABLE {_beside(pipeline, name)} ALTER COLUMN {quote_identifier(column)} TYPE {kind}"


def ddl_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statements that create what a pipeline needs in the warehouse; running them again loses nothing.

    Args:
        pipeline: its target, outputs and columns.
    """
    steps = [("schema", f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(pipeline.schema)}")]
    if "mirror" in pipeline.outputs:
        steps += [
            (
                "mirror",
                f"CREATE TABLE IF NOT EXISTS {quote_table(pipeline)} ({_define(pipeline, 'mirror')})"
                f"{build_keys(pipeline.mirror, '_key')}",
            ),
            # CREATE OR REPLACE VIEW cannot change a view's columns.
            ("drop_current", f"DROP VIEW IF EXISTS {quote_table(pipeline, '_current')}"),
            ("current", _view(pipeline, "_current", 'NOT "_deleted"')),
        ]
    if pipeline.kept_deletes:
        kept = ", ".join(quote_literal(op) for op in pipeline.kept_deletes)
        steps += [
            ("drop_all", f"DROP VIEW IF EXISTS {quote_table(pipeline, ALL)}"),
            ("all", _view(pipeline, ALL, f'NOT "_deleted" OR "_op" IN ({kept})')),
        ]
    if "log" in pipeline.outputs:
        steps += [
            (
                "log",
                f"CREATE TABLE IF NOT EXISTS {quote_table(pipeline, '_log')} ({_define(pipeline, 'log')})"
                f"{build_keys(pipeline.log, '_changed_at')}",
            ),
            ("drop_history", f"DROP VIEW IF EXISTS {quote_table(pipeline, '_history')}"),
            ("history", _history_view(pipeline)),
        ]
    steps += [("bookkeeping", sql) for sql in _bookkeeping(pipeline)]
    readable = [
        *(["_current"] if "mirror" in pipeline.outputs else []),
        *([ALL] if pipeline.kept_deletes else []),
        *(["_log", "_history"] if "log" in pipeline.outputs else []),
    ]
    steps += [
        ("grant", f"GRANT SELECT ON {quote_table(pipeline, suffix)} TO {quote_identifier(reader)}")
        for reader in pipeline.redshift.grant_to
        for suffix in readable
    ]
    return build_statements(pipeline.name, steps)


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


def _define(pipeline: Pipeline, output: Output) -> str:
    return define_columns(pipeline.layout.columns, pipeline.storages[output].encode)


def _beside(pipeline: Pipeline, name: str) -> str:
    return f"{quote_identifier(pipeline.schema)}.{quote_identifier(name)}"


def _view(pipeline: Pipeline, suffix: str, condition: str) -> str:
    names = [name for name, _ in pipeline.layout.columns]
    view = quote_table(pipeline, suffix)
    return f"CREATE VIEW {view} AS SELECT {list_names(names)} FROM {quote_table(pipeline)} WHERE {condition}"


def _history_view(pipeline: Pipeline) -> str:
    # Ordered by version, not by time: DynamoDB's times are whole seconds, and changes may arrive in any order.
    names = [name for name, _ in pipeline.layout.columns]
    until = 'LEAD("_changed_at") OVER (PARTITION BY "_key" ORDER BY "_version")'
    return (
        f"CREATE VIEW {quote_table(pipeline, '_history')} AS"
        f' SELECT {list_names(names)}, "_valid_from", "_valid_to"'
        f' FROM (SELECT {list_names(names)}, "_changed_at" AS "_valid_from", {until} AS "_valid_to"'
        f' FROM {quote_table(pipeline, "_log")}) AS "versions" WHERE NOT "_deleted"'
    )


def _bookkeeping(pipeline: Pipeline) -> list[str]:
    # Once per pipeline: two pipelines that shared these would abort each other under SERIALIZABLE isolation.
    gate = quote_table(pipeline, "_gate")
    tables = {
        "_loads": (
            ("batch_id", BATCH_ID), ("attempt", COUNT), ("manifest_checksum", BATCH_ID),
            ("files", COUNT), ("row_count", COUNT), ("loaded_at", MOMENT),
        ),
        "_load_files": (("file_id", FILE_ID), ("batch_id", BATCH_ID), ("row_count", COUNT), ("loaded_at", MOMENT)),
        "_fences": (("batch_id", BATCH_ID), ("attempt", COUNT), ("fenced_at", MOMENT)),
        "_resyncs": (("epoch", COUNT), ("floor", BATCH_ID), ("resynced_at", MOMENT)),
    }  # fmt: skip
    return [
        f'CREATE TABLE IF NOT EXISTS {gate} ("n" BIGINT)',
        f'INSERT INTO {gate} ("n") SELECT 0 FROM (SELECT COUNT(*) AS "rows" FROM {gate}) AS "counted" WHERE "rows" = 0',
        *(
            f"CREATE TABLE IF NOT EXISTS {quote_table(pipeline, suffix)} ({define_columns(columns)})"
            for suffix, columns in tables.items()
        ),
    ]
