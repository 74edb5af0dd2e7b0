"""What Lambda's event source mapping does: it reads shards in order, repeats, bisects, gives up, and invokes twice."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import orjson

from fastetl.operate.replay import FAILURES_PREFIX, replay_failures
from tests.simulation.loop import Ended
from tests.simulation.scenario import HOUR
from tests.simulation.source import build_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.ingest import Ingest
    from tests.simulation.source import Change, Shard, SourceTable
    from tests.simulation.world import World


class EventSource:
    """Sees to it that every change is delivered, or kept at the failure destination until an operator replays it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.acknowledged: set[str] = set()
        self._delivered: dict[frozenset[str], frozenset[str]] = {}
        self._reading: set[Shard] = set()
        self._redelivering = 0
        self._kept: dict[str, Sequence[Change]] = {}
        """At the failure destination, by the object's key."""
        self._count = itertools.count()

    def read(self, source: SourceTable) -> None:
        """See to it that every shard with something new has its reader."""
        for shard in source.shards:
            if not shard.drained and shard not in self._reading:
                self._reading.add(shard)
                self._world.loop.background(self._read_shard(shard))

    def unrest(self, sources: Sequence[SourceTable]) -> str:
        """What is still on its way, in words; empty where nothing is."""
        shards = [shard for source in sources for shard in source.shards]
        if any(not shard.drained or shard in self._reading for shard in shards):
            return "changes are not read"
        if self._redelivering:
            return "changes are delivered again"
        waits = any(batch[0].event_id in source.changes for batch in self._kept.values() for source in sources)
        return "events that were given up wait for their replay" if waits else ""

    def forget_deliveries(self) -> None:
        """A ledger that was set back, or is another one, may not know what was registered."""
        self._world.invariants.unsure |= self._delivered

    async def _read_shard(self, shard: Shard) -> None:
        world, scenario = self._world, self._world.scenario
        failures, waits, most = 0, 0, scenario.max_batch
        while not shard.drained:
            # What fails on and on is delivered ever more slowly: that saves this machine's time.
            await asyncio.sleep(world.random.uniform(0.1, 20) * 2 ** min((failures + waits) // 5, 10))
            if scenario.ordered_shards and shard.parent and not shard.parent.drained:
                waits += 1
                continue
            waits = 0
            begins = shard.position
            batch = shard.changes[begins : begins + world.random.randint(1, most)]
            if not batch:  # trimmed meanwhile
                continue
            ended = await self._invoke(batch)
            if not ended.ok:
                failures += 1
                if scenario.bisects:
                    world.sometimes("batch bisected", most > 1)
                    most = max(1, len(batch) // 2)
                # Else the next attempt may be cut differently. Once the faults are over, only the first events of a new
                # stack fail, until the coordinator has looked at its warehouse.
                if world.calm or not scenario.gives_up_after or failures < scenario.gives_up_after:
                    continue
                self._give_up(batch)
            else:
                self.acknowledged |= {change.event_id for change in batch}
            failures, most = 0, scenario.max_batch
            if shard.position == begins:
                shard.position += len(batch)
            if ended.ok and not world.calm and world.random.random() < scenario.redelivered:
                world.loop.background(self._redeliver(shard, begins))
        self._reading.discard(shard)

    async def _invoke(self, batch: Sequence[Change]) -> Ended:
        """Invoke ingest with a batch; sometimes twice at once, of which only the first is waited for."""
        world = self._world
        doubled = world.scenario.doubled_invocations
        if doubled and not world.calm and world.random.random() < doubled:
            world.sometimes("one event in two invocations at once")
            world.loop.background(self._invoke_too(batch))
        return await self.deliver(batch)

    async def _invoke_too(self, batch: Sequence[Change]) -> None:
        self._redelivering += 1
        await asyncio.sleep(self._world.random.choice((0.0, self._world.random.random())))
        await self.deliver(batch)
        self._redelivering -= 1

    async def _redeliver(self, shard: Shard, begins: int) -> None:
        """Deliver again what was acknowledged, from the same place, perhaps cut differently."""
        world = self._world
        self._redelivering += 1
        await asyncio.sleep(world.random.uniform(0, 0.5 * HOUR))
        batch = shard.changes[begins : begins + world.random.randint(1, world.scenario.max_batch)]
        if begins >= shard.trimmed:
            await self.deliver(batch)
            world.sometimes("batch delivered again")
        self._redelivering -= 1

    async def deliver(self, batch: Sequence[Change]) -> Ended:
        """Invoke ingest with changes of one stream."""
        world = self._world
        others = self._neighbours(batch)
        files = {
            frozenset(change.event_id for change in part): frozenset(c.event_id for c in part if not c.reject)
            for part in (batch, others)
            if part
        }
        world.invariants.unsure |= files
        event = build_event(sorted([*batch, *others], key=lambda change: change.created_at))
        ended = await world.run_process("ingest", world.deployment.ingest(event))
        if ended.ok:
            for events in files:
                world.invariants.unsure.pop(events, None)
            self._delivered |= files
        return ended

    def _neighbours(self, batch: Sequence[Change]) -> list[Change]:
        """Some changes of another table that are on the same Kinesis stream."""
        world = self._world
        if not world.scenario.kinesis or len(world.sources) == 1 or not batch or world.calm:
            return []
        (other,) = (source for source in world.sources if batch[0].event_id not in source.changes)
        every = [change for change in other.changes.values() if change.arn == batch[0].arn]
        begins = world.random.randrange(len(every) + 1)
        found = every[begins : begins + world.random.randint(0, 2)]
        world.sometimes("changes of two tables in one event", found)
        return found

    # --- the failure destination ---------------------------------------------------------------------------------

    def _give_up(self, batch: Sequence[Change]) -> None:
        """Keep the whole invocation record, as Lambda does with a destination on S3."""
        world = self._world
        world.sometimes("event given up by the mapping")
        key = f"{FAILURES_PREFIX}mapping/{next(self._count):04d}"
        body = orjson.dumps({"version": "1.0", "payload": build_event(batch).decode()})
        world.s3.put_object(Bucket=world.deployment.config.bucket, Key=key, Body=body)
        if not self._kept:
            world.loop.background(self._replay_kept())
        self._kept[key] = batch

    async def _replay_kept(self) -> None:
        """`fastetl replay`, again and again, until nothing is left at the destination."""
        world = self._world
        await asyncio.sleep(world.random.uniform(60, 2 * HOUR))
        fruitless = 0
        while self._kept:
            await world.run_process("replay", self._replay())
            gone = [key for key in self._kept if (world.deployment.config.bucket, key) not in world.s3.objects]
            for key in gone:
                self.acknowledged |= {change.event_id for change in self._kept.pop(key)}
                world.sometimes("event replayed that was given up")
            # What fails on and on is tried ever more slowly: that saves this machine's time.
            fruitless = 0 if gone or world.calm else fruitless + 1
            await asyncio.sleep(world.random.uniform(1, 600) * 2 ** min(fruitless, 6))

    async def _replay(self) -> Any:
        world = self._world
        one = world.deployment.of(world.deployment.config.pipelines[0])
        kept: dict[str, Ingest] = {}

        async def ingest_for(name: str) -> Ingest:
            if name not in kept:
                kept[name] = world.deployment.new_ingest(name)
            return kept[name]

        return await replay_failures(one.config, one.bucket, ingest_for)
