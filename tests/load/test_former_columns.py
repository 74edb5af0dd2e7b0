"""A column that leaves the configuration: no row keeps an older version's value, and a deleted item's keeps nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import LoadPolicy
from fastetl.config.reading_policies import MAX_USER_STATEMENTS
from fastetl.limits import MAX_STATEMENTS
from fastetl.load import FormerColumns
from fastetl.operate import rebuild_ledger
from fastetl.sql import Load, load_sql, tombstone_sql
from tests.operate.test_reconcile import make_event, new_ingest
from tests.plant import Change, Plant, make_pipeline

ID, AMOUNT, NOTE = make_pipeline().columns
EMAIL = Column("email", ("email",), RedshiftType.parse("VARCHAR(40)"))


async def everything(plant: Plant, *columns: str) -> list[tuple[str, ...]]:
    names = ", ".join(f'"{name}"' for name in columns)
    return await plant.sql(f'SELECT {names} FROM "public"."orders" ORDER BY "id"')


async def load(plant: Plant, columns: tuple[Column, ...], *changes: Change) -> list[str]:
    """Load changes as a configuration of these columns writes and loads them."""
    pipeline = msgspec.structs.replace(plant.pipeline, columns=columns)
    await plant.put(*changes, layout=pipeline.layout)
    return await plant.run(plant.new_loader(columns=columns))


LOADED = ["opened", "submitted", "loaded"]


async def test_an_updated_row_and_a_tombstone_lose_the_values_of_a_column_that_left(make_plant: Any) -> None:
    plant = await make_plant()
    await load(plant, (ID, AMOUNT, NOTE), *[Change(number, number, note=f"secret{number}") for number in (1, 2, 3)])
    assert await load(plant, (ID, AMOUNT), Change(1, 11, amount="5"), Change(2, 12, op="REMOVE")) == LOADED
    assert await everything(plant, "id", "note", "_deleted") == [
        ("1", "", "False"), ("2", "", "True"), ("3", "secret3", "False"),
    ]  # fmt: skip
    # It comes back: what was updated meanwhile has no value, and what was not has that of its version.
    assert await load(plant, (ID, AMOUNT, NOTE), Change(4, 13, note="new")) == LOADED
    assert [row[0::2] for row in await plant.mirror()] == [("1", ""), ("3", "secret3"), ("4", "new")]


async def test_columns_of_other_people_are_left_alone(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.execute('ALTER TABLE "public"."orders" ADD COLUMN "theirs" VARCHAR(16)')
    await load(plant, (ID, AMOUNT, NOTE), Change(1, 1), Change(2, 2))
    await plant.execute('UPDATE "public"."orders" SET "theirs" = \'kept\'')
    assert await load(plant, (ID, AMOUNT), Change(1, 11), Change(2, 12, op="REMOVE")) == LOADED
    assert await everything(plant, "note", "theirs") == [("", "kept"), ("", "kept")]


async def test_a_former_column_may_be_dropped_and_its_name_be_used_by_others(make_plant: Any) -> None:
    plant = await make_plant()
    await load(plant, (ID, AMOUNT, NOTE), Change(1, 1))
    await load(plant, (ID, AMOUNT), Change(1, 2))
    for view in ("orders_current", "orders_history"):
        await plant.execute(f'DROP VIEW "public"."{view}"')
    await plant.execute('ALTER TABLE "public"."orders" DROP COLUMN "note"')
    assert await load(plant, (ID, AMOUNT), Change(1, 3)) == LOADED
    await plant.execute('ALTER TABLE "public"."orders" ADD COLUMN "note" VARCHAR(16)')
    await plant.execute('UPDATE "public"."orders" SET "note" = \'theirs\'')
    assert await load(plant, (ID, AMOUNT), Change(1, 4)) == LOADED
    assert await everything(plant, "note") == [("theirs",)]


async def test_a_column_whose_name_changes_in_case_only_has_not_left(make_plant: Any) -> None:
    plant = await make_plant()
    await load(plant, (ID, AMOUNT, NOTE), Change(1, 1))
    pipeline = msgspec.structs.replace(plant.pipeline, columns=(ID, AMOUNT, msgspec.structs.replace(NOTE, name="Note")))
    former = FormerColumns(plant.deployment(columns=pipeline.columns))
    assert await former.note(pipeline.layout) == ()


async def test_files_of_an_older_configuration_bring_the_column_back_into_no_row(make_plant: Any) -> None:
    plant = await make_plant()
    await load(plant, (ID, AMOUNT, NOTE), Change(1, 1, note="old"))
    await plant.put(Change(1, 5, note="late"))
    assert await plant.run(plant.new_loader(columns=(ID, AMOUNT))) == LOADED
    assert await everything(plant, "note") == [("",)]


async def test_every_column_that_left_is_emptied_enrichments_and_the_extra_column_too(make_plant: Any) -> None:
    plant = await make_plant()
    wider = msgspec.structs.replace(plant.pipeline, columns=(ID, AMOUNT, NOTE, EMAIL), undeclared="extra")
    former = FormerColumns(plant.deployment(columns=wider.columns, undeclared="extra"))
    assert await former.note(wider.layout) == ()
    await plant.execute('ALTER TABLE "public"."orders" ADD COLUMN "email" VARCHAR(40)')
    await plant.execute('ALTER TABLE "public"."orders" ADD COLUMN "_extra" VARCHAR(40)')
    left = FormerColumns(plant.deployment(columns=(ID, AMOUNT)))
    assert await left.find() == (("orders", ("note", "email", "_extra")),)


async def test_a_lost_ledger_learns_the_columns_again_from_the_layouts(make_plant: Any) -> None:
    plant = await make_plant()
    await new_ingest(plant).ingest(make_event(1, note="old"))
    await plant.run()
    table = plant.ledger.table
    await table._client.delete_item(TableName=table.name, Key={"pk": {"S": "C#orders#public.orders"}})
    assert await FormerColumns(plant.deployment(columns=(ID, AMOUNT))).find() == ()
    await rebuild_ledger(plant.deployment(columns=(ID, AMOUNT)))
    assert await FormerColumns(plant.deployment(columns=(ID, AMOUNT))).find() == (("orders", ("note",)),)


async def test_a_stack_deployed_again_beside_its_bucket_learns_them_before_its_first_load(make_plant: Any) -> None:
    plant = await make_plant()
    await new_ingest(plant).ingest(make_event(1, note="old"))
    await plant.run()
    table = plant.ledger.table
    for pk in ("C#orders#public.orders", "P#orders"):
        await table._client.delete_item(TableName=table.name, Key={"pk": {"S": pk}})
    later = Change(1, 10**22, amount="5")
    assert await load(plant, (ID, AMOUNT), later) == LOADED
    assert await everything(plant, "note") == [("",)]


async def test_the_tombstones_of_a_resync_lose_them_too(make_plant: Any) -> None:
    plant = await make_plant()
    await load(plant, (ID, AMOUNT, NOTE), Change(1, 1, note="secret"))
    deployment = plant.deployment(columns=(ID, AMOUNT))
    former = await FormerColumns(deployment).find()
    sql = tombstone_sql(deployment.pipeline, deployment.owner, 1, 1_767_225_600, former)
    await plant.warehouse.run(sql, name="resync", token=("resync",))
    assert await everything(plant, "note", "_deleted") == [("", "True")]


async def test_a_warehouse_that_does_not_answer_keeps_nobody_from_planning(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = await make_plant()
    await load(plant, (ID, AMOUNT, NOTE), Change(1, 1))
    await plant.server.stop()
    monkeypatch.setattr("fastetl.aws.calls.FIRST_DELAY_SECONDS", 0.0)
    assert await FormerColumns(plant.deployment(columns=(ID, AMOUNT))).find() == (("orders", ("note",)),)


def test_the_largest_load_fits_one_transaction() -> None:
    policy = LoadPolicy(pre_sql=("SELECT 1",) * MAX_USER_STATEMENTS)
    pipeline = make_pipeline(load=policy)
    load = Load(
        batch_id="b", attempt=1, layout=pipeline.layout, manifest_url="s3://b/m", manifest_checksum="c",
        files_url="s3://b/f", changed_min="2026-01-01 00:00:00.000000", changed_max="2026-01-01 00:00:00.000000",
        since="2026-01-01 00:00:00", owner="lake/ledger/orders", latest_epoch=1,
        former_columns=(("flights", ("note",)),),
    )  # fmt: skip
    assert len(load_sql(pipeline, load)) <= MAX_STATEMENTS
