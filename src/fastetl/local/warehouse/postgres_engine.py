"""PostgreSQL as the warehouse: real sessions, locks, rollbacks and isolation levels.

A cluster of its own, in a directory of its own, on a Unix socket, run by an unprivileged user; a few seconds to start.
Of the engines here only this one may be cited for what concurrent transactions do, and it proves nothing about
Redshift itself.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGresult

from fastetl.columns import RedshiftType
from fastetl.local.warehouse.catalog import INSTALL, quote
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

Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]

_RESULT_TYPES = {"json": "super", "bytea": "varbyte", "text": "varchar"}

# Nothing here outlives the cluster's directory, so that nothing needs to reach the disk.
_SETTINGS = {
    "listen_addresses": "''", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
    "max_connections": "100", "timezone": "'UTC'", "log_timezone": "'UTC'", "max_wal_size": "'256MB'",
}  # fmt: skip

_CATALOG = (
    "SELECT nspname AS table_schema, relname AS table_name, attname AS column_name, attnum AS ordinal_position,"
    " COALESCE(col_description(attrelid, attnum), upper(format_type(atttypid, atttypmod))) AS declared"
    " FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace"
    " WHERE attnum > 0 AND NOT attisdropped AND nspname NOT IN ('pg_catalog', 'information_schema')"
)

DATABASE = "dev"
"""Its one database, whichever the Data API is asked for."""

CONNECT_SECONDS, CONNECT_ATTEMPTS = 10, 5
"""A busy machine may leave a connection unanswered; the next one is taken."""


class PostgresEngine:
    """A private PostgreSQL cluster that lives as long as the engine."""

    dialect: Dialect = "postgres"
    concurrency = 16

    def __init__(self, isolation: Isolation = "REPEATABLE READ") -> None:
        """Describe a cluster.

        Args:
            isolation: of every transaction. REPEATABLE READ is snapshot isolation, as Redshift's SNAPSHOT is.
        """
        self._isolation = isolation
        self._binaries = find_binaries()
        self._directory: Path | None = None

    def start(self) -> None:
        """Make the cluster and start it."""
        # A socket's path has about 100 bytes (sun_path), which deep temporary directories exceed.
        self._directory = Path(tempfile.mkdtemp(prefix="fastetl-pg-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self._directory, _unprivileged_user())
        cluster = self._directory / "cluster"
        self._run("initdb", "-D", cluster, "-U", "fastetl", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        settings = {**_SETTINGS, "unix_socket_directories": f"'{self._directory}'"}
        with (cluster / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self._run("pg_ctl", "-D", cluster, "-w", "-s", "-l", cluster / "server.log", "start")
        with self._connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
        session = self.connect()
        session.run(f"CREATE SCHEMA {SYSTEM_SCHEMA}", has_rows=False)
        session.run(COLUMNS_VIEW.format(catalog=_CATALOG), has_rows=False)
        for statement in INSTALL[self.dialect]:
            session.run(statement, has_rows=False)
        session.close()

    def stop(self) -> None:
        """Stop the cluster and remove it."""
        if self._directory is not None:
            self._run("pg_ctl", "-D", self._directory / "cluster", "-m", "immediate", "-s", "stop")
            shutil.rmtree(self._directory)
            self._directory = None

    def connect(self, user: str = "") -> PostgresSession:
        """Open a session.

        Args:
            user: whose rights it has; without one, it may do everything.
        """
        session = PostgresSession(self._connect(DATABASE), self._isolation)
        if user:
            session.run(f"SET SESSION AUTHORIZATION {quote(user)}", has_rows=False)
        return session

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        if self._directory is None:
            raise RuntimeError("the engine is not started")
        for attempt in range(CONNECT_ATTEMPTS):
            try:
                return psycopg.connect(
                    host=str(self._directory), user="fastetl", dbname=database, autocommit=True,
                    connect_timeout=CONNECT_SECONDS,
                    options=f"-c search_path=public,{SYSTEM_SCHEMA} -c standard_conforming_strings=on",
                )  # fmt: skip
            except psycopg.errors.ConnectionTimeout:
                if attempt == CONNECT_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _run(self, binary: str, *arguments: str | Path) -> None:
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            user = {
                "user": _unprivileged_user(),
                "group": pwd.getpwnam(_unprivileged_user()).pw_gid,
                "extra_groups": [],
            }
        command = [str(self._binaries / binary), *map(str, arguments)]
        # The server outlives pg_ctl and would keep a pipe open: what is said goes to a file instead.
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/", check=False, **user
            )
            if done.returncode:
                said.seek(0)
                raise RuntimeError(f"{binary} failed: {said.read().decode(errors='replace')}")


class PostgresSession:
    """One connection."""

    def __init__(self, connection: psycopg.Connection[Any], isolation: Isolation) -> None:
        self._connection = connection
        self._isolation = isolation

    def begin(self) -> None:
        """Open a transaction."""
        self.run(f"BEGIN ISOLATION LEVEL {self._isolation}", has_rows=False)

    def commit(self) -> None:
        """Commit it."""
        self.run("COMMIT", has_rows=False)

    def rollback(self) -> None:
        """Undo it; harmless when none is open, or the server has ended the session."""
        if self._connection.info.transaction_status in {pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR}:
            self.run("ROLLBACK", has_rows=False)

    def run(self, sql: str, *, has_rows: bool) -> Answer:
        """Run one statement."""
        try:
            cursor = self._connection.execute(cast("Any", sql))
        except psycopg.Error as error:
            raise _sql_error(error) from error
        if not has_rows:
            return Answer(touched=cursor.rowcount)
        types = [self._type_name(column.type_code) for column in cursor.description or ()]
        names = [column.name for column in cursor.description or ()]
        rows = _text_rows(cast("PGresult", cursor.pgresult), types)
        return Answer(columns=tuple(zip(names, types, strict=True)), rows=rows)

    def column_types(self, table: Table) -> dict[str, RedshiftType]:
        """List the columns in order, as the search path finds the table."""
        found = self._connection.execute(
            "SELECT attname, col_description(attrelid, attnum), format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [str(table)],
        ).fetchall()
        return {name: parse_native_type(declared, native) for name, declared, native in found}

    def insert(
        self, table: Table, columns: Sequence[tuple[str, RedshiftType]], rows: Sequence[Sequence[str | None]]
    ) -> None:
        """Append rows through PostgreSQL's own COPY."""
        names = ", ".join(str(Table(name)) for name, _ in columns)
        binary = [place for place, (_, kind) in enumerate(columns) if kind.kind == "VARBYTE"]
        try:
            with self._connection.cursor().copy(cast("Any", f"COPY {table} ({names}) FROM STDIN")) as copy:
                for row in rows:
                    copy.write_row(_hexadecimal(row, binary) if binary else row)
        except psycopg.Error as error:
            raise _sql_error(error) from error

    def interrupt(self) -> None:
        """Make the running statement fail."""
        self._connection.cancel_safe()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _type_name(self, oid: int) -> str:
        known = self._connection.adapters.types.get(oid)
        name = known.name if known else "varchar"
        return _RESULT_TYPES.get(name, name)


