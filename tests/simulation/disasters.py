"""What happens once, if at all: a ledger restored, a stack deployed again, a lock that a person holds."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.backfill.backfiller import Backfiller
from fastetl.config import FileFormat
from fastetl.config.targets import split_pipeline
from fastetl.operate.ownership import take_over
from fastetl.sql.text import quote_table
from tests.simulation.ageing import Ageing
from tests.simulation.another_way import AnotherWay
from tests.simulation.fake_warehouse import SqlError
from tests.simulation.gap import Gap, insist
from tests.simulation.operators import Operators
from tests.simulation.people import Person
from tests.simulation.scenario import HOUR
from tests.simulation.source import build_event

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from fastetl.columns import Column
    from fastetl.config import Pipeline
    from tests.simulation.deployment import Stack
    from tests.simulation.world import World

FORGOTTEN = 0.6
"""Share of the stacks that are deployed again while the former one goes on."""


class Disasters:
    """The scenario's disasters, each at a time of its own while there are faults."""

    def __init__(self, world: World) -> None:
        self.broken = False
        """Whether the infrastructure is broken just now."""
        self.lost_beginning: set[str] = set()
        """Pipelines whose HEAD was lost between an epoch and its confirmation, so that nobody knew of it."""
        self._world = world
        self._under_way: list[asyncio.Task[None]] = []
        self._forgotten: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Start those that the scenario names."""
        scenario = self._world.scenario
        planned: list[Coroutine[None, None, None]] = []
        if scenario.ledger_restored:
            planned.append(self._restore_ledger())
        if scenario.redeployed:
            planned.append(self._redeploy())
        if scenario.head_lost:
            planned.append(self._lose_head())
        if scenario.trouble_seconds:
            planned.append(self._break_surroundings())
        if scenario.gate_held_seconds:
            planned.append(self._hold_gate())
        if scenario.epoch:
            planned.append(self._begin_epoch())
        if scenario.has_gap:
            planned.append(Gap(self._world).run())
        if scenario.column:
            planned.append(self._change_columns())
        if scenario.breaks_neighbour:
            planned.append(self._break_neighbour())
        if scenario.operator:
            planned.append(self._operate())
        if scenario.commands:
            planned.append(Operators(self._world).run())
        if scenario.has_person:
            planned.append(Person(self._world).run(scenario.person))
        if scenario.ages:
            planned.append(Ageing(self._world).run())
        if scenario.takes_another_way:
            planned.append(AnotherWay(self._world).run())
        planned += [self._change_files() for _ in range(scenario.file_deploys)]
        planned += [self._break_object(corrupt=False) for _ in range(scenario.lost_objects)]
        planned += [self._break_object(corrupt=True) for _ in range(scenario.corrupt_objects)]
        self._under_way = [self._world.loop.background(disaster) for disaster in planned]

    async def over(self) -> None:
        """Wait until the last one is over."""
        await asyncio.gather(*self._under_way)

    async def _sometime(self, within: float = 1.0) -> None:
        await asyncio.sleep(self._world.random.random() * self._world.scenario.active_seconds * within)

    async def _restore_ledger(self) -> None:
        world = self._world
        await self._sometime(0.6)
        backup = world.dynamodb.backup()
        await asyncio.sleep(world.random.uniform(60, HOUR))
        world.sometimes("ledger restored to an earlier hour")
        self._start_over(backup)

    async def _redeploy(self) -> None:
        await self._sometime()
        world = self._world
        world.sometimes("stack deployed again")
        former = world.deploy_again()
        self._start_over({})
        if world.random.random() < FORGOTTEN:
            self._forgotten = world.loop.background(self._run_forgotten(former))
        await asyncio.sleep(world.random.uniform(0, HOUR))
        for pipeline in world.deployment.config.pipelines:
            with contextlib.suppress(msgspec.ValidationError):  # of a neighbour that is broken
                await insist(world, partial(take_over, world.deployment.of(pipeline, world.loop.time)))
                world.sometimes("target taken over")
        world.invariants.former = former.dynamodb.items.keys()

    async def _run_forgotten(self, former: Stack) -> None:
        """Let the former stack go on reading the streams and loading, as if nobody had stopped it."""
        world = self._world
        while not world.calm:
            await asyncio.sleep(world.random.uniform(10, world.tick_seconds))
            source = world.random.choice(world.sources)
            shard = world.random.choice(source.shards)
            if batch := shard.changes[-world.scenario.max_batch :]:
                events = frozenset(change.event_id for change in batch)
                # The new stack may never cut a file like this one.
                world.invariants.unsure[events] = frozenset(c.event_id for c in batch if not c.reject)
                await world.run_process("forgotten ingest", former.ingest(build_event(batch)))
            await world.run_process("forgotten coordinator", former.coordinate(source.pipeline))
            world.sometimes("two stacks at once")

    def _start_over(self, backup: dict[str, dict[str, object]]) -> None:
        """Another ledger under running processes; the streams are read again from where they begin."""
        world = self._world
        world.kill_everything()
        world.deployment.forget_environments()
        world.dynamodb.restore(backup)
        world.events.forget_deliveries()
        for source in world.sources:
            for shard in source.shards:
                shard.position = 0
                # It is delivered again; of a broken pipeline it waits in the stream.
                world.events.acknowledged -= {change.event_id for change in shard.changes}
            world.events.read(source)

    async def _lose_head(self) -> None:
        await self._sometime()
        world = self._world
        name = world.random.choice(world.deployment.config.pipelines).name
        if head := world.dynamodb.items.pop(f"P#{name}", None):
            world.sometimes("HEAD lost")
            known = {int(epoch["M"]["epoch"]["N"]) for epoch in head["epochs"]["L"]}
            kept = world.warehouse.rows(quote_table(world.deployment.config.pipeline(name), "_epochs"))
            if known & {row["epoch"] for row in kept if row["kind"] == "announced"}:
                self.lost_beginning.add(name)
                world.sometimes("HEAD lost while an epoch began")

    async def _break_surroundings(self) -> None:
        await self._sometime()
        self.broken = True
        await asyncio.sleep(self._world.scenario.trouble_seconds)
        self.broken = False

    async def _hold_gate(self) -> None:
        world = self._world
        await self._sometime()
        pipeline = world.random.choice(world.deployment.config.pipelines)
        person = world.warehouse.begin()
        with contextlib.suppress(SqlError):  # whose session may be dropped as well
            await person.run(f"/* fastetl lock person */\nLOCK {quote_table(pipeline, '_gate')}")
        world.sometimes("gate held by a person")
        await asyncio.sleep(world.scenario.gate_held_seconds)
        person.rollback()

    async def _begin_epoch(self) -> None:
        world = self._world
        await self._sometime(0.5)
        for pipeline in world.deployment.config.pipelines:
            with contextlib.suppress(msgspec.ValidationError):  # of a neighbour that is broken
                await insist(world, partial(self._begin_epoch_of, pipeline))
                world.sometimes("epoch begun")

    async def _begin_epoch_of(self, pipeline: Pipeline) -> None:
        """Begin an epoch as the stack of now, which may have been deployed again."""
        await Backfiller(self._world.deployment.of(pipeline, self._world.loop.time)).begin_epoch()

    async def _change_columns(self) -> None:
        """Take a column out of the configuration, and perhaps put it back later."""
        world = self._world
        await self._sometime(0.5)
        world.invariants.may_lack_quantity = True
        before = {part.name: part.columns for each in world.deployment.config.pipelines for part in each.targets}
        after = {name: tuple(each for each in columns if each.name != "quantity") for name, columns in before.items()}
        self._deploy_columns(after)
        world.sometimes("column left")
        if world.scenario.column == "leaves and returns":
            await self._sometime(0.5)
            self._deploy_columns(before)
            world.sometimes("column returned")

    def _deploy_columns(self, columns: dict[str, tuple[Column, ...]]) -> None:
        """Deploy the columns that each target is to have; what else was deployed meanwhile stays."""
        pipelines = []
        for each in self._world.deployment.config.pipelines:
            parts = [msgspec.structs.replace(part, columns=columns[part.name]) for part in each.targets]
            pipelines.append(split_pipeline(each, parts) if each.parts else parts[0])
        self._world.deployment.deploy(tuple(pipelines))

    async def _change_files(self) -> None:
        """Deploy another way of writing files, or a pipeline without its log, while files wait and batches are open."""
        world = self._world
        await self._sometime()
        changes: dict[str, Any] = {"file": self._draw_format()}
        if world.random.random() < 0.3 and not world.scenario.targets:
            changes["outputs"] = frozenset(world.random.choice((("mirror",), ("mirror", "log"))))
            world.invariants.may_lack_log = True
            world.sometimes("outputs changed by a deploy")
        pipelines = world.deployment.config.pipelines
        world.deployment.deploy(tuple(msgspec.structs.replace(each, **changes) for each in pipelines))
        world.sometimes("compression or delimiter changed by a deploy")

    def _draw_format(self) -> FileFormat:
        chance = self._world.random
        return FileFormat(delimiter=chance.choice(",;|\t"), compression=chance.choice(("gzip", "zstd", "none")))

    async def _break_neighbour(self) -> None:
        """Spoil the second pipeline's HEAD, so that whatever reads it fails in a way that nobody foresaw."""
        world = self._world
        await self._sometime()
        name = world.deployment.config.pipelines[1].name
        if head := world.dynamodb.items.get(f"P#{name}"):
            world.deployment.broken = name
            head["loads"] = {"S": "spoilt"}
            world.sometimes("neighbour broken")

    async def _operate(self) -> None:
        world = self._world
        for _ in range(3):
            await self._sometime(0.3)
            pipeline = world.random.choice(world.deployment.config.pipelines)
            if world.maintained:
                continue
            if world.random.random() < 0.5:
                await world.deployment.change_head(pipeline, load_requested=True)
                world.sometimes("load asked for by an operator")
                continue
            await world.deployment.change_head(pipeline, paused="maintenance", paused_by="operator")
            world.sometimes("paused by an operator")
            await asyncio.sleep(world.random.uniform(60, HOUR))
            if not world.maintained:
                await world.deployment.change_head(pipeline, paused="", paused_by="")

    async def _break_object(self, *, corrupt: bool) -> None:
        """Lose or spoil the object of a file that waits."""
        world = self._world
        await self._sometime()
        waiting = [
            item["key"]["S"]
            for pk, item in sorted(world.dynamodb.items.items())
            if pk.startswith("F#") and item["state"]["S"] == "PENDING"
        ]
        if not waiting:
            return
        key = world.random.choice(waiting)
        where = (world.deployment.config.bucket, key)
        if where not in world.s3.objects:
            return
        world.invariants.events_of(key)
        world.invariants.broken.add(key)
        if corrupt:
            world.sometimes("object spoilt")
            broken = msgspec.structs.replace(world.s3.objects[where], content=b"spoilt", etag='"spoilt"')
            world.s3.objects[where] = broken
        else:
            world.sometimes("object lost")
            del world.s3.objects[where]
