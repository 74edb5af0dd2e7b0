"""Rows that an operator repairs while changes flow: what `fastetl verify --repair` does with the keys that it names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from fastetl.aws.source import Described
from fastetl.enrich import make_enricher
from fastetl.errors import FastetlError
from fastetl.operate.verify import RowComparer, RowDifference, Verified

if TYPE_CHECKING:
    import random
    from typing import Any

    from tests.simulation.source import SourceTable
    from tests.simulation.world import World

    Item = dict[str, Any]

MOST_ROWS = 3
MOST_TRIES = 5


class _TableNow:
    """The table, of which a repair reads single items."""

    def __init__(self, source: SourceTable) -> None:
        self._source = source

    async def describe(self) -> Described:
        """Tell which table it is."""
        name = self._source.pipeline.table
        return Described(name, self._source.table_arn, ("id",), ("S",), items=0, bytes=0, stream_arn="", view_type="")

    async def get(self, key: Item) -> Item | None:
        """Read an item as it is now."""
        return next((item for item in self._source.items() if item["id"] == key["id"]), None)


async def repair(world: World, source: SourceTable, chance: random.Random) -> None:
    """Carry some rows over, whatever they hold, and begin again a few times where that fails.

    Args:
        world: that the table is of.
        source: the table.
        chance: draws the rows.
    """
    keys = sorted({change.key for change in source.changes.values()})
    chosen = chance.sample(keys, min(len(keys), chance.randint(1, MOST_ROWS)))
    differences = tuple(RowDifference(key, "differs") for key in chosen)
    for _ in range(MOST_TRIES):
        # A person's clock is right, and so are the epochs that begin by it.
        deployment = world.deployment.of(source.pipeline, world.loop.time)
        deployment = msgspec.structs.replace(deployment, source=_TableNow(source))
        enricher = make_enricher(deployment.pipeline)

        def on_wait(_what: str, seconds: float) -> None:
            world.loop.background(_let_changes_arrive(world, source, chance.uniform(0, seconds)))

        comparer = RowComparer(deployment, enricher, settle_seconds=0, on_wait=on_wait)
        try:
            found = await comparer.repair(Verified(source.pipeline.name, 0, 0, differences, 0, False, "settling", 0.0))
        except FastetlError:
            world.sometimes("repair begun again")
            await asyncio.sleep(chance.uniform(1, 300))
        else:
            world.sometimes("rows repaired", found.repaired)
            return


async def _let_changes_arrive(world: World, source: SourceTable, wait_seconds: float) -> None:
    """Change items while a repair waits for its epoch."""
    await asyncio.sleep(wait_seconds)
    for _ in range(3):
        world.arrive(source, healthy=True)
