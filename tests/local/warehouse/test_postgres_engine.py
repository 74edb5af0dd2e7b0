"""What only PostgreSQL can show: locks, isolation, racing transactions, sessions that are killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.postgres_engine import Isolation, PostgresEngine
from fastetl.sql import take_over_sql
from fastetl.sql.tables import ddl_sql
from fastetl.sql.text import quote_table
from tests.local.product import OWNER, Batch, make_pipeline
from tests.local.warehouse_client import TARGET, Warehouse

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["READ COMMITTED", "REPEATABLE READ"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    level: Isolation = request.param
    return level


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(isolation: Isolation, s3: Any) -> AsyncIterator[WarehouseServer]:
    async with WarehouseServer(PostgresEngine(isolation), s3, time.time) as server:
        yield server


@pytest.fixture
def warehouse(server: WarehouseServer) -> Warehouse:
    return Warehouse(server)


async def started(warehouse: Warehouse, *sqls: str) -> str:
    """Submit a batch and wait until it runs."""
    submitted = await warehouse.call("batch_execute_statement", Sqls=list(sqls), **TARGET)
    while (await warehouse.call("describe_statement", Id=submitted["Id"]))["Status"] in {"SUBMITTED", "PICKED"}:
        await asyncio.sleep(0.01)
    return str(submitted["Id"])


SLEEPING = "query LIKE 'SELECT PG_SLEEP%' AND state = 'active'"


async def asleep(warehouse: Warehouse) -> None:
    """Wait until a batch has come to its sleep: what stands before it is done."""
    while await warehouse.rows(f"SELECT COUNT(*) FROM pg_stat_activity WHERE {SLEEPING}") == [(0,)]:
        await asyncio.sleep(0.01)


async def waiting_for_a_lock(warehouse: Warehouse) -> None:
    """Wait until a session waits for another's lock."""
    blocked = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while await warehouse.rows(blocked) == [(0,)]:
        await asyncio.sleep(0.05)


async def test_the_isolation_level_is_the_one_asked_for(warehouse: Warehouse, isolation: Isolation) -> None:
    assert await warehouse.rows("SELECT current_setting('transaction_isolation')") == [(isolation.lower(),)]


async def test_a_lock_makes_the_next_transaction_wait(warehouse: Warehouse) -> None:
    await warehouse.execute("CREATE TABLE held (n BIGINT)")
    first = await started(warehouse, "LOCK held", "SELECT pg_sleep(600)")
    await asleep(warehouse)
    second = await started(warehouse, "LOCK held")
    await waiting_for_a_lock(warehouse)
    assert (await warehouse.call("describe_statement", Id=second))["Status"] == "STARTED"
    assert (await warehouse.call("cancel_statement", Id=first))["Status"] is True
    assert (await warehouse.end_of(first))["Status"] == "ABORTED"
    assert (await warehouse.end_of(second))["Status"] == "FINISHED"


async def test_a_killed_session_rolls_back(warehouse: Warehouse) -> None:
    await warehouse.execute("CREATE TABLE killed (n BIGINT)")
    victim = await started(warehouse, "INSERT INTO killed VALUES (1)", "SELECT pg_sleep(600)")
    await asleep(warehouse)
    await warehouse.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {SLEEPING}")
    described = await warehouse.end_of(victim)
    assert (described["Status"], [sub["Status"] for sub in described["SubStatements"]]) == (
        "FAILED",
        ["FINISHED", "FAILED"],
    )
    assert await warehouse.rows("SELECT COUNT(*) FROM killed") == [(0,)]


async def test_racing_updates_conflict_only_where_snapshots_are_kept(
    warehouse: Warehouse, isolation: Isolation
) -> None:
    await warehouse.execute("CREATE TABLE raced (n BIGINT)")
    await warehouse.execute("INSERT INTO raced VALUES (0)")
    # The first statement takes a snapshot, as LOCK alone does not.
    bump = ("SELECT COUNT(*) FROM raced", "SELECT pg_sleep(0.2)", "UPDATE raced SET n = n + 1", "SELECT pg_sleep(0.2)")
    ended = await asyncio.gather(warehouse.batch(*bump), warehouse.batch(*bump))
    failed = [described for described in ended if described["Status"] == "FAILED"]
    assert len(failed) == (isolation == "REPEATABLE READ")
    assert all("1023" in described["Error"] for described in failed)


