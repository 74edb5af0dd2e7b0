"""The warehouse made as the configuration says, on both engines: whatever was there before, in one call."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from fastetl.aws import Bucket
from fastetl.columns import Column, RedshiftType
from fastetl.config import Config, Grantee, LoadPolicy, Pipeline
from fastetl.local.warehouse import DuckDBEngine, PostgresEngine, WarehouseServer
from fastetl.operate import Applied, SchemaWriter
from tests.conftest import Aws
from tests.local.conftest import s3  # noqa: F401 - a fixture
from tests.local.warehouse_client import Warehouse
from tests.plant import CALLERS, LOADER, Change, Plant, make_pipeline, warehouse_clients

NOTE = Column("note", ("note",), RedshiftType.parse("VARCHAR(60)"))
COLOUR = Column("colour", ("colour",), RedshiftType.parse("VARCHAR(16)"))


@pytest.fixture(params=["duckdb", "postgres"])
async def plant(request: pytest.FixtureRequest, aws: Aws, s3: Any) -> AsyncIterator[Plant]:  # noqa: F811
    engine = DuckDBEngine() if request.param == "duckdb" else PostgresEngine()
    async with WarehouseServer(engine, s3, time.time, callers=CALLERS) as server:
        name, ledger = await aws.new_bucket(), await aws.new_ledger()
        clients = await warehouse_clients(aws, server)
        config = Config(name, ledger.table.name, (make_pipeline(load=LoadPolicy(max_bytes=1)),))
        yield Plant(config, Bucket(await aws.client("s3"), name), ledger, server, *clients)


@pytest.fixture
def person(plant: Plant) -> Warehouse:
    """Somebody with every right in the same database."""
    return Warehouse(plant.server)


async def apply(plant: Plant, pipeline: Pipeline) -> Applied:
    return await SchemaWriter(msgspec.structs.replace(plant.deployment(), pipeline=pipeline)).apply()


def changed(plant: Plant, *columns: Column, **redshift: Any) -> Pipeline:
    kept = [column for column in plant.pipeline.columns if column.name not in {each.name for each in columns}]
    target = msgspec.structs.replace(plant.pipeline.redshift, **redshift)
    return msgspec.structs.replace(plant.pipeline, columns=(*kept, *columns), redshift=target)


async def load(plant: Plant, pipeline: Pipeline, *changes: Change) -> None:
    plant.config = msgspec.structs.replace(plant.config, pipelines=(pipeline,))
    await plant.put(*changes)
    assert (await plant.run(plant.new_loader()))[-1] == "loaded"


async def test_a_new_warehouse_takes_a_load_of_a_user_with_no_other_rights(plant: Plant, person: Warehouse) -> None:
    done = await apply(plant, plant.pipeline)
    assert done.problems == []
    assert done.changes[0] == f"user {LOADER.database_user}"
    await load(plant, plant.pipeline, Change(1, 1), Change(2, 2, op="REMOVE"))
    assert await plant.mirror() == [("1", "1.0000000000", "x")]
    assert await apply(plant, plant.pipeline) == Applied("orders")


async def test_columns_views_and_grants_are_right_after_one_call(plant: Plant, person: Warehouse) -> None:
    for sql in ("CREATE ROLE analysts", "CREATE GROUP bi", 'CREATE USER "IAM:alice" PASSWORD DISABLE'):
        await person.execute(sql)
    readers = (Grantee("role", "analysts"), Grantee("user", "IAM:alice"))
    first = changed(plant, grant_to=readers)
    assert (await apply(plant, first)).problems == []
    await load(plant, first, Change(1, 1))
    # What others granted is kept as well.
    await person.execute("GRANT SELECT ON orders_current TO GROUP bi")
    second = changed(plant, NOTE, COLOUR, grant_to=readers)
    done = await apply(plant, second)
    assert done.problems == []
    assert [change.partition(" (")[0] for change in done.changes] == [
        'ALTER TABLE "public"."orders" ALTER COLUMN "note" TYPE VARCHAR(60)',
        'ALTER TABLE "public"."orders" ADD COLUMN "colour" VARCHAR(16)',
        'ALTER TABLE "public"."orders_log" ALTER COLUMN "note" TYPE VARCHAR(60)',
        'ALTER TABLE "public"."orders_log" ADD COLUMN "colour" VARCHAR(16)',
        "view orders_current: _key, _version, _op, _event_id, _changed_at, _deleted, _file, id, amount, note, colour",
        "view orders_history: _key, _version, _op, _event_id, _changed_at, _deleted, _file, id, amount, note, colour,"
        " _valid_from, _valid_to",
    ]
    granted = await person.rows(
        "SELECT relation_name, identity_type, identity_name FROM svv_relation_privileges"
        " WHERE relation_name IN ('orders_current', 'orders_history')"
    )
    assert sorted(granted) == [
        ("orders_current", "group", "bi"), ("orders_current", "role", "analysts"),
        ("orders_current", "user", "IAM:alice"),
        ("orders_history", "role", "analysts"), ("orders_history", "user", "IAM:alice"),
    ]  # fmt: skip
    assert await apply(plant, second) == Applied("orders")
    assert await plant.sql('SELECT "id", "note", "colour" FROM "public"."orders_current"') == [("1", "x", "")]


async def test_a_view_with_the_same_columns_is_left_alone(plant: Plant, person: Warehouse) -> None:
    await apply(plant, plant.pipeline)
    await person.execute("CREATE ROLE analysts")
    await person.execute("GRANT SELECT ON orders_current TO ROLE analysts")
    # A longer column changes no view.
    done = await apply(plant, changed(plant, NOTE))
    assert [change for change in done.changes if change.startswith("view")] == []
    granted = "SELECT identity_name FROM svv_relation_privileges WHERE relation_name = 'orders_current'"
    assert await person.rows(granted) == [("analysts",)]


async def test_what_cannot_be_done_is_told_and_the_rest_is_done(plant: Plant, person: Warehouse) -> None:
    await apply(plant, plant.pipeline)
    await person.execute("CREATE VIEW theirs AS SELECT id, note FROM public.orders")
    narrower = Column("amount", ("amount",), RedshiftType.parse("VARCHAR(40)"))
    done = await apply(plant, changed(plant, narrower, NOTE, COLOUR, grant_to=(Grantee("user", "nobody"),)))
    told = "\n".join(done.problems)
    for part in (
        "orders.amount: numeric(38,10) in the table, VARCHAR(40) in the configuration. Redshift changes no type",
        "orders.note: ", "make that view WITH NO SCHEMA BINDING", 'user "nobody" does not exist',
    ):  # fmt: skip
        assert part in told, told
    added = "SELECT column_name FROM svv_columns WHERE table_name = 'orders' AND column_name = 'colour'"
    assert await person.rows(added) == [("colour",)]
    shown = "SELECT column_name FROM svv_columns WHERE table_name = 'orders_current' AND column_name = 'colour'"
    assert await person.rows(shown) == [("colour",)]


async def test_a_view_waits_for_the_columns_that_it_shows(
    plant: Plant, person: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply(plant, plant.pipeline)
    await person.execute("CREATE ROLE analysts")
    run_alone = plant.warehouse.run_alone

    async def refuse_colour(statement: Any, **how: Any) -> str:
        sql = statement.sql.replace('ADD COLUMN "colour"', "ADD COLUMN")
        return await run_alone(msgspec.structs.replace(statement, sql=sql), **how)

    monkeypatch.setattr(plant.warehouse, "run_alone", refuse_colour)
    done = await apply(plant, changed(plant, COLOUR))
    assert len(done.problems) == 2
    assert done.changes == []
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_current"') == [("0",)]
