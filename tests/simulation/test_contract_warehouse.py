"""The simulation's warehouse against real SQL on DuckDB and PostgreSQL: the same transactions, the same tables."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastetl.config.model import Pipeline
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.postgres_engine import PostgresEngine
from fastetl.sql.resync import tombstone_sql
from fastetl.sql.tables import ddl_sql
from fastetl.sql.text import quote_table
from tests.local.conftest import s3  # noqa: F401 - a fixture
from tests.local.product import OWNER, Batch, Change, make_pipeline
from tests.local.warehouse_client import Warehouse
from tests.simulation.fake_s3 import FakeS3
from tests.simulation.fake_warehouse import FakeWarehouse, SqlError, Transaction

LATER = 1_767_225_600.0
"""When the fake loads: after every change, as a real one does."""

TABLES = {
    # Not `_file`: of a change that is in two files of a batch either may be named.
    "": ("_key", "_version", "_op", "_event_id", "_deleted", "id", "amount"),
    "_log": ("_key", "_version", "_op", "_event_id", "_deleted", "id", "amount"),
    "_gate": ("n",),
    "_loads": ("batch_id", "attempt", "manifest_checksum"),
    "_load_files": ("batch_id", "file_id", "row_count"),
    "_fences": ("batch_id", "attempt"),
}


class BothS3:
    """Puts every object into the real S3 and into the fake one."""

    def __init__(self, real: Any, fake: FakeS3) -> None:
        self._real, self._fake = real, fake

    def put_object(self, *, Bucket: str, Key: str, Body: str | bytes) -> None:
        body = Body.encode() if isinstance(Body, str) else Body
        self._real.put_object(Bucket=Bucket, Key=Key, Body=body)
        self._fake.put_object(Bucket=Bucket, Key=Key, Body=body)


@pytest.fixture(params=["duckdb", "postgres"])
async def real(request: pytest.FixtureRequest, s3: Any) -> AsyncIterator[Warehouse]:  # noqa: F811
    engine = DuckDBEngine() if request.param == "duckdb" else PostgresEngine("REPEATABLE READ")
    async with WarehouseServer(engine, s3, time.time) as server:
        yield Warehouse(server)


async def run_fake(warehouse: FakeWarehouse, sqls: list[str]) -> tuple[int, list[Any]]:
    """Run a transaction; give which statement failed (-1: none), and the answers of those that give rows."""
    transaction, answers = Transaction(warehouse), []
    for number, sql in enumerate(sqls):
        try:
            if (answer := await transaction.run(sql)) is not None:
                answers.append([tuple(None if value is None else str(value) for value in row) for row in answer])
        except SqlError:
            transaction.rollback()
            return number, []
    transaction.commit()
    return -1, answers


async def run_real(warehouse: Warehouse, sqls: list[str]) -> tuple[int, list[Any]]:
    described = await warehouse.batch(*sqls)
    parts = described["SubStatements"]
    if described["Status"] != "FINISHED":
        return next(n for n, part in enumerate(parts) if part["Status"] == "FAILED"), []
    answers = []
    for part in parts:
        if part["HasResultSet"]:
            page = await warehouse.call("get_statement_result", Id=part["Id"])
            rows = [[None if "isNull" in field else str(next(iter(field.values()))) for field in row]
                    for row in page["Records"]]  # fmt: skip
            answers.append([tuple(row) for row in rows])
    return -1, answers


def draw_batches(chance: random.Random, pipeline: Pipeline, s3: Any) -> list[Batch]:  # noqa: F811
    def draw_change() -> Change:
        return chance.choice("abc"), chance.choice((8, 9, 10, 11, 99, 100)), chance.choice(("MODIFY", "REMOVE"))

    seen: dict[tuple[str, int], Change] = {}
    batches = []
    for _ in range(chance.randint(1, 3)):
        files = []
        for _ in range(chance.randint(1, 3)):
            changes = [draw_change() for _ in range(chance.randint(1, 4))]
            # A change is what it is, wherever it is seen again.
            files.append([seen.setdefault(change[:2], change) for change in changes])
        batches.append(Batch(pipeline, s3, files))
    return batches


@pytest.mark.parametrize("seed", range(12))
async def test_the_same_transactions_leave_the_same_tables(real: Warehouse, s3: Any, seed: int) -> None:  # noqa: F811
    chance = random.Random(seed)
    pipeline = make_pipeline(f"contract{seed}")
    fake = FakeWarehouse(FakeS3(), lambda: LATER, early_snapshot=chance.random() < 0.5)
    batches = draw_batches(chance, pipeline, BothS3(s3, fake.s3))
    ddl = [statement.sql for statement in ddl_sql(pipeline)]
    await run_fake(fake, ddl)
    await run_real(real, ddl)
    for _ in range(6):
        batch, attempt, kind = chance.choice(batches), chance.randint(1, 3), chance.random()
        sqls = batch.load_sql(attempt) if kind < 0.7 else batch.resolve_sql(attempt)
        if kind > 0.9:
            sqls = [statement.sql for statement in tombstone_sql(pipeline, OWNER, 1, 1_767_225_600)]
        assert await run_fake(fake, sqls) == await run_real(real, sqls)
    for suffix, columns in TABLES.items():
        table = quote_table(pipeline, suffix)
        names = ", ".join(f'"{name}"' for name in columns)
        kept = [tuple(str(row[name]) for name in columns) for row in fake.rows(table)]
        found = [tuple(_text(value) for value in row) for row in await real.rows(f"SELECT {names} FROM {table}")]
        assert sorted(kept) == sorted(found), suffix


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def test_a_transaction_waits_for_the_gate(real: Warehouse, s3: Any) -> None:  # noqa: F811
    """The fake queues on LOCK; whoever comes second meets what the first committed."""
    pipeline = make_pipeline("queue")
    fake = FakeWarehouse(FakeS3(), lambda: LATER)
    batch = Batch(pipeline, BothS3(s3, fake.s3), [[("a", 1, "MODIFY")]])
    await run_fake(fake, [statement.sql for statement in ddl_sql(pipeline)])
    await run_real(real, [statement.sql for statement in ddl_sql(pipeline)])
    first, second = batch.load_sql(1), batch.load_sql(2)
    ended = await asyncio.gather(run_fake(fake, first), run_fake(fake, second))
    in_fact = await asyncio.gather(run_real(real, first), run_real(real, second))
    assert min(failed for failed, _ in ended) == min(failed for failed, _ in in_fact) == -1
    assert all(sum(failed == -1 for failed, _ in each) == 1 for each in (ended, in_fact))
    assert fake.rows(quote_table(pipeline, "_gate")) == [{"n": 1, "owner": OWNER, "source": "", "source_epoch": 0}]