def find_binaries() -> Path:
    """Find where PostgreSQL's server programs are: Debian's directories (the newest version), or PATH.

    Raises:
        RuntimeError: they are nowhere.
    """
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if installed:
        return installed[-1].parent
    if on_path:
        return Path(on_path).resolve().parent
    raise RuntimeError("PostgreSQL's initdb is not installed; on Debian: apt-get install postgresql")


def _unprivileged_user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _text_rows(result: PGresult, types: Sequence[str]) -> tuple[tuple[str | None, ...], ...]:
    """Take the rows as the server wrote them: exact, and with no Python types in between."""
    return tuple(
        tuple(_text(result.get_value(row, place), kind) for place, kind in enumerate(types))
        for row in range(result.ntuples)
    )


def _text(value: bytes | None, kind: str) -> str | None:
    if value is None:
        return None
    text = value.decode()
    if kind == "bool":
        return "true" if text == "t" else "false"
    return text.removeprefix(r"\x") if kind == "varbyte" else text


def _hexadecimal(row: Sequence[str | None], binary: Sequence[int]) -> list[str | None]:
    return [rf"\x{value}" if place in binary and value is not None else value for place, value in enumerate(row)]


def _sql_error(error: psycopg.Error) -> SqlError:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return StatementCancelledError("Query cancelled on user's request")
    message = error.diag.message_primary or str(error)
    if isinstance(error, psycopg.errors.SerializationFailure):
        return SqlError(f"1023 DETAIL: Serializable isolation violation: {message}")
    if "cannot affect row a second time" in message:
        return SqlError("Found multiple matches to update the same tuple.")
    return SqlError(message)
