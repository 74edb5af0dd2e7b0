"""Whose a target is: two stacks, or a stack and a forgotten one, never write into one target unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fastetl.aws.deployment import Deployment
from fastetl.aws.ledger import Ledger
from fastetl.backfill.backfiller import Backfiller
from fastetl.errors import WarehouseError
from fastetl.load.epochs import Epochs
from fastetl.load.loader import Loader, Step
from fastetl.operate import Operator, SchemaWriter
from fastetl.operate.ownership import take_over
from fastetl.sql import tombstone_sql
from tests.conftest import Aws
from tests.plant import Change, Plant


class Other:
    """A second stack with the same bucket, or a stack that was deployed again: another ledger, the same target."""

    def __init__(self, plant: Plant, ledger: Ledger) -> None:
        config = msgspec.structs.replace(plant.config, ledger_table=ledger.table.name)
        self.deployment: Deployment = msgspec.structs.replace(plant.deployment(), config=config, ledger=ledger)
        self.loader = Loader(msgspec.structs.replace(self.deployment, warehouse=plant.loading))
        self._plant, self._ledger = plant, ledger

    async def put(self, change: Change) -> None:
        """Let a file wait in this stack's ledger, not in the other's."""
        mine, self._plant.ledger = self._plant.ledger, self._ledger
        await self._plant.put(change)
        self._plant.ledger = mine

    async def run(self, until: Callable[[Step], bool] = lambda step: bool(step.paused)) -> list[str]:
        """Run until there is nothing to do, or the pipeline pauses."""
        mine, self._plant.ledger = self._plant.ledger, self._ledger
        actions = await self._plant.run(self.loader, until=until)
        self._plant.ledger = mine
        return actions

    async def paused(self) -> str:
        return (await Operator(self.deployment).status()).paused


async def run(plant: Plant, loader: Loader | None = None) -> list[str]:
    return await plant.run(loader, until=lambda step: bool(step.paused))


@pytest.fixture
async def stacks(make_plant: Any, aws: Aws) -> tuple[Plant, Other]:
    plant: Plant = await make_plant()
    return plant, Other(plant, await aws.new_ledger())


async def test_a_second_stack_is_refused_until_it_takes_over(stacks: tuple[Plant, Other]) -> None:
    first, second = stacks
    await first.put(Change(1, 1, note="first's"))
    assert (await run(first))[-1] == "loaded"
    await second.put(Change(2, 2, note="second's"))
    assert "loaded" not in await second.run()
    assert "--take-over" in await second.paused()
    (problem,) = (await SchemaWriter(second.deployment).apply()).problems
    assert first.deployment().owner in problem
    assert "--take-over" in problem
    assert [row[0] for row in await first.mirror()] == ["1"]
    applied = await SchemaWriter(second.deployment).apply(take_over=True)
    assert applied.problems == []
    assert first.deployment().owner in applied.changes[0]
    await Operator(second.deployment).resume()
    first.now += 4000
    assert "loaded" in await second.run(until=lambda step: step.action == "loaded")
    assert await second.paused() == ""
    # The former owner notices, and what it has under way commits no more.
    await first.put(Change(3, 3, note="too late"))
    assert "loaded" not in await run(first)
    assert "--take-over" in (await Operator(first.deployment()).status()).paused
    assert [row[0] for row in await first.mirror()] == ["1", "2"]
    assert (await SchemaWriter(second.deployment).apply(take_over=True)).changes == []


async def test_a_late_attempt_of_the_former_owner_fails_at_the_gate(stacks: tuple[Plant, Other]) -> None:
    first, second = stacks
    await first.put(Change(1, 1))
    await first.run(until=lambda step: step.action == "opened")
    head = await first.ledger.batches.head("orders")
    batch = msgspec.structs.replace(await first.ledger.batches.read(head.open[0]), attempt=1)
    late = await first.loader._planner.load(batch)
    await SchemaWriter(second.deployment).apply(take_over=True)
    statement_id = await first.loading.end(await first.loading.submit(late, name="late", token=("late",)))
    run = await first.loading.describe(statement_id)
    assert (run.state, late[run.failed_index].step) == ("FAILED", "gate_row")


async def test_what_is_behind_the_gate_is_the_owners(stacks: tuple[Plant, Other]) -> None:
    first, second = stacks
    await first.put(Change(1, 1))
    await run(first)
    with pytest.raises(WarehouseError, match="--take-over"):
        await Backfiller(second.deployment).begin_epoch()
    sql = tombstone_sql(first.pipeline, second.deployment.owner, 1, 1_767_225_600)
    with pytest.raises(WarehouseError):
        await first.warehouse.run(sql, name="resync", token=("resync",))
    assert await first.sql('SELECT COUNT(*) FROM "public"."orders_epochs"') == [("0",)]


async def test_who_takes_over_learns_of_the_former_owners_epochs(stacks: tuple[Plant, Other]) -> None:
    first, second = stacks
    assert (await Epochs(second.deployment).head()).epochs == ()
    start = await Backfiller(first.deployment()).begin_epoch()
    await SchemaWriter(second.deployment).apply(take_over=True)
    assert (await second.deployment.ledger.batches.head("orders")).epochs == (start,)


async def test_an_emptied_gate_refuses_until_its_row_is_written_again(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    await plant.put(Change(1, 1))
    await run(plant)
    await plant.execute('DELETE FROM "public"."orders_gate"')
    await plant.put(Change(2, 2))
    assert "loaded" not in await run(plant)
    assert "ddl --apply" in (await Operator(plant.deployment()).status()).paused
    assert (await SchemaWriter(plant.deployment()).apply()).problems == []
    await Operator(plant.deployment()).resume()
    plant.now += 4000
    assert "loaded" in await plant.run()
    assert await plant.sql('SELECT "owner" FROM "public"."orders_gate"') == [(plant.deployment().owner,)]


@pytest.mark.parametrize("is_loaded", [True, False])
async def test_a_gate_that_is_mended_belongs_to_the_stack_that_mends_it(
    stacks: tuple[Plant, Other], is_loaded: bool
) -> None:
    first, second = stacks
    if is_loaded:
        await first.put(Change(1, 1, note="first's"))
        assert (await run(first))[-1] == "loaded"
    await SchemaWriter(second.deployment).apply(take_over=True)
    await first.execute('DELETE FROM "public"."orders_gate"')
    assert (await SchemaWriter(second.deployment).apply()).problems == []
    # The former owner has not heard of it, and would be the next to write.
    await first.put(Change(2, 2, note="too late"))
    assert "loaded" not in await run(first)
    assert "--take-over" in (await Operator(first.deployment()).status()).paused
    await second.put(Change(3, 3, note="second's"))
    assert "loaded" in await second.run()


async def test_a_gate_without_its_row_is_taken_over_as_well(stacks: tuple[Plant, Other]) -> None:
    first, second = stacks
    await first.execute('DELETE FROM "public"."orders_gate"')
    await take_over(second.deployment)
    assert await first.sql('SELECT "owner" FROM "public"."orders_gate"') == [(second.deployment.owner,)]
    await first.put(Change(1, 1, note="too late"))
    assert "loaded" not in await run(first)
    await second.put(Change(2, 2, note="second's"))
    assert "loaded" in await second.run()


async def test_a_target_that_is_made_belongs_to_nobody_yet(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    new = msgspec.structs.replace(plant.pipeline, target="elsewhere")
    await SchemaWriter(msgspec.structs.replace(plant.deployment(), pipeline=new)).apply()
    assert await plant.sql('SELECT "owner" FROM "public"."elsewhere_gate"') == [("",)]


async def test_a_new_target_belongs_to_the_first_stack_that_loads(stacks: tuple[Plant, Other]) -> None:
    first, second = stacks
    assert (await SchemaWriter(second.deployment).apply()).problems == []
    await first.put(Change(1, 1))
    assert (await run(first))[-1] == "loaded"
