"""A table whose changes come to take another way while it runs: Kinesis, DynamoDB Streams, or a replica's stream."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fastetl.config import Pipeline
    from tests.simulation.world import World


class AnotherWay:
    """What an operator does for it (docs/operations.md, "When changes come another way")."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"another way of {world.seed}")

    async def run(self) -> None:
        """Enable the new way, let the former one be read to its end, and deploy the new one."""
        world = self._world
        await asyncio.sleep(self._chance.random() * world.scenario.active_seconds)
        sources = list(world.sources)
        for source in sources:
            source.take_another_way(self._name_stream(source.pipeline))
        # What Lambda gave up on is replayed before: events of the former way have no reader after the deploy.
        while any(world.events.unrest([source]) for source in sources if not self._is_broken(source.pipeline)):
            await asyncio.sleep(60)
        await asyncio.sleep(self._chance.choice((0, 600)))
        deployed = tuple(
            each if self._is_broken(each) else self._change(each) for each in world.deployment.config.pipelines
        )
        world.deployment.deploy(deployed)
        world.sometimes(f"changes come another way, by {world.scenario.another_way}")
        for source in sources:
            if not self._is_broken(source.pipeline):
                source.read_other_way()
                world.events.read(source)
                # What comes first shows that nothing orders it and what is loaded.
                world.arrive(source, healthy=True, delete=False)

    def _name_stream(self, pipeline: Pipeline) -> str:
        if self._world.scenario.another_way == "kinesis":
            # Of a name that sorts before the former one; one for each table where they had streams of their own.
            own = "" if pipeline.source == "kinesis" else f"-{pipeline.name}"
            return f"arn:aws:kinesis:us-east-1:1:stream/a{own}"
        if self._world.scenario.another_way == "replica":
            # Its stream was enabled long before.
            return f"arn:aws:dynamodb:eu-west-1:1:table/{pipeline.table}/stream/2020-01-01T00:00:00.000"
        return f"arn:aws:dynamodb:us-east-1:1:table/{pipeline.table}/stream/2026-01-09T00:00:00.000"

    def _change(self, pipeline: Pipeline) -> Pipeline:
        (source,) = (each for each in self._world.sources if each.pipeline.name == pipeline.name)
        kind = "kinesis" if self._world.scenario.another_way == "kinesis" else "stream"
        return msgspec.structs.replace(pipeline, source=kind, stream_arn=source.arn)

    def _is_broken(self, pipeline: Pipeline) -> bool:
        return pipeline.name == self._world.deployment.broken
