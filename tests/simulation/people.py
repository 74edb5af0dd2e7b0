"""A person in the warehouse: what nobody should do there, and how an operator mends it with the documented commands."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from fastetl.load.decide import RUNNING
from fastetl.operate import Operator, rebuild_ledger
from fastetl.operate.ownership import take_over
from fastetl.sql.tables import tables_sql
from fastetl.sql.text import quote_table
from tests.simulation.fake_warehouse import SqlError
from tests.simulation.gap import Resync
from tests.simulation.operators import insist
from tests.simulation.scenario import HOUR

if TYPE_CHECKING:
    from fastetl.aws import Deployment
    from fastetl.config.model import Pipeline
    from tests.simulation.operators import Command
    from tests.simulation.world import World


class Person:
    """Does one thing to the tables of one pipeline, and notices it within hours."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"person of {world.seed}")
        self._pipeline: Pipeline = self._chance.choice(world.deployment.config.pipelines)
        self._resyncs: dict[str, str] = {}
        """By pipeline, where the export lies of a resync that is to be ended once more."""

    async def run(self, deed: str) -> None:
        """Do it, and mend it."""
        await asyncio.sleep(self._chance.random() * self._world.scenario.active_seconds)
        if self._pipeline.name != self._world.deployment.broken:
            await {"gate": self._empty_gate, "rows": self._delete_rows, "snapshot": self._restore_snapshot}[deed]()

    async def _empty_gate(self) -> None:
        world = self._world
        world.warehouse.delete(quote_table(self._pipeline, "_gate"), lambda _: True)
        world.sometimes("gate emptied by a person")
        await self._time_passes()
        # `fastetl ddl --apply` writes the row again.
        await self._create_tables()
        await insist(world, self._pipeline, lambda one: Operator(one).resume())

    async def _delete_rows(self) -> None:
        """Delete bookkeeping: the warehouse then knows nothing of files, though it has their rows."""
        world = self._world
        world.invariants.meddled.add(self._pipeline.name)
        chosen = {
            row["file_id"]
            for row in world.warehouse.rows(quote_table(self._pipeline, "_load_files"))
            if self._chance.random() < 0.5
        }
        world.warehouse.delete(quote_table(self._pipeline, "_load_files"), lambda row: row["file_id"] in chosen)
        if self._chance.random() < 0.5:
            world.warehouse.delete(quote_table(self._pipeline, "_loads"), lambda _: True)
        world.sometimes("bookkeeping deleted by a person", chosen)
        await self._time_passes()
        await insist(world, self._pipeline, rebuild_ledger)

    async def _restore_snapshot(self) -> None:
        """The warehouse is set back to an earlier hour, while the pipeline is paused and no load of it runs."""
        world = self._world
        snapshot = world.warehouse.snapshot()
        await self._time_passes()
        world.maintained = True
        every = world.deployment.config.pipelines
        for pipeline in every:
            await self._maintain(pipeline, lambda one: Operator(one).pause("a snapshot is restored"))
        while self._something_runs():
            await asyncio.sleep(60)
        world.invariants.meddled |= {each.name for each in every}
        world.data_api.end_everything()
        # Where the target has changed hands since, it is the former stack's again until this one takes it over.
        world.invariants.set_back = True
        world.warehouse.restore(snapshot)
        world.sometimes("snapshot of the warehouse restored")
        for pipeline in every:
            await self._maintain(pipeline, take_over)
            await self._maintain(pipeline, self._rebuild)
            await self._maintain(pipeline, lambda one: Operator(one).resume())
        world.invariants.set_back = False
        world.maintained = False
        for source in world.sources:
            if location := self._resyncs.get(source.pipeline.name):
                world.sometimes("resync ended once more")
                await Resync(world, source, "snapshot", self._chance).end(location)

    async def _rebuild(self, one: Deployment) -> None:
        self._resyncs[one.pipeline.name] = (await rebuild_ledger(one)).resync

    async def _maintain(self, pipeline: Pipeline, command: Command) -> None:
        await insist(self._world, pipeline, command, by_maintenance=True)

    def _something_runs(self) -> bool:
        items, broken = self._world.dynamodb.items, f"P#{self._world.deployment.broken}"
        heads = [head for pk, head in items.items() if pk.startswith("P#") and pk != broken]
        open_batches = [each["S"] for head in heads for each in head["open"]["L"]]
        return any(items[f"B#{batch_id}"]["state"]["S"] in RUNNING for batch_id in open_batches)

    async def _create_tables(self) -> None:
        transaction = self._world.warehouse.begin()
        try:
            for statement in tables_sql(self._pipeline, self._deployment().owner):
                await transaction.run(statement.sql)
            transaction.commit()
        except SqlError:  # the session was dropped; once more
            transaction.rollback()
            await self._create_tables()

    async def _time_passes(self) -> None:
        await asyncio.sleep(self._chance.uniform(60, 2 * HOUR))

    def _deployment(self) -> Deployment:
        return self._world.deployment.of(self._pipeline)
