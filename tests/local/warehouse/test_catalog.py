"""Users, grants and views, as strict on both engines as Redshift's documents are."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fastetl.local.warehouse import Caller, DuckDBEngine, Engine, PostgresEngine, WarehouseServer
from tests.local.warehouse_client import TARGET, Warehouse

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOADER = Caller(
    "arn:aws:sts::123456789012:assumed-role/stack-CoordinatorRole/stack-Coordinator",
    "IAMR:stack-CoordinatorRole",
    session_only=True,
)


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return DuckDBEngine() if request.param == "duckdb" else PostgresEngine()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(engine: Engine, s3: Any) -> AsyncIterator[WarehouseServer]:
    async with WarehouseServer(engine, s3, time.time, callers={"coordinator": LOADER}) as server:
        yield server


@pytest.fixture
def warehouse(server: WarehouseServer) -> Warehouse:
    return Warehouse(server)


@pytest.fixture
def loader(server: WarehouseServer) -> Warehouse:
    return Warehouse(server, "coordinator")


async def refused(warehouse: Warehouse, sql: str) -> str:
    described = await warehouse.execute(sql)
    assert described["Status"] == "FAILED", sql
    return str(described["Error"])


async def done(warehouse: Warehouse, *sqls: str) -> None:
    for sql in sqls:
        described = await warehouse.execute(sql)
        assert described["Status"] == "FINISHED", (sql, described)


async def test_a_grant_names_whom_it_is_to_by_what_they_are(warehouse: Warehouse) -> None:
    await done(
        warehouse, 'CREATE ROLE "Analysts"', 'CREATE GROUP "bi"', 'CREATE USER "IAM:alice" PASSWORD DISABLE',
        "CREATE TABLE granted (k BIGINT)",
        'GRANT SELECT ON granted TO ROLE "Analysts"', 'GRANT SELECT ON "public"."granted" TO GROUP bi',
        'GRANT SELECT, INSERT ON TABLE public.granted TO "IAM:alice"', "GRANT SELECT ON granted TO PUBLIC",
        'GRANT USAGE ON SCHEMA public TO "IAM:alice"', 'GRANT TEMP ON DATABASE "dev" TO "IAM:alice"',
    )  # fmt: skip
    assert "does not exist" in await refused(warehouse, 'GRANT SELECT ON granted TO "Analysts"')
    assert "does not exist" in await refused(warehouse, "GRANT SELECT ON granted TO bi")
    assert "does not exist" in await refused(warehouse, 'GRANT SELECT ON granted TO ROLE "IAM:alice"')
    assert "does not exist" in await refused(warehouse, 'GRANT SELECT ON granted TO "IAM:nobody"')
    assert "already exists" in await refused(warehouse, 'CREATE USER "IAM:alice" PASSWORD DISABLE')
    asked = [
        "has_table_privilege('IAM:alice', '\"public\".\"granted\"', 'INSERT')",
        "has_table_privilege('IAM:alice', 'public.granted', 'DELETE')",
        "has_schema_privilege('IAM:alice', 'public', 'USAGE')", "has_database_privilege('IAM:alice', 'dev', 'TEMP')",
        "has_assumerole_privilege('IAM:alice', 'arn', 'copy')",
    ]  # fmt: skip
    ((*found,),) = await warehouse.rows(f"SELECT {', '.join(asked)}")
    assert found == [True, False, True, True, True]
    readers = (
        "SELECT identity_type, identity_name FROM svv_relation_privileges"
        " WHERE relation_name = 'granted' AND privilege_type = 'SELECT' AND identity_name <> 'PUBLIC'"
        " ORDER BY identity_name"
    )
    assert await warehouse.rows(readers) == [("role", "Analysts"), ("user", "IAM:alice"), ("group", "bi")]
    assert ("IAM:alice",) in await warehouse.rows("SELECT usename FROM pg_user")


async def test_a_table_below_an_early_bound_view_is_held(warehouse: Warehouse) -> None:
    await done(warehouse, "CREATE TABLE held (k VARCHAR(3))", "CREATE VIEW holder AS SELECT k FROM public.held")
    for sql in ("ALTER TABLE held ALTER COLUMN k TYPE VARCHAR(9)", "DROP TABLE public.held"):
        assert "depend" in await refused(warehouse, sql)
    await done(
        warehouse, "ALTER TABLE held ADD COLUMN v BIGINT", "DROP VIEW holder",
        "ALTER TABLE held ALTER COLUMN k TYPE VARCHAR(9)", "DROP TABLE held",
    )  # fmt: skip


async def test_a_late_binding_view_holds_nothing_and_keeps_its_grants(warehouse: Warehouse) -> None:
    view = "CREATE OR REPLACE VIEW late AS SELECT k{} FROM public.below WITH NO SCHEMA BINDING"
    await done(
        warehouse, "CREATE ROLE readers", "CREATE TABLE below (k VARCHAR(3))", view.format(""),
        "GRANT SELECT ON late TO ROLE readers", "ALTER TABLE below ALTER COLUMN k TYPE VARCHAR(9)",
        "ALTER TABLE below ADD COLUMN v BIGINT", view.format(""),
    )  # fmt: skip
    granted = (
        "SELECT identity_name FROM svv_relation_privileges WHERE relation_name = 'late' AND identity_type = 'role'"
    )
    assert await warehouse.rows(granted) == [("readers",)]
    assert "columns of view" in await refused(warehouse, view.format(", v"))
    columns = "SELECT column_name FROM svv_columns WHERE table_name = 'late' ORDER BY ordinal_position"
    assert await warehouse.rows(columns) == [("k",)]
    await done(warehouse, "DROP VIEW late", view.format(", v"))
    assert await warehouse.rows(columns) == [("k",), ("v",)]
    assert await warehouse.rows(granted) == []


async def test_a_column_is_longer_after_it_was_lengthened(warehouse: Warehouse) -> None:
    await done(
        warehouse, "CREATE TABLE longer (k VARCHAR(3), n DECIMAL(38,10))", "INSERT INTO longer SELECT 'abc', 1",
        "ALTER TABLE longer ADD COLUMN v VARCHAR(2)",
    )  # fmt: skip
    await refused(warehouse, "INSERT INTO longer SELECT 'abcd', 2, 'x'")
    await refused(warehouse, "INSERT INTO longer SELECT 'abc', 2, 'xyz'")
    await done(
        warehouse, "ALTER TABLE longer ALTER COLUMN k TYPE VARCHAR(4)", "INSERT INTO longer SELECT 'abcd', 2, 'xy'"
    )
    await refused(warehouse, "INSERT INTO longer SELECT 'abcde', 3, 'xy'")
    assert "does not exist" in await refused(warehouse, "ALTER TABLE longer ALTER COLUMN z TYPE VARCHAR(4)")
    assert "already exists" in await refused(warehouse, "ALTER TABLE longer ADD COLUMN k VARCHAR(4)")
    types = (
        "SELECT column_name, data_type, character_maximum_length FROM svv_columns WHERE table_name = 'longer'"
        " ORDER BY ordinal_position"
    )
    assert await warehouse.rows(types) == [
        ("k", "character varying", 4), ("n", "numeric", None), ("v", "character varying", 2),
    ]  # fmt: skip
    assert await warehouse.rows("SELECT k, n, v FROM longer ORDER BY k") == [
        ("abc", "1.0000000000", None), ("abcd", "2.0000000000", "xy"),
    ]  # fmt: skip


async def test_a_caller_sees_its_own_statements_only(warehouse: Warehouse, loader: Warehouse) -> None:
    theirs = await warehouse.call(
        "execute_statement", Sql="SELECT 1", StatementName="shared", ClientToken="t", **TARGET
    )
    own = await loader.call("execute_statement", Sql="SELECT 2", StatementName="shared", ClientToken="t", **TARGET)
    assert theirs["Id"] != own["Id"]
    await warehouse.end_of(theirs["Id"])
    await loader.end_of(own["Id"])
    for operation in ("describe_statement", "cancel_statement", "get_statement_result"):
        with pytest.raises(loader.client.exceptions.ResourceNotFoundException):
            await loader.call(operation, Id=theirs["Id"])
    listed = await loader.call("list_statements", StatementName="shared", Status="ALL", RoleLevel=False)
    assert [each["Id"] for each in listed["Statements"]] == [own["Id"]]
    # Its policy is for its own session, and by default those of the whole role are asked for.
    with pytest.raises(loader.client.exceptions.ClientError, match="AccessDenied"):
        await loader.call("list_statements", StatementName="shared", Status="ALL")


async def test_a_user_of_iam_is_made_when_it_first_connects_and_may_do_nothing(
    warehouse: Warehouse, loader: Warehouse, engine: Engine
) -> None:
    await done(warehouse, "CREATE TABLE guarded (k BIGINT)")
    await done(loader, "SELECT 1")
    assert (LOADER.database_user,) in await warehouse.rows("SELECT usename FROM pg_user")
    if engine.dialect == "duckdb":
        return  # it has no users
    assert "permission denied" in await refused(loader, "SELECT * FROM guarded")
    assert "permission denied" in await refused(loader, "INSERT INTO guarded SELECT 1")
    await done(warehouse, f'GRANT INSERT ON guarded TO "{LOADER.database_user}"')
    await done(loader, "INSERT INTO guarded SELECT 1", "CREATE TEMP TABLE own (k BIGINT)")
    assert "permission denied" in await refused(loader, "LOCK guarded")
    await done(warehouse, f'GRANT SELECT, UPDATE ON guarded TO "{LOADER.database_user}"')
    described = await loader.batch("LOCK guarded", "UPDATE guarded SET k = k + 1")
    assert described["Status"] == "FINISHED", described
    assert "must be owner" in await refused(loader, "DROP TABLE guarded")


async def test_a_dropped_schema_takes_its_views_and_grants_along(warehouse: Warehouse) -> None:
    await done(
        warehouse, "CREATE SCHEMA gone", "CREATE TABLE gone.t (k BIGINT)", "CREATE VIEW gone.v AS SELECT k FROM gone.t",
        "CREATE ROLE remembered", "GRANT SELECT ON gone.v TO ROLE remembered", "DROP SCHEMA gone CASCADE",
        "CREATE SCHEMA gone", "CREATE TABLE gone.t (k BIGINT)", "DROP TABLE gone.t",
    )  # fmt: skip
    assert await warehouse.rows("SELECT 1 FROM svv_relation_privileges WHERE namespace_name = 'gone'") == []
