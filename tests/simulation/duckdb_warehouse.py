"""The warehouse that runs the product's real SQL: DuckDB, with the simulation's locks, snapshots, faults and clock.

DuckDB has transactions of its own on snapshots, so writers that meet fail as Redshift's do. What it has not is LOCK and
a queue: those are the fake warehouse's. COPY is that of the local warehouse, on the fake S3.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
from backports import zstd

from fastetl.local.warehouse.copy import CopyFailedError, copy
from fastetl.local.warehouse.copy_command import parse_copy
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.engine import SqlError as EngineError
from fastetl.local.warehouse.redshift_sql import translate
from tests.simulation.fake_warehouse import POISON, SWALLOW, Answer, FakeWarehouse, Row, SqlError, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastetl.local.warehouse.redshift_sql import Translated
    from tests.simulation.fake_s3 import FakeS3

_PYTHONS = frozenset({"load_errors"})
"""Steps that ask what DuckDB does not have: the fake warehouse answers."""

_VARYING = re.compile(r"'([^']*[0-9a-f]{12}[^']*|\d{4}-\d\d-\d\d[^']*)'")
"""Literals that differ from statement to statement: ids, keys of objects, times."""


class DuckWarehouse(FakeWarehouse):
    """One database in memory."""

    def __init__(self, s3: FakeS3, *arguments: Any, **options: Any) -> None:
        super().__init__(s3, *arguments, **options)
        self.engine = DuckDBEngine()
        self.engine.start()
        self.commits = 0
        self._read: dict[str, tuple[int, list[Row]]] = {}
        self._reader = self.engine.connect()

    def begin(self) -> Transaction:
        """A transaction of a session of its own."""
        return DuckTransaction(self)

    def rows(self, table: str) -> list[Row]:
        """What is committed in a table, as the fake warehouse has it."""
        at, rows = self._read.get(table, (-1, []))
        if at != self.commits:
            rows = self._select(table)
            self._read[table] = self.commits, rows
        return rows

    def _select(self, table: str) -> list[Row]:
        try:
            found = self._reader._connection.execute(f"SELECT * FROM {table}")
        except duckdb.CatalogException:
            return []
        names = [column[0] for column in found.description]
        return [dict(zip(names, map(_plain, values), strict=True)) for values in found.fetchall()]

    def delete(self, table: str, gone: Callable[[Row], bool]) -> None:
        """What a person deletes, committed at once."""
        self.meddled.add(table)
        kept = [row for row in self._typed(table) if not gone({name: _plain(value) for name, value in row.items()})]
        self._put(table, kept)

    def snapshot(self) -> Any:
        """All tables as they are now."""
        names = self._reader._connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        ).fetchall()
        return {f'"{schema}"."{name}"': self._typed(f'"{schema}"."{name}"') for schema, name in names}

    def restore(self, snapshot: Any) -> None:
        """Set all tables back; no session outlives it."""
        self.age += 1
        for table, rows in snapshot.items():
            self._put(table, rows)

    def _typed(self, table: str) -> list[Row]:
        found = self._reader._connection.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in found.description]
        return [dict(zip(names, values, strict=True)) for values in found.fetchall()]

    def _put(self, table: str, rows: list[Row]) -> None:
        connection = self._reader._connection
        connection.execute(f"DELETE FROM {table}")
        for row in rows:
            names = ", ".join(f'"{name}"' for name in row)
            places = ", ".join("?" for _ in row)
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", list(row.values()))
        self.commits += 1

    def close(self) -> None:
        """Give the memory back."""
        self.engine.stop()


class DuckTransaction(Transaction):
    """One transaction. The locks and the order of taking a snapshot are those of the fake one."""

    def __init__(self, warehouse: DuckWarehouse) -> None:
        super().__init__(warehouse)
        self._duck = warehouse
        self._session: Any = None

    def _begin_snapshot(self) -> None:
        if self._session is None:
            self._session = self._duck.engine.connect()
            self._session.begin()
            # DuckDB takes its snapshot with the first table that is read.
            self._session._connection.execute("SELECT COUNT(*) FROM redshift_system.svv_columns").fetchall()

    def _do(self, step: str, sql: str, query_id: int) -> Answer | None:
        if step in _PYTHONS:
            return super()._do(step, sql, query_id)
        if step == "lock":
            return None
        self._begin_snapshot()
        try:
            return self._run(sql, query_id)
        except CopyFailedError as error:
            self._keep_errors(error, query_id)
            raise SqlError(str(error)) from error
        except EngineError as error:
            if "onflict" in str(error):
                raise SqlError(f"ERROR: 1023 DETAIL: Serializable isolation violation: {error}") from error
            raise SqlError(str(error)) from error

    def _run(self, sql: str, query_id: int) -> Answer | None:
        if sql.startswith("COPY "):
            copy(parse_copy(sql), self._session, SpoiltS3(self._duck.s3))
            return None
        moment = datetime.fromtimestamp(self._duck.clock(), UTC).replace(tzinfo=None).isoformat(sep=" ")
        translated, values = _translate(sql.replace("GETDATE()", f"CAST('{moment}' AS TIMESTAMP)"))
        if translated.unless_exists and self._session.column_types(translated.unless_exists):
            return None
        answer = None
        for statement in translated.sql:
            answer = self._session.run(_fill(statement, values), has_rows=translated.has_rows)
        return [tuple(row) for row in answer.rows] if translated.has_rows and answer else None

    def _keep_errors(self, failed: CopyFailedError, query_id: int) -> None:
        if self._duck.names_errors:
            self._duck.load_errors += [
                {
                    "query_id": query_id,
                    "file_name": error.file_name,
                    "column_name": error.column_name,
                    "error_code": error.error_code,
                    "line_number": error.line_number,
                    "error_message": error.error_message,
                    "start_time": self._duck.clock(),
                }
                for error in failed.errors
            ]

    def commit(self) -> None:
        """Make everything visible at once."""
        self._check_age()
        if self._session is not None:
            try:
                self._session.commit()
            except EngineError as error:
                raise SqlError(f"ERROR: 1023 DETAIL: Serializable isolation violation: {error}") from error
            self._duck.commits += 1
        self.rollback()
        self._duck.watch(self._duck)

    def rollback(self) -> None:
        """Forget everything, and let others go on."""
        if self._session is not None:
            with contextlib.suppress(EngineError):
                self._session.rollback()
            self._session.close()
            self._session = None
        super().rollback()


class SpoiltS3:
    """The fake S3 as a blocking client, in whose files each poisonous value is one that COPY refuses in fact."""

    def __init__(self, s3: FakeS3) -> None:
        self._s3 = s3

    def get_object(self, *, Bucket: str, Key: str) -> Any:
        answer = self._s3.get_object(Bucket=Bucket, Key=Key)
        content = self._s3.objects[Bucket, Key].content
        return answer | {"Body": _Body(_spoil(content) if Key.startswith("data/") else content)}

    def head_object(self, *, Bucket: str, Key: str) -> Any:
        return self._s3.head_object(Bucket=Bucket, Key=Key)

    def get_paginator(self, _operation: str) -> Any:
        return self

    def paginate(self, **arguments: Any) -> Any:
        """One page is enough for the objects of a simulation."""
        return [self._s3.list_objects_v2(**arguments)]


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self) -> bytes:
        return self._content


def _spoil(content: bytes) -> bytes:
    """Make a value too long for its column, and lose the line after another, as an unbalanced quote does."""
    if content[:2] == b"\x1f\x8b":
        with contextlib.suppress(OSError, EOFError):
            return gzip.compress(_spoil_text(gzip.decompress(content)), mtime=0)
        return content
    if content[:4] == b"\x28\xb5\x2f\xfd":
        return zstd.compress(_spoil_text(zstd.decompress(content)))
    return _spoil_text(content)


def _spoil_text(text: bytes) -> bytes:
    text = text.replace(POISON.encode(), b"x" * 1000)
    while (at := text.find(SWALLOW.encode())) >= 0:
        ends = text.index(b"\n", at) + 1
        # A line feed inside quotes belongs to the value, which ends with the quote before the next line feed.
        after = text.find(b"\n", ends) + 1
        while after and text.count(b'"', ends, after) % 2:
            after = text.find(b"\n", after) + 1
        if ends == len(text):  # nothing comes after it: it loses its own line
            text = text[: text.rfind(b"\n", 0, at) + 1]
        else:
            text = text[:at] + b"swallow" + text[at + len(SWALLOW) : ends] + (text[after:] if after else b"")
    return text


def _plain(value: Any) -> Any:
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return value.replace(tzinfo=UTC).timestamp()
        case int() | None | str():
            return value
        case _:
            return str(value)


def _translate(sql: str) -> tuple[Translated, list[str]]:
    """Translate a statement. Parsing takes longer than running: what differs by literals alone is parsed once."""
    values: list[str] = []

    def take(found: re.Match[str]) -> str:
        values.append(found[0])
        return f"'«{len(values) - 1}»'"

    return _parse(_VARYING.sub(take, sql)), values


@functools.lru_cache(maxsize=4000)
def _parse(sql: str) -> Translated:
    return translate(sql, "duckdb", in_batch=True)


def _fill(sql: str, values: list[str]) -> str:
    for number, value in enumerate(values):
        sql = sql.replace(f"'«{number}»'", value)
    return sql