async def test_two_attempts_of_one_batch_commit_once(warehouse: Warehouse, s3: Any) -> None:
    pipeline = make_pipeline("twice")
    await warehouse.batch(*[statement.sql for statement in ddl_sql(pipeline)])
    batch = Batch(pipeline, s3, [[("a", 1, "INSERT"), ("b", 1, "INSERT")]])
    ended = await asyncio.gather(*(warehouse.batch(*batch.load_sql(attempt)) for attempt in (1, 2)))
    assert sorted(described["Status"] for described in ended) == ["FAILED", "FINISHED"]
    assert await warehouse.rows("SELECT COUNT(*) FROM public.twice_log") == [(2,)]
    assert await warehouse.rows("SELECT COUNT(*) FROM public.twice_loads") == [(1,)]


async def test_a_fence_keeps_a_queued_attempt_out(warehouse: Warehouse, s3: Any) -> None:
    pipeline = make_pipeline("fenced")
    await warehouse.batch(*[statement.sql for statement in ddl_sql(pipeline)])
    batch = Batch(pipeline, s3, [[("a", 1, "INSERT")]])
    holder = await started(warehouse, 'LOCK "public"."fenced_gate"', "SELECT pg_sleep(600)")
    await asleep(warehouse)
    resolving = await started(warehouse, *batch.resolve_sql(1))
    await waiting_for_a_lock(warehouse)
    late = await started(warehouse, *batch.load_sql(1))
    await warehouse.call("cancel_statement", Id=holder)
    assert (await warehouse.end_of(resolving))["Status"] == "FINISHED"
    described = await warehouse.end_of(late)
    assert described["Status"] == "FAILED"
    assert await warehouse.rows("SELECT COUNT(*) FROM public.fenced") == [(0,)]
    assert (await warehouse.batch(*batch.load_sql(2)))["Status"] == "FINISHED"
    assert await warehouse.rows("SELECT COUNT(*) FROM public.fenced") == [(1,)]


async def test_a_resolve_waits_for_the_attempt_that_runs(warehouse: Warehouse, s3: Any) -> None:
    pipeline = make_pipeline("resolved")
    await warehouse.batch(*[statement.sql for statement in ddl_sql(pipeline)])
    batch = Batch(pipeline, s3, [[("a", 1, "INSERT")]])
    running = await started(warehouse, *batch.load_sql(1), "SELECT pg_sleep(0.5)")
    await asleep(warehouse)
    resolved = await warehouse.batch(*batch.resolve_sql(1))
    assert (await warehouse.end_of(running))["Status"] == "FINISHED"
    answer = await warehouse.call("get_statement_result", Id=f"{resolved['Id']}:5")
    assert answer["Records"][0] == [{"stringValue": "loaded"}, {"stringValue": "checksum"}]
    assert await warehouse.rows("SELECT COUNT(*) FROM public.resolved_fences") == [(0,)]


@pytest.mark.parametrize("guarded", [True, False])
async def test_the_gates_update_stops_what_read_before_the_lock(
    warehouse: Warehouse, isolation: Isolation, s3: Any, guarded: bool
) -> None:
    """Both attempts have a snapshot in which the batch is not loaded; only the update tells that it is too old."""
    pipeline = make_pipeline(f"stale{guarded}".lower())
    # The target has its owner, as every load but the first finds it.
    await warehouse.batch(*[each.sql for each in (*ddl_sql(pipeline), *take_over_sql(pipeline, OWNER))])
    batch = Batch(pipeline, s3, [[("a", 1, "INSERT")]])
    looks = [f"SELECT COUNT(*) FROM {quote_table(pipeline, '_loads')}", "SELECT pg_sleep(1)"]
    attempts = [
        [*looks, *(sql for sql in batch.load_sql(attempt) if guarded or "fastetl bump" not in sql)]
        for attempt in (1, 2)
    ]
    ended = await asyncio.gather(*(warehouse.batch(*sqls) for sqls in attempts))
    committed = sum(described["Status"] == "FINISHED" for described in ended)
    assert committed == (2 if isolation == "REPEATABLE READ" and not guarded else 1)
    assert await warehouse.rows(f"SELECT COUNT(*) FROM {quote_table(pipeline, '_log')}") == [(committed,)]
