"""A load on PostgreSQL that is interrupted in its middle: it is resolved, tried again and committed once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastetl.aws.s3 import Bucket
from fastetl.config.model import Config, LoadPolicy
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.postgres_engine import Isolation, PostgresEngine
from tests.conftest import Aws
from tests.local.warehouse_client import TARGET, Warehouse
from tests.plant import CALLERS, Change, Plant, create_tables, make_pipeline, warehouse_clients

HELD = 7
"""An advisory lock that every load asks for once its files are staged."""

WAITING = "FROM pg_stat_activity WHERE wait_event = 'advisory'"


@pytest.fixture(params=["READ COMMITTED", "REPEATABLE READ"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    level: Isolation = request.param
    return level


@pytest.fixture
async def plant(aws: Aws, s3: Any, isolation: Isolation) -> AsyncIterator[Plant]:
    pipeline = make_pipeline(load=LoadPolicy(max_bytes=1, pre_sql=(f"SELECT pg_advisory_xact_lock({HELD})",)))
    async with WarehouseServer(PostgresEngine(isolation), s3, time.time, callers=CALLERS) as server:
        name, ledger = await aws.new_bucket(), await aws.new_ledger()
        clients = await warehouse_clients(aws, server)
        bucket = Bucket(await aws.client("s3"), name)
        plant = Plant(Config(name, ledger.table.name, (pipeline,)), bucket, ledger, server, *clients)
        await create_tables(plant)
        yield plant


@pytest.fixture
def person(plant: Plant) -> Warehouse:
    """Somebody else at the same database."""
    return Warehouse(plant.server)


@asynccontextmanager
async def stopped_in_its_middle(plant: Plant, person: Warehouse) -> AsyncIterator[None]:
    """While inside, a load that was begun has staged its files and written nothing."""
    holds = [f"SELECT pg_advisory_xact_lock({HELD})", "SELECT pg_sleep(600)"]
    holder = await person.call("batch_execute_statement", Sqls=holds, **TARGET)
    while await person.rows("SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == [(0,)]:
        await asyncio.sleep(0.01)
    await plant.run(until=lambda step: step.action == "submitted")
    while await person.rows(f"SELECT COUNT(*) {WAITING}") == [(0,)]:
        await asyncio.sleep(0.01)
    yield
    await person.call("cancel_statement", Id=holder["Id"])


async def test_a_load_whose_session_is_killed_is_committed_once(plant: Plant, person: Warehouse) -> None:
    await plant.put(Change(1, 1), Change(2, 2))
    async with stopped_in_its_middle(plant, person):
        assert await person.rows(f"SELECT pg_terminate_backend(pid) {WAITING}") == [(True,)]
    assert await plant.run() == ["resolving", "resolving", "retry", "submitted", "loaded"]
    await check_loaded_by_second_attempt(plant)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ"], indirect=True)
async def test_a_load_that_conflicts_is_tried_again_whole(plant: Plant, person: Warehouse) -> None:
    """Error 1023: a row that the load's snapshot has was changed by somebody else before the load merged its own."""
    await plant.put(Change(1, 0), Change(3, 3))
    await plant.run()
    await plant.put(Change(1, 1), Change(2, 2))
    async with stopped_in_its_middle(plant, person):
        changed = 'UPDATE "public"."orders" SET "note" = \'mine\' WHERE "id" IN (1, 3)'
        assert (await person.execute(changed))["Status"] == "FINISHED"
    actions = await plant.run()
    assert actions == ["resolving", "resolving", "retry", "submitted", "loaded"]
    coordinator = Warehouse(plant.server, *CALLERS)
    failed = await coordinator.call("list_statements", Status="FAILED", RoleLevel=False)
    assert len(failed["Statements"]) == 1
    described = await coordinator.call("describe_statement", Id=failed["Statements"][0]["Id"])
    assert "1023" in described["Error"]
    await check_loaded_by_second_attempt(plant)
    assert [row[0::2] for row in await plant.mirror()] == [("1", "x"), ("2", "x"), ("3", "mine")]


async def check_loaded_by_second_attempt(plant: Plant) -> None:
    assert set((await plant.states()).values()) == {"LOADED"}
    last = 'SELECT "attempt" FROM "public"."orders_loads" ORDER BY "attempt" DESC'
    assert (await plant.sql(last))[0] == ("2",)
    events = await plant.sql('SELECT "_event_id" FROM "public"."orders_log"')
    assert len(events) == len(set(events))
    assert {("event-1",), ("event-2",)} <= set(events)
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_fences"') == [("1",)]
