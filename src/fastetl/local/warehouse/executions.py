"""What the Data API was asked to run, and running it on an engine: one transaction, all or nothing."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from fastetl.columns import RedshiftType
from fastetl.limits import MAX_RESULT_ROW_BYTES
from fastetl.local.warehouse.copy import CopyFailedError, LoadError, copy
from fastetl.local.warehouse.copy_command import is_copy, parse_copy
from fastetl.local.warehouse.copy_source import S3Client
from fastetl.local.warehouse.engine import (
    SYSTEM_SCHEMA,
    Answer,
    Engine,
    Session,
    SqlError,
    StatementCancelledError,
    Table,
)
from fastetl.local.warehouse.redshift_sql import translate

Status = Literal["SUBMITTED", "PICKED", "STARTED", "FINISHED", "FAILED", "ABORTED"]

ENDED: frozenset[Status] = frozenset({"FINISHED", "FAILED", "ABORTED"})

LOAD_ERRORS = Table("sys_load_error_detail", SYSTEM_SCHEMA)
_LOAD_ERROR_COLUMNS: tuple[tuple[str, RedshiftType], ...] = tuple(
    (name, RedshiftType.parse(kind))
    for name, kind in {
        "user_id": "INTEGER", "query_id": "BIGINT", "transaction_id": "BIGINT", "session_id": "INTEGER",
        "database_name": "CHAR(64)", "table_id": "INTEGER", "start_time": "TIMESTAMP", "file_name": "CHAR(256)",
        "line_number": "BIGINT", "column_name": "CHAR(127)", "column_type": "CHAR(10)", "column_length": "CHAR(10)",
        "position": "INTEGER", "error_code": "INTEGER", "error_message": "CHAR(512)",
    }.items()
)  # fmt: skip
"""SYS_LOAD_ERROR_DETAIL (Redshift Database Developer Guide, SYS monitoring views)."""


class SubStatement(msgspec.Struct):
    """One statement of an execution and what became of it."""

    sql: str
    query_id: int
    status: Status = "SUBMITTED"
    error: str = ""
    answer: Answer = Answer()
    started_at: float = 0.0
    ended_at: float = 0.0


class Caller(msgspec.Struct, frozen=True):
    """Who calls the Data API, told apart by the access key."""

    arn: str
    """The id of the IAM user, or of the role's session."""
    database_user: str = ""
    """The database user, made when it first connects, as for an IAM identity; empty for one that may do everything."""
    session_only: bool = False
    """Whether its policy allows statements of its own session alone, so that listing its role's is denied."""


class Execution(msgspec.Struct):
    """One ExecuteStatement or BatchExecuteStatement."""

    id: str
    name: str
    statements: list[SubStatement]
    is_batch: bool
    connection: dict[str, str]
    """What the request said about where to run: WorkgroupName, Database, …"""
    caller: Caller
    with_event: bool
    created_at: float
    updated_at: float
    status: Status = "SUBMITTED"
    error: str = ""
    session: Session | None = None
    cancelled: bool = False


ACCOUNT = "123456789012"

INTERRUPT_SECONDS = 0.05


