"""What a database must do to stand in for Redshift behind the embedded Data API.

Two are there: DuckDB (in the process, quick, one transaction at a time: proves SQL and data) and PostgreSQL (real
sessions, locks and isolation levels). Neither is Redshift, and neither proves anything about Redshift itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from fastetl.columns import RULES, RedshiftType
from fastetl.limits import MAX_VARBYTE_BYTES, MAX_VARCHAR_BYTES

Dialect = Literal["duckdb", "postgres"]

SYSTEM_SCHEMA = "redshift_system"
"""Holds what Redshift keeps in its system views; last in every session's search path."""


class SqlError(Exception):
    """A statement failed, or Redshift would refuse it. The message is what DescribeStatement shows as `Error`."""


class StatementCancelledError(SqlError):
    """The statement was interrupted by CancelStatement."""


class Table(msgspec.Struct, frozen=True):
    """A table's name, folded as Redshift folds it; an empty schema means the session's search path."""

    name: str
    schema: str = ""

    def __str__(self) -> str:
        quoted = ['"' + part.replace('"', '""') + '"' for part in (self.schema, self.name) if part]
        return ".".join(quoted)


class Answer(msgspec.Struct, frozen=True):
    """What a statement gave: rows as text (None is NULL), or how many rows it touched."""

    columns: tuple[tuple[str, str], ...] | None = None
    """Names and types as PostgreSQL calls them (`int8`, `varchar`, …); None where there is no result set."""
    rows: tuple[tuple[str | None, ...], ...] = ()
    touched: int = -1
    """Rows that INSERT, UPDATE, DELETE, MERGE or COPY affected; -1 for other statements."""


class Session(Protocol):
    """One connection. Temporary tables live and die with it; used by one thread at a time."""

    def begin(self) -> None:
        """Open a transaction."""

    def commit(self) -> None:
        """Commit it."""

    def rollback(self) -> None:
        """Undo it; harmless when none is open."""

    def run(self, sql: str, *, has_rows: bool) -> Answer:
        """Run one statement in the engine's own dialect.

        Raises:
            SqlError: it failed.
        """

    def column_types(self, table: Table) -> dict[str, RedshiftType]:
        """List the columns in order with the types they were declared with; none where the table does not exist."""

    def insert(
        self, table: Table, columns: Sequence[tuple[str, RedshiftType]], rows: Sequence[Sequence[str | None]]
    ) -> None:
        """Append rows of text that has been checked against the types already (see `copy_values`)."""

    def interrupt(self) -> None:
        """Make the running statement fail with StatementCancelledError; called from another thread."""

    def close(self) -> None:
        """End the connection; an open transaction is rolled back."""


class Engine(Protocol):
    """A database with as many sessions as it bears."""

    dialect: Dialect
    concurrency: int
    """Transactions that may run at once; the others queue in the server."""

    def start(self) -> None:
        """Make the database ready, with the schemas `public` and `SYSTEM_SCHEMA`."""

    def stop(self) -> None:
        """End it."""

    def connect(self, user: str = "") -> Session:
        """Open a session.

        Args:
            user: whose rights it has; without one, it may do everything.
        """


_CATALOG_NAMES = " ".join(f"WHEN '{rule.kind}' THEN '{rule.catalog}'" for rule in RULES.values() if rule.catalog)

COLUMNS_VIEW = f"""
CREATE OR REPLACE VIEW {SYSTEM_SCHEMA}.svv_columns AS
SELECT table_schema, table_name, column_name, ordinal_position,
    CASE kind {_CATALOG_NAMES} ELSE lower(kind) END AS data_type,
    CASE WHEN kind IN ('VARCHAR', 'CHAR', 'VARBYTE') THEN CAST(NULLIF(argument, '') AS INTEGER) END
        AS character_maximum_length,
    CASE WHEN kind = 'DECIMAL' THEN CAST(split_part(argument, ',', 1) AS INTEGER) END AS numeric_precision,
    CASE WHEN kind = 'DECIMAL' THEN CAST(split_part(argument, ',', 2) AS INTEGER) END AS numeric_scale
FROM (
    SELECT *, split_part(declared, '(', 1) AS kind, rtrim(split_part(declared, '(', 2), ')') AS argument
    FROM ({{catalog}}) AS catalog
) AS columns
"""
"""SVV_COLUMNS; `catalog` is the engine's query for `table_schema, table_name, column_name, ordinal_position, declared`,
the last being the type as its DDL declared it, else the engine's own."""


_NATIVE_TYPES = {
    "JSON": RedshiftType("SUPER"),
    "BLOB": RedshiftType("VARBYTE", length=MAX_VARBYTE_BYTES),
    "BYTEA": RedshiftType("VARBYTE", length=MAX_VARBYTE_BYTES),
    "VARCHAR": RedshiftType("VARCHAR", length=MAX_VARCHAR_BYTES),
    "CHARACTER VARYING": RedshiftType("VARCHAR", length=MAX_VARCHAR_BYTES),
    "TEXT": RedshiftType("VARCHAR", length=MAX_VARCHAR_BYTES),
    "HUGEINT": RedshiftType("DECIMAL", precision=38),
    "FLOAT": RedshiftType("REAL"),
}


def parse_native_type(declared: str | None, native: str) -> RedshiftType:
    """Tell a column's Redshift type: as its DDL declared it, else (CREATE TABLE AS) what the engine's stands for."""
    if declared:
        return RedshiftType.parse(declared)
    known = _NATIVE_TYPES.get(native.upper())
    return known or RedshiftType.parse(native)
