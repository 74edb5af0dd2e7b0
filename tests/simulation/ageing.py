"""Months that pass: the bucket's lifecycle and the ledger's time to live remove what nobody touches."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from fastetl.operate import Operator
from tests.simulation.operators import insist
from tests.simulation.scenario import HOUR

if TYPE_CHECKING:
    from tests.simulation.world import World

DAY = 24 * HOUR

AGED_TICK_SECONDS = 6 * HOUR
"""Between the schedule's wake-ups in such a time, where each minute would only repeat the one before."""


class Ageing:
    """Weeks or months in which files wait or batches stay open, and then changes that are delivered again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"ageing of {world.seed}")

    async def run(self) -> None:
        """Let time pass; sometimes under an operator's pause."""
        world = self._world
        await asyncio.sleep(self._chance.random() * world.scenario.active_seconds)
        pipelines = [each for each in world.deployment.config.pipelines if self._chance.random() < 0.5]
        for pipeline in pipelines:
            await world.deployment.change_head(pipeline, paused="a long holiday", paused_by="operator")
        world.ageing = True
        for _ in range(self._chance.randint(4, 14)):
            await asyncio.sleep(self._chance.uniform(2, 12) * DAY)
            removed = world.s3.expire()
            world.sometimes("manifest removed by the lifecycle", removed)
            world.sometimes("file moved to an archive", world.s3.archive())
            world.sometimes("loaded file forgotten by the ledger", world.dynamodb.expire())
        world.ageing = False
        await asyncio.sleep(AGED_TICK_SECONDS)  # until the schedule wakes up as often as it did
        while world.maintained:
            await asyncio.sleep(HOUR)
        for pipeline in pipelines:
            await insist(world, pipeline, lambda one: Operator(one).resume())
        # What an operator had kept is delivered once more, when the ledger knows nothing of it.
        for source in world.sources:
            for shard in source.shards:
                if shard.changes and shard.trimmed == 0 and self._chance.random() < 0.5:
                    await world.events.deliver(shard.changes[: self._chance.randint(1, 4)])
                    world.sometimes("old event delivered again")