class Runner:
    """Runs executions on an engine. Called from worker threads; each execution by one of them."""

    def __init__(self, engine: Engine, s3: S3Client, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._s3 = s3
        self._clock = clock
        self._query_ids = itertools.count(1001)
        self._transaction_ids = itertools.count(1)
        self.query_id_skew = 0
        """How much SYS_LOAD_ERROR_DETAIL's query ids differ from the Data API's, as on a provisioned cluster."""
        self._cancelling = threading.Lock()

    def install(self) -> None:
        """Make the system table that COPY's errors go to."""
        columns = ", ".join(f'"{name}" {kind}' for name, kind in _LOAD_ERROR_COLUMNS)
        session = self._engine.connect()
        try:
            _run_sql(session, f"CREATE TABLE IF NOT EXISTS {LOAD_ERRORS} ({columns})", self._engine, in_batch=False)
            # Every user may read it (Redshift Database Developer Guide, SYS_LOAD_ERROR_DETAIL).
            _run_sql(session, f"GRANT SELECT ON {LOAD_ERRORS} TO PUBLIC", self._engine, in_batch=False)
        finally:
            session.close()

    def prepare(self, sqls: Sequence[str]) -> list[SubStatement]:
        """Give each statement a query id, as Redshift does."""
        return [SubStatement(sql, next(self._query_ids)) for sql in sqls]

    def run(self, execution: Execution) -> None:
        """Run it to its end and note in it how it ended. An engine's defect ends it as FAILED as well."""
        if not self._start(execution):
            return
        load_errors: list[tuple[SubStatement, LoadError]] = []
        ended: tuple[Status, str] = ("FINISHED", "")
        try:
            self._run_transaction(execution, load_errors)
        except StatementCancelledError as error:
            ended = ("ABORTED", str(error))
        except _BatchFailedError as error:
            ended = ("FAILED", str(error))
        except Exception as error:  # noqa: BLE001 - whatever a driver raises is how this statement ended
            ended = ("FAILED", f"ERROR: {error}")
        try:
            # The log of load errors outlives the rollback, as Redshift's system tables do.
            self._log(execution, load_errors)
        finally:
            self._end(execution, *ended)

    def cancel(self, execution: Execution) -> None:
        """Stop it where it is; the outcome shows whether that was in time."""
        with self._cancelling:
            execution.cancelled = True
            if execution.status in {"SUBMITTED", "PICKED"}:
                self._end(execution, "ABORTED", "Query cancelled on user's request")
        self._interrupt(execution)

    def _interrupt(self, execution: Execution) -> None:
        """Interrupt what runs, again and again: between two statements an interruption meets nothing."""
        with self._cancelling:
            if execution.session is None:
                return
            execution.session.interrupt()
        again = threading.Timer(INTERRUPT_SECONDS, self._interrupt, [execution])
        again.daemon = True
        again.start()

    def _start(self, execution: Execution) -> bool:
        with self._cancelling:
            if not execution.cancelled:
                execution.status, execution.updated_at = "STARTED", self._clock()
            return not execution.cancelled

    def _run_transaction(self, execution: Execution, load_errors: list[tuple[SubStatement, LoadError]]) -> None:
        session = self._engine.connect(self._database_user(execution))
        execution.session = session
        try:
            session.begin()
            for place, statement in enumerate(execution.statements, start=1):
                if execution.cancelled:
                    raise StatementCancelledError("Query cancelled on user's request")
                try:
                    self._run_statement(session, statement, execution, load_errors)
                except StatementCancelledError:
                    raise
                except SqlError as error:
                    if execution.is_batch:
                        raise _BatchFailedError(f"Query #{place} failed with ERROR: {error}") from error
                    raise
            session.commit()
        finally:
            with self._cancelling:
                execution.session = None
            session.rollback()
            session.close()

    def _database_user(self, execution: Execution) -> str:
        if named := execution.connection.get("DbUser", ""):
            return named
        user = execution.caller.database_user
        if user:
            session = self._engine.connect()
            try:
                with contextlib.suppress(SqlError):  # it is there
                    _run_sql(session, f"CREATE USER {Table(user)} PASSWORD DISABLE", self._engine, in_batch=False)
            finally:
                session.close()
        return user

    def _run_statement(
        self,
        session: Session,
        statement: SubStatement,
        execution: Execution,
        load_errors: list[tuple[SubStatement, LoadError]],
    ) -> None:
        statement.status, statement.started_at = "STARTED", self._clock()
        try:
            if is_copy(statement.sql):
                loaded, dropped = copy(parse_copy(statement.sql), session, self._s3)
                load_errors += [(statement, error) for error in dropped]
                statement.answer = Answer(touched=loaded)
            else:
                statement.answer = _run_sql(session, statement.sql, self._engine, in_batch=execution.is_batch)
            _check_rows(statement.answer)
            statement.status = "FINISHED"
        except Exception as error:
            if isinstance(error, CopyFailedError):
                load_errors += [(statement, row) for row in error.errors]
            statement.status = "ABORTED" if isinstance(error, StatementCancelledError) else "FAILED"
            statement.error = f"ERROR: {error}"
            raise
        finally:
            statement.ended_at = self._clock()

    def _end(self, execution: Execution, status: Status, error: str) -> None:
        for statement in execution.statements:
            if statement.status not in ENDED:
                statement.status = "ABORTED"
        execution.error = error
        execution.updated_at = self._clock()
        execution.status = status

    def _log(self, execution: Execution, load_errors: list[tuple[SubStatement, LoadError]]) -> None:
        if not load_errors:
            return
        database = execution.connection.get("Database", "")
        transaction_id = str(next(self._transaction_ids))
        rows = [
            [
                "100", str(statement.query_id + self.query_id_skew), transaction_id, "1", database, "0",
                datetime.fromtimestamp(statement.started_at, UTC).replace(tzinfo=None).isoformat(sep=" "),
                error.file_name[:256], str(error.line_number), error.column_name, error.column_type[:10],
                error.column_length, str(error.position), str(error.error_code), error.error_message[:512],
            ]
            for statement, error in load_errors
        ]  # fmt: skip
        session = self._engine.connect()
        try:
            session.insert(LOAD_ERRORS, _LOAD_ERROR_COLUMNS, rows)
        finally:
            session.close()


def _check_rows(answer: Answer) -> None:
    size = max((sum(map(len, filter(None, row))) for row in answer.rows), default=0)
    if size > MAX_RESULT_ROW_BYTES:
        raise SqlError(f"Packet for query is too large ({size} > {MAX_RESULT_ROW_BYTES})")


class _BatchFailedError(Exception):
    """Names the statement of a batch that failed, as the Data API does."""


def _run_sql(session: Session, sql: str, engine: Engine, *, in_batch: bool) -> Answer:
    translated = translate(sql, engine.dialect, in_batch=in_batch)
    if translated.unless_exists and session.column_types(translated.unless_exists):
        return Answer()
    for refusal in translated.refusals:
        if session.run(refusal.query, has_rows=True).rows:
            raise SqlError(refusal.message)
    for table, column, kind in translated.altered:
        _make_anew(session, table, {**session.column_types(table), column: kind}, engine)
    answer = Answer()
    for statement in translated.sql:
        answer = session.run(statement, has_rows=translated.has_rows)
    return answer if translated.has_rows or translated.counts else Answer()


def _make_anew(session: Session, table: Table, columns: dict[str, RedshiftType], engine: Engine) -> None:
    """Give a table other columns by copying it: DuckDB alters no column that has a check."""
    there = session.column_types(table)
    if not there:
        raise SqlError(f'relation "{table.name}" does not exist')
    other = Table(f"{table.name}__altered", table.schema)
    definitions = ", ".join(f"{Table(name)} {kind}" for name, kind in columns.items())
    names = ", ".join(str(Table(name)) for name in there)
    _run_sql(session, f"CREATE TABLE {other} ({definitions})", engine, in_batch=False)
    session.run(f"INSERT INTO {other} ({names}) SELECT {names} FROM {table}", has_rows=False)
    session.run(f"DROP TABLE {table}", has_rows=False)
    session.run(f"ALTER TABLE {other} RENAME TO {Table(table.name)}", has_rows=False)
