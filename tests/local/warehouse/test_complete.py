"""The view `_complete`: up to when everything is loaded, and what dbt asks of it, on every engine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.postgres_engine import PostgresEngine
from fastetl.sql import ddl_sql
from tests.local.product import Batch, make_pipeline
from tests.local.warehouse_client import Warehouse

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOON = 1_772_366_400_000
"""2026-03-01 12:00:00, UTC."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["duckdb", "postgres"])
async def warehouse(request: pytest.FixtureRequest, s3: Any) -> AsyncIterator[Warehouse]:
    engine = DuckDBEngine() if request.param == "duckdb" else PostgresEngine()
    async with WarehouseServer(engine, s3, time.time) as server:
        yield Warehouse(server)


async def test_the_view_has_what_the_latest_loads_knew(warehouse: Warehouse, s3: Any) -> None:
    pipeline = make_pipeline("orders")
    await run(warehouse, [each.sql for each in ddl_sql(pipeline)])
    assert await read(warehouse) == [(None, None)]
    for number, moment in enumerate((NOON, NOON + 61_500, 0)):
        batch = Batch(pipeline, s3, [[(f"k{number}", number, "INSERT")]])
        await run(warehouse, batch.load_sql(1, complete_up_to=moment))
    ((complete_up_to, loaded_at),) = await read(warehouse)
    # What is not known at a load is not told by it: all before the moment of another one stays loaded.
    assert complete_up_to.startswith("2026-03-01 12:01:01.5")
    assert loaded_at


async def test_what_is_rolled_back_tells_nothing(warehouse: Warehouse, s3: Any) -> None:
    pipeline = make_pipeline("broken")
    await run(warehouse, [each.sql for each in ddl_sql(pipeline)])
    batch = Batch(pipeline, s3, [[("k", 1, "INSERT")]])
    described = await warehouse.batch(*batch.load_sql(1, complete_up_to=NOON), "SELECT CAST('x' AS INTEGER)")
    assert described["Status"] == "FAILED"
    assert await warehouse.rows("SELECT complete_up_to FROM public.broken_complete") == [(None,)]


async def test_dbt_finds_how_fresh_a_source_is(warehouse: Warehouse, s3: Any) -> None:
    """The query of `dbt source freshness`, with the settings of `docs/operations.md`."""
    pipeline = make_pipeline("fresh")
    await run(warehouse, [each.sql for each in ddl_sql(pipeline)])
    batch = Batch(pipeline, s3, [[("k", 1, "INSERT")]])
    await run(warehouse, batch.load_sql(1, complete_up_to=NOON))
    ((max_loaded_at, snapshotted_at),) = await warehouse.rows(
        "select max(complete_up_to) as max_loaded_at, getdate() as snapshotted_at from public.fresh_complete"
    )
    assert max_loaded_at.startswith("2026-03-01 12:00:00")
    assert max_loaded_at < snapshotted_at


async def read(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return await warehouse.rows("SELECT complete_up_to, loaded_at FROM public.orders_complete")


async def run(warehouse: Warehouse, sqls: list[str]) -> None:
    described = await warehouse.batch(*sqls)
    assert described["Status"] == "FINISHED", described
