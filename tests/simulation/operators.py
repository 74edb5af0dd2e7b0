"""What operators do while files wait and loads run: every command that changes something, in processes that may die."""

from __future__ import annotations

import asyncio
import itertools
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.operate import Operator, Reconciler, rebuild_ledger, replay_rejects
from tests.simulation.scenario import HOUR

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastetl.aws import Deployment
    from fastetl.config.model import Pipeline
    from tests.simulation.world import World

    Command = Callable[[Deployment], Coroutine[Any, Any, Any]]


FEW_ATTEMPTS = 40
"""After which a command meets a quiet hour, without faults of calls, and is waited for as long as it takes."""


class Operators:
    """People and their commands, each run once and not repeated when it fails."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"operators of {world.seed}")

    async def run(self) -> None:
        """Give commands at times of their own."""
        world = self._world
        for _ in range(self._chance.randint(2, 6)):
            await asyncio.sleep(self._chance.random() * world.scenario.active_seconds / 3)
            pipeline = self._chance.choice(world.deployment.config.pipelines)
            if pipeline.name != world.deployment.broken and not world.maintained:
                command = self._chance.choice(self._commands)
                await world.run_process("command", _unless_broken(world, pipeline, partial(command, self)))

    async def _load_now(self, one: Deployment) -> None:
        await Operator(one).load_now()
        self._world.sometimes("command load")

    async def _pause(self, one: Deployment) -> None:
        # The pause may be in force though the command fails, or its process dies: whoever gave it ends it.
        self._world.loop.background(self._end_pause(one.pipeline))
        await Operator(one).pause("maintenance")
        self._world.sometimes("command pause")

    async def _end_pause(self, pipeline: Pipeline) -> None:
        await asyncio.sleep(self._chance.uniform(60, HOUR))
        await insist(self._world, pipeline, lambda one: Operator(one).resume())

    async def _resume(self, one: Deployment) -> None:
        await Operator(one).resume()
        self._world.sometimes("command resume")

    async def _status(self, one: Deployment) -> None:
        await Operator(one).status()
        self._world.sometimes("command status")

    async def _retry(self, one: Deployment) -> None:
        operator = Operator(one)
        for file in await operator.quarantined():
            await operator.retry(file.file_id)
            self._world.sometimes("command quarantine retry")

    async def _drop(self, one: Deployment) -> None:
        operator = Operator(one)
        for file in (await operator.quarantined())[:1]:
            await operator.drop(file.file_id)
            self._world.sometimes("command quarantine drop")

    async def _replay_rejects(self, one: Deployment) -> None:
        operator = Operator(one)
        for key in (await operator.reject_keys())[:2]:
            rejects = await operator.rejects(key)
            self._world.invariants.unsure[frozenset(reject.event_id for reject in rejects)] = frozenset()
            ingest = self._world.deployment.new_ingest(one.pipeline.name)
            await replay_rejects(key, rejects, ingest, one.new_name)
            await operator.end_rejects(key)
            self._world.sometimes("command rejects replay")

    async def _reconcile(self, one: Deployment) -> None:
        await Reconciler(one).reconcile()
        self._world.sometimes("command reconcile")

    async def _rebuild(self, one: Deployment) -> None:
        await rebuild_ledger(one)
        self._world.sometimes("command rebuild-ledger")

    _commands: tuple[Callable[[Operators, Deployment], Coroutine[Any, Any, Any]], ...] = (
        _load_now, _pause, _resume, _status, _retry, _retry, _drop, _replay_rejects, _replay_rejects, _reconcile,
        _rebuild,
    )  # fmt: skip


async def insist(world: World, pipeline: Pipeline, command: Command, *, by_maintenance: bool = False) -> None:
    """Run a command again and again until it succeeds, as an operator does who has to."""
    for attempt in itertools.count():
        if world.maintained and not by_maintenance:
            return
        # A command of hundreds of calls would never end where every thirtieth fails for ever.
        spared = attempt >= FEW_ATTEMPTS
        world.sometimes("command spared after many attempts", attempt == FEW_ATTEMPTS)
        if (await world.run_process("command", _unless_broken(world, pipeline, command), spared=spared)).ok:
            return
        await asyncio.sleep(world.random.uniform(1, 0.1 * HOUR))


async def _unless_broken(world: World, pipeline: Pipeline, command: Command) -> None:
    """Run a command, which may end in any way where the pipeline breaks meanwhile, in a way that nobody foresaw."""
    try:
        if pipeline.name != world.deployment.broken:
            await command(world.deployment.of(pipeline))
    except msgspec.ValidationError:
        if pipeline.name != world.deployment.broken:
            raise
