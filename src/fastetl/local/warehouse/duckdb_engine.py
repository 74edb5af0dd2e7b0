"""DuckDB as the warehouse: in the process, quick, one transaction at a time."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
import orjson

from fastetl.columns import KINDS, RedshiftType
from fastetl.local.warehouse.catalog import INSTALL
from fastetl.local.warehouse.engine import (
    COLUMNS_VIEW,
    SYSTEM_SCHEMA,
    Answer,
    Dialect,
    SqlError,
    StatementCancelledError,
    Table,
    parse_native_type,
)

_RESULT_TYPES = {
    "SMALLINT": "int2", "INTEGER": "int4", "BIGINT": "int8", "HUGEINT": "numeric", "FLOAT": "float4",
    "DOUBLE": "float8", "BOOLEAN": "bool", "JSON": "super", "BLOB": "varbyte", "DECIMAL": "numeric",
}  # fmt: skip
"""PostgreSQL's names, where they are not Redshift's own."""

_DUCKDB_TYPES = {"VARCHAR": "VARCHAR", "CHAR": "VARCHAR", "SUPER": "JSON", "VARBYTE": "BLOB"}

_CATALOG = (
    "SELECT schema_name AS table_schema, table_name, column_name, column_index AS ordinal_position,"
    " COALESCE(comment, data_type) AS declared FROM duckdb_columns() WHERE NOT internal AND database_name <> 'temp'"
)

_NO_INTEGER = re.compile(r"Could not convert string '(.*)' to INT")

_MAX_ROW_BYTES = 64 * 1024 * 1024
"""A row as JSON: COPY's 4 MB, escaped at worst sixfold, with room."""


class DuckDBEngine:
    """A DuckDB database in memory, or in a file.

    Its transactions do not wait for each other as Redshift's do (a second writer fails at once), so the server lets
    one run at a time: nothing about locks or isolation can be shown here.
    """

    dialect: Dialect = "duckdb"
    concurrency = 1

    def __init__(self, path: Path | None = None) -> None:
        """Describe a database.

        Args:
            path: its file; None keeps it in memory.
        """
        self._path = path
        self._database: duckdb.DuckDBPyConnection | None = None

    def start(self) -> None:
        """Open the database."""
        self._database = duckdb.connect(str(self._path or ":memory:"))
        self._database.execute(f"CREATE SCHEMA IF NOT EXISTS public; CREATE SCHEMA IF NOT EXISTS {SYSTEM_SCHEMA}")
        self._database.execute(COLUMNS_VIEW.format(catalog=_CATALOG))
        for statement in INSTALL[self.dialect]:
            self._database.execute(statement)

    def stop(self) -> None:
        """Close it; what is in memory is gone."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def connect(self, user: str = "") -> DuckDBSession:  # noqa: ARG002 - it has no users
        """Open a session with temporary tables of its own.

        Args:
            user: ignored.
        """
        if self._database is None:
            raise RuntimeError("the engine is not started")
        return DuckDBSession(self._database.cursor())


class DuckDBSession:
    """One connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._in_transaction = False
        self.run(f"SET search_path = 'public,{SYSTEM_SCHEMA}'", has_rows=False)
        self.run("SET TimeZone = 'UTC'", has_rows=False)
        # As in Redshift, an integer divided by an integer is one.
        self.run("SET integer_division = true", has_rows=False)

    def begin(self) -> None:
        """Open a transaction."""
        self.run("BEGIN", has_rows=False)
        self._in_transaction = True

    def commit(self) -> None:
        """Commit it."""
        self._in_transaction = False
        self.run("COMMIT", has_rows=False)

    def rollback(self) -> None:
        """Undo it; harmless when none is open."""
        if self._in_transaction:
            self._in_transaction = False
            self.run("ROLLBACK", has_rows=False)

    def run(self, sql: str, *, has_rows: bool) -> Answer:
        """Run one statement."""
        try:
            if has_rows:
                return self._query(sql)
            counted = self._connection.execute(sql).fetchone()
        except duckdb.Error as error:
            raise _sql_error(error) from error
        return Answer(touched=counted[0] if counted and type(counted[0]) is int else -1)

    def _query(self, sql: str) -> Answer:
        # Values are turned into text by DuckDB itself: exact decimals, and no time zone library in between.
        relation = self._connection.sql(sql)
        types = [str(kind) for kind in relation.types]
        texts = [
            f"lower(hex(#{place}))" if kind == "BLOB" else f"CAST(#{place} AS VARCHAR)"
            for place, kind in enumerate(types, start=1)
        ]
        rows = self._connection.sql(f"SELECT {', '.join(texts)} FROM relation").fetchall()
        names = [_name_type(kind.partition("(")[0]) for kind in types]
        return Answer(columns=tuple(zip(relation.columns, names, strict=True)), rows=tuple(rows))

    def column_types(self, table: Table) -> dict[str, RedshiftType]:
        """List the columns in order, temporary tables before others of the same name."""
        found = self._connection.execute(
            "SELECT database_name, schema_name, column_name, comment, data_type FROM duckdb_columns()"
            " WHERE table_name = $1 AND ($2 = '' OR schema_name = $2) AND NOT internal"
            " ORDER BY database_name = 'temp' DESC, schema_name = 'public' DESC, schema_name, column_index",
            [table.name, table.schema],
        ).fetchall()
        return {
            name: parse_native_type(comment, native)
            for database, schema, name, comment, native in found
            if (database, schema) == found[0][:2]
        }

    def insert(
        self, table: Table, columns: Sequence[tuple[str, RedshiftType]], rows: Sequence[Sequence[str | None]]
    ) -> None:
        """Append rows; through a file of JSON, which DuckDB reads many times faster than parameters."""
        if not rows:
            return
        names = ", ".join(str(Table(name)) for name, _ in columns)
        values = ", ".join(_value(place, kind) for place, (_, kind) in enumerate(columns, start=1))
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(orjson.dumps(rows))
            file.flush()
            source = (
                "SELECT json AS fields FROM read_json($1, format = 'array', records = false,"
                f" columns = {{json: 'VARCHAR[]'}}, maximum_object_size = {_MAX_ROW_BYTES})"
            )
            try:
                self._connection.execute(f"INSERT INTO {table} ({names}) SELECT {values} FROM ({source})", [file.name])
            except duckdb.Error as error:
                raise _sql_error(error) from error

    def interrupt(self) -> None:
        """Make the running statement fail."""
        self._connection.interrupt()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _name_type(kind: str) -> str:
    return _RESULT_TYPES.get(kind) or KINDS.get(kind, kind).lower()


def _value(place: int, kind: RedshiftType) -> str:
    if kind.kind == "VARBYTE":
        return f"unhex(fields[{place}])"
    return f"CAST(fields[{place}] AS {_DUCKDB_TYPES.get(kind.kind, str(kind))})"


def _sql_error(error: duckdb.Error) -> SqlError:
    if isinstance(error, duckdb.InterruptException):
        return StatementCancelledError("Query cancelled on user's request")
    message = str(error).partition("\n")[0]
    if "cannot affect the same target row more than once" in message:
        message = "Found multiple matches to update the same tuple."
    if found := _NO_INTEGER.search(message):
        message = f'invalid input syntax for integer: "{found[1]}"'
    return SqlError(message)
