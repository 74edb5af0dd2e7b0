"""What an operator does once the faults are over: a ledger that was restored is rebuilt, and so is that of a pipeline
that has paused for want of epochs, before it is resynced. A pipeline whose changes come another way is resynced, too.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from fastetl.operate import rebuild_ledger
from tests.simulation.gap import Resync
from tests.simulation.operators import insist
from tests.simulation.scenario import HOUR

if TYPE_CHECKING:
    from tests.simulation.source import SourceTable
    from tests.simulation.world import World

FORGETFUL = 0.5
"""Share of the restored ledgers that nobody rebuilds before a pipeline pauses."""

LOOKS_SECONDS = 0.5 * HOUR
"""Between two looks at the pipelines."""


class Mending:
    """An operator who looks at every pipeline from time to time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"mending of {world.seed}")
        self._done = 0
        self.under_way = ""
        """The pipeline that is resynced; empty where none is."""

    async def notice_restored_ledger(self) -> None:
        """Rebuild a ledger that was restored, as the documents say, but late; or wait for what loads say of it."""
        if self._chance.random() < FORGETFUL:
            for source in self._world.sources:
                if source.pipeline.name != self._world.deployment.broken:
                    # What the ledger lacks is noticed with a change.
                    self._world.arrive(source, healthy=True)
            self._world.sometimes("restored ledger forgotten")
            return
        for source in self._world.sources:
            await self._rebuild_ledger(source)
            self._world.sometimes("restored ledger rebuilt")

    async def _rebuild_ledger(self, source: SourceTable) -> None:
        await insist(self._world, source.pipeline, rebuild_ledger)

    async def watch(self) -> None:
        """Look, and mend, to the end."""
        while True:
            for source in self._world.sources:
                if source.pipeline.name != self._world.deployment.broken and (why := self._why_refused(source)):
                    await self._resync(source, why)
            await asyncio.sleep(LOOKS_SECONDS)

    def _why_refused(self, source: SourceTable) -> str:
        """The step by which loads of a pipeline pause, since a resync is wanted; empty where they do not."""
        head = self._world.dynamodb.items.get(f"P#{source.pipeline.name}")
        step = head["paused"]["S"].partition(": ")[0] if head else ""
        return step if step in {"stamps", "gate_source"} else ""

    async def _resync(self, source: SourceTable, why: str) -> None:
        world = self._world
        if why == "stamps":
            world.sometimes("changes stamped too early")
            replaced = world.scenario.ledger_restored or world.scenario.redeployed
            replaced = replaced or source.pipeline.name in world.invariants.meddled
            if not replaced and source.pipeline.name not in world.disasters.lost_beginning:
                what = f"{source.pipeline.name} stamped changes too early; no ledger was set back or replaced"
                world.invariants.violated("I10", what)
        else:
            world.sometimes("paused for another source")
            if world.scenario.another_way in {"", source.pipeline.source}:
                world.invariants.violated("I10", f"{source.pipeline.name} takes its own stream for another source")
        # The application mends what the warehouse or the columns refuse: an export of it would be refused as well.
        source.heal(world.loop.time())
        source.has_gap = True
        world.events.read(source)
        self._done += 1
        self.under_way = source.pipeline.name
        if why == "stamps":
            await self._rebuild_ledger(source)
        await Resync(world, source, f"mending-{self._done}", self._chance).run()
        self.under_way = ""
