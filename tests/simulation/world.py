"""One simulation: tables that change, Lambda environments that die, a late warehouse, and what goes wrong besides.

First a time of faults, then a time of calm in which healthy changes go on arriving: within a bounded time everything
must have come to its end.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections import Counter
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import msgspec

from fastetl.aws import redshift
from fastetl.aws.ledger import pending
from fastetl.columns.types import Column, RedshiftType
from fastetl.config.conditions import Condition
from fastetl.config.model import Config, LoadPolicy, Pipeline, RedshiftTarget
from fastetl.config.targets import split_pipeline
from fastetl.errors import FastetlError
from fastetl.load import steps
from fastetl.model import MAX_OPEN_BATCHES
from fastetl.sql.tables import ddl_sql
from tests.simulation.ageing import AGED_TICK_SECONDS
from tests.simulation.deployment import Stack
from tests.simulation.disasters import Disasters
from tests.simulation.event_source import EventSource
from tests.simulation.fake_dynamodb import FakeDynamoDB
from tests.simulation.fake_redshift_data import FakeRedshiftData, Pace
from tests.simulation.fake_s3 import FakeS3
from tests.simulation.fake_warehouse import FakeWarehouse, SqlError
from tests.simulation.faults import FaultPlan, Network
from tests.simulation.invariants import Invariants
from tests.simulation.loop import Ended, EndlessError, Process, SimulatedLoop
from tests.simulation.mending import Mending
from tests.simulation.scenario import HOUR, Scenario, draw_scenario
from tests.simulation.source import SourceTable

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.simulation.expressions import Item

BEGINS = 1_790_000_000.0
"""Unix seconds at which every simulation begins."""

BUCKET = "lake"
KINESIS_ARN = "arn:aws:kinesis:us-east-1:1:stream/changes"
INDEX_BUCKETS = 3
"""Of the ledger's index: a quarter of the calls for the same questions."""
MARKED_AT_ONCE = 3
"""Files that one step marks, so that batches end over several."""
POLL_SECONDS = 10.0
"""Between two questions of an operator's command that waits for the warehouse, which may take hours."""

LAMBDA_SECONDS = 300
THAWED_SECONDS = 60
"""For which a process goes on that was frozen when its time was over."""
CALM_TICK_SECONDS = 0.25 * HOUR
"""Between the schedule's wake-ups once the faults are over: completion events wake coordinators as well."""

READ_SECONDS, LOAD_SECONDS = 60, 300
"""Of a change and of a batch, at most, where nothing is wrong."""

STALE_SECONDS = 24 * HOUR
"""Within which a healthy change is loaded that came when the faults were over, whatever they left to be retried."""

CALM_SECONDS = 72 * HOUR
"""Within which everything must be loaded or in quarantine once the faults are over."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of a seed."""

    seed: int
    violations: tuple[str, ...]
    fingerprint: str
    coverage: dict[str, int]
    calls: int
    virtual_seconds: float
    trace: tuple[tuple[Any, ...], ...] = ()


def build_pipeline(number: int, scenario: Scenario) -> Pipeline:
    """A pipeline with a mirror and a log, or with two targets of which one has a log and a child table."""
    pipeline = Pipeline(
        name=f"p{number}",
        table=f"table{number}",
        keys=("id",),
        deletes=scenario.deletes,
        source="kinesis" if scenario.kinesis else "stream",
        stream_arn=KINESIS_ARN if scenario.kinesis else "",
        schema="public",
        target=f"t{number}",
        outputs=frozenset({"mirror", "log"}),
        columns=(
            Column("id", ("id",), RedshiftType.parse("VARCHAR(64)")),
            Column("payload", ("payload",), RedshiftType.parse("VARCHAR(64)")),
            Column("quantity", ("quantity",), RedshiftType.parse("INTEGER")),
        ),
        load=LoadPolicy(
            max_bytes=scenario.max_bytes, max_age_seconds=scenario.max_age_seconds, max_files=scenario.max_files
        ),
        redshift=RedshiftTarget(workgroup="simulated"),
    )
    if not scenario.targets:
        return pipeline
    a, b = (
        msgspec.structs.replace(
            pipeline, name=kind, target=f"t{number}_{kind}", part_of=pipeline.name,
            when=(Condition("kind", one_of=(kind,)),), outputs=frozenset(outputs),
        )
        for kind, outputs in (("a", {"mirror", "log"}), ("b", {"mirror"}))
    )  # fmt: skip
    lines = msgspec.structs.replace(
        a, name="lines", target=f"t{number}_lines", rows_of=("lines",), parent="a", when=(), keys=(),
        outputs=frozenset({"mirror"}), columns=(Column("text", ("text",), RedshiftType.parse("VARCHAR(8)")),),
    )  # fmt: skip
    return split_pipeline(msgspec.structs.replace(pipeline, unrouted="ignore"), [a, lines, b])


class World:
    """Everything around the product, and the product's processes."""

    def __init__(self, seed: int, *, large: bool = False, duckdb: bool = False) -> None:
        self.seed = seed
        self.scenario = draw_scenario(seed, large=large)
        self._patience = 3 if large else 1
        """How many times the usual time a backlog of many times more may take."""
        self._warehouse_type = FakeWarehouse
        if duckdb:
            # Takes longer to import than seeds to run.
            from tests.simulation.duckdb_warehouse import DuckWarehouse  # noqa: PLC0415

            self._warehouse_type = DuckWarehouse
        self.random = random.Random(f"world {seed}")
        self.loop = SimulatedLoop(seed, starts_at=BEGINS)
        self.loop.most_steps *= 20 if large else 2 if self.scenario.ages else 1
        self.coverage: Counter[str] = Counter()
        self.calm = False
        self.ageing = False
        """Whether months pass just now."""
        self.maintained = False
        """Whether the warehouse is just being set back, with every pipeline paused, so that nobody else resumes one."""
        self.network = Network(self.loop, FaultPlan(seed))
        pipelines = [build_pipeline(number, self.scenario) for number in range(self.scenario.pipelines)]
        self._build_services()
        self.invariants = Invariants(pipelines, self.s3, self.warehouse, BUCKET)
        self.dynamodb.watch = self._watch_item
        self.warehouse.watch = self.invariants.watch_commit
        self.invariants.items = lambda: self.dynamodb.items
        self.deployment = Stack(self, Config(BUCKET, "ledger", tuple(pipelines)), self.dynamodb)
        self.disasters = Disasters(self)
        self._mending = Mending(self)
        self.sources = [
            SourceTable(
                pipeline,
                self.random,
                keys=self.scenario.keys,
                unloadable=self.scenario.unloadable,
                rejects=self.scenario.rejects,
            )
            for pipeline in pipelines
        ]
        self.invariants.sources = {source.pipeline.name: source for source in self.sources}
        self.events = EventSource(self)
        self._calm_since = 0.0
        self.processes: set[Process] = set()
        self._coordinating: Counter[str] = Counter()

    def _build_services(self) -> None:
        scenario = self.scenario
        self.s3 = FakeS3(self.loop.time)
        self.dynamodb = self._build_ledger()
        self.warehouse = self._warehouse_type(
            self.s3,
            self.loop.time,
            early_snapshot=scenario.early_snapshot,
            serializable=scenario.serializable,
            names_errors=scenario.names_errors,
            trouble=self._trouble,
        )
        self.data_api = FakeRedshiftData(
            self.loop,
            self.warehouse,
            pace=_WorldPace(self),
            result_seconds=scenario.result_seconds,
            on_event=self._on_event,
        )

    def _build_ledger(self) -> FakeDynamoDB:
        scenario, source = self.scenario, self.random
        return FakeDynamoDB(
            self.loop.time,
            lag=lambda: source.random() * scenario.index_lag_seconds,
            page_items=scenario.page_items,
            unprocessed=lambda keys: source.randrange(keys) if not self.calm and source.random() < 0.1 else 0,
        )

    def deploy_again(self) -> Stack:
        """Deploy the stack again, with a ledger of its own, for the same target; give the former stack."""
        former = self.deployment
        self.dynamodb = self._build_ledger()
        self.dynamodb.watch = self._watch_item
        former.dynamodb.watch = lambda _was, _is: None
        config = msgspec.structs.replace(former.config, ledger_table="another-ledger")
        self.deployment = Stack(self, config, self.dynamodb)
        return former

    def _watch_item(self, was: Item | None, now: Item) -> None:
        self.invariants.watch_item(was, now)
        pk = now["pk"]["S"]
        self.sometimes("eight open batches", pk.startswith("P#") and len(now["open"]["L"]) == MAX_OPEN_BATCHES)

    def sometimes(self, what: str, happened: object = True) -> None:
        """Count that a path was reached."""
        if happened:
            self.coverage[what] += 1

    # --- the run -------------------------------------------------------------------------------------------------

    def run(self, *, keep_trace: bool = False) -> Outcome:
        """Run to the end and tell what came of it."""
        self.network.keeps_trace = keep_trace
        gc.disable()
        try:
            with (
                patch.object(pending, "INDEX_BUCKETS", INDEX_BUCKETS),
                patch.object(redshift, "POLL_SECONDS", POLL_SECONDS),
                patch.object(steps, "MARKED_AT_ONCE", MARKED_AT_ONCE),
            ):
                self.loop.run_until_complete(self._main())
        except EndlessError as error:
            self.invariants.violated("I7", str(error))
        finally:
            gc.enable()
        files = sum(pk.startswith("F#") for pk in self.dynamodb.items)
        self.sometimes("hundreds of files", files >= 200)
        virtual = self.loop.time() - BEGINS
        self.loop.close()
        self.warehouse.close()
        for problem in self.loop.problems:
            self.invariants.violated("asyncio", problem)
        self.coverage.update({f"fault {kind}": times for kind, times in self.network.plan.met.items()})
        return Outcome(
            self.seed,
            tuple(self.invariants.violations),
            self.network.fingerprint,
            dict(self.coverage),
            self.network.calls,
            virtual,
            tuple(self.network.trace),
        )

    async def _main(self) -> None:
        for source in self.sources:
            await self._make_tables(source.pipeline)
            source.new_stream("2026-01-01T00:00:00.000")
            self.loop.background(self._write(source))
            self.loop.background(self._schedule(source.pipeline))
        self.loop.background(self.disasters.run())
        await asyncio.sleep(self.scenario.active_seconds)
        await self._come_to_rest()
        await self._load_once_more()
        if not self.invariants.violations:
            self.invariants.check_at_rest(self.dynamodb.items, self._healthy, self.events.acknowledged)
            for source in self._healthy:
                self.invariants.check_staleness(source, self._calm_since, STALE_SECONDS * self._patience)

    async def _make_tables(self, pipeline: Pipeline) -> None:
        transaction = self.warehouse.begin()
        for statement in ddl_sql(pipeline):
            await transaction.run(statement.sql)
        transaction.commit()

    async def _come_to_rest(self) -> None:
        await self.disasters.over()
        self.calm = True
        self.network.plan.active = False
        for source in self._healthy:
            # A ledger that was restored may know of a pause that is over.
            await self.deployment.resume(source.pipeline)
        begins, written = self.loop.time(), self.loop.time() - HOUR
        self._calm_since = begins
        if self.scenario.ledger_restored:
            await self._mending.notice_restored_ledger()
        self.loop.background(self._mending.watch())
        while not self.invariants.violations:
            if self._at_rest():
                return
            if self.loop.time() - begins > CALM_SECONDS * self._patience:
                hours = CALM_SECONDS * self._patience / HOUR
                self.invariants.violated("I7", f"after {hours:.0f} calm hours: {self._unrest()}")
                return
            # Healthy changes go on arriving, and what is wrong with a suspect shows by their being loaded.
            if self.loop.time() - written > HOUR:
                written = self.loop.time()
                for source in self._healthy:
                    self.arrive(source, healthy=True)
            await asyncio.sleep(60)

    async def _load_once_more(self) -> None:
        """Once nothing is in its way, a change is loaded soon: invariant I9."""
        scenario, begins = self.scenario, self.loop.time()
        delays = scenario.index_lag_seconds + scenario.max_age_seconds + 2 * scenario.skew_seconds
        bound = READ_SECONDS + delays + 2 * CALM_TICK_SECONDS + LOAD_SECONDS
        for source in self._healthy:
            # Not a delete: it has the values that the item had last, which the warehouse may refuse.
            self.arrive(source, healthy=True, delete=False)
        while not self.invariants.violations and not self._at_rest():
            if self.loop.time() - begins > bound:
                self.invariants.violated("I9", f"after {bound:,.0f} s without a fault: {self._unrest()}")
            await asyncio.sleep(60)

    @property
    def _healthy(self) -> list[SourceTable]:
        """The tables whose pipelines are not broken."""
        return [source for source in self.sources if source.pipeline.name != self.deployment.broken]

    def _at_rest(self) -> bool:
        return not self._unrest()

    def _unrest(self) -> str:
        """What has not come to its end, in words; empty at rest."""
        broken = self.deployment.broken
        if unread := self.events.unrest(self._healthy):
            return unread
        if self._mending.under_way:
            return f"{self._mending.under_way} is resynced"
        if any(process.frozen_until > self.loop.time() for process in self.processes):
            return "a process stands still"
        for pk, item in self.dynamodb.items.items():
            if pk.startswith("F#") and item["state"]["S"] == "PENDING" and item["pipeline"]["S"] != broken:
                return f"file {pk[2:]} waits"
            if pk.startswith("P#") and item["open"]["L"] and pk != f"P#{broken}":
                return f"{pk} has open batches, paused={item['paused']['S']!r}"
        return ""

    # --- changes and processes ---------------------------------------------------------------------------------

    async def _write(self, source: SourceTable) -> None:
        scenario = self.scenario
        times = sorted(self.random.random() * scenario.active_seconds for _ in range(scenario.writes))
        turns = [self.random.randrange(scenario.writes) for _ in range(scenario.splits)]
        renewed = sorted({self.random.randrange(scenario.writes) for _ in range(scenario.new_streams)})
        renewed = [] if scenario.kinesis else renewed
        renewals = {turn: n for n, turn in enumerate(renewed, 1)}
        for number, due in enumerate(times):
            await asyncio.sleep(max(0.0, BEGINS + due - self.loop.time()))
            if number in turns:
                source.split_shard()
                self.sometimes("shard split")
            if number in renewals and not source.arn:
                source.new_stream(f"2026-01-0{renewals[number] + 1}T00:00:00.000")
                self.sometimes("stream re-created")
            for _ in range(self.random.choice((1, 1, 2, 5))):
                self.arrive(source)

    def arrive(self, source: SourceTable, **how: Any) -> None:
        """Let a change happen, and see to it that it is read."""
        change = source.write(self.loop.time(), **how)
        self.sometimes("change that the warehouse refuses", change.unloadable)
        self.sometimes("delete", change.deleted)
        self.events.read(source)

    async def run_process(self, name: str, main: Coroutine[Any, Any, Any], *, spared: bool = False) -> Ended:
        """Run a Lambda invocation: it ends, dies, or is killed when its time is over; neither where it is spared."""
        process = self.loop.launch(name, main)
        process.spared = spared
        self.processes.add(process)
        if not spared:
            self.loop.call_later(LAMBDA_SECONDS, self._end_in_time, process)
        ended: Ended = await process.ended
        self.processes.discard(process)
        self.sometimes(f"{name} killed", ended.killed)
        if ended.error is not None:
            self.sometimes(f"{name} ended with {type(ended.error).__name__}")
            if not isinstance(ended.error, FastetlError):
                self.invariants.violated("errors", f"{name} raised {ended.error!r}")
        return ended

    def _end_in_time(self, process: Process) -> None:
        """Kill a process whose time is over. One that is frozen goes on first, as a laptop does that has slept."""
        if process.frozen_until > self.loop.time():
            self.loop.call_at(process.frozen_until + THAWED_SECONDS, self._end_in_time, process)
        else:
            self.loop.kill(process)

    # --- coordinators --------------------------------------------------------------------------------------------

    async def _schedule(self, pipeline: Pipeline) -> None:
        while f"P#{pipeline.name}" not in self.dynamodb.items:
            # A new stack's schedule wakes it every minute; what follows wakes it less often, to save time.
            self.wake(pipeline)
            await asyncio.sleep(60)
        while True:
            await asyncio.sleep(self.tick_seconds)
            # Where nothing waits and nothing is open a wake-up only reads: it is spared, to save time of this machine.
            if self._unfinished(pipeline):
                self.wake(pipeline)

    @property
    def tick_seconds(self) -> float:
        """Between the schedule's wake-ups just now."""
        if self.calm:
            return CALM_TICK_SECONDS
        return AGED_TICK_SECONDS if self.ageing else self.scenario.tick_seconds

    def _unfinished(self, pipeline: Pipeline) -> bool:
        for pk, item in self.dynamodb.items.items():
            if pk.startswith("F#") and item["state"]["S"] == "PENDING" and item["pipeline"]["S"] == pipeline.name:
                return True
        head = self.dynamodb.items.get(f"P#{pipeline.name}")
        return head is None or bool(head["open"]["L"])

    def wake(self, pipeline: Pipeline) -> None:
        """Wake a coordinator; in bad times the call may be lost, or come twice and late."""
        if self.calm:
            self.loop.background(self._coordinate(pipeline, 0))
            return
        if self.random.random() < self.scenario.lost_wakeups:
            self.sometimes("wake-up lost")
            return
        self.loop.background(self._coordinate(pipeline, 0))
        if self.random.random() < self.scenario.doubled_wakeups:
            self.sometimes("wake-up doubled")
            delay = self.random.choice((0.0, self.random.random(), self.random.uniform(0, 600)))
            self.loop.background(self._coordinate(pipeline, delay))

    async def _coordinate(self, pipeline: Pipeline, delay: float) -> None:
        await asyncio.sleep(delay)
        if self._coordinating[pipeline.name] >= self.scenario.coordinators:
            self.sometimes("wake-up refused by reserved concurrency")
            return
        self._coordinating[pipeline.name] += 1
        self.sometimes("two coordinators at once", self._coordinating[pipeline.name] > 1)
        await self.run_process("coordinator", self.deployment.coordinate(pipeline))
        self._coordinating[pipeline.name] -= 1

    def _on_event(self, name: str, status: str) -> None:
        """A completion event of the Data API: a hint to wake up now."""
        self.sometimes(f"statement {status}")
        pipelines = self.deployment.config.pipelines
        self.wake(self.random.choice(pipelines) if len(pipelines) > 1 else pipelines[0])

    def kill_everything(self) -> None:
        """End all processes at once."""
        for process in sorted(self.processes, key=lambda process: process.name):
            self.loop.kill(process)

    # --- the warehouse -------------------------------------------------------------------------------------------

    def _trouble(self, step: str, sql: str) -> None:
        if self.calm or self.loop.time() == BEGINS:
            return
        if self.disasters.broken and (message := _TROUBLES[self.scenario.trouble].get(step)):
            self.sometimes(f"trouble {self.scenario.trouble}")
            raise SqlError(message)
        if self.random.random() < self.scenario.dropped_sessions / 10:
            self.sometimes(f"session dropped at {step}")
            raise SqlError("terminating connection due to administrator command")


_TROUBLES = {
    "denied": {"copy": "S3ServiceException:Access Denied,Status 403,Error AccessDenied"},
    "disk": {"merge": "Disk Full"},
    # As when somebody changed the table: every file fails, and looks as if it were to blame.
    "data": {"copy": "Load into table 'fastetl_staged' failed. Check 'sys_load_error_detail' for details."},
    "s3": {"copy": "S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown"},
}


class _WorldPace(Pace):
    """A warehouse that is sometimes busy for hours."""

    def __init__(self, world: World) -> None:
        self._world = world

    def queued(self) -> float:
        world, scenario = self._world, self._world.scenario
        if world.calm:
            return world.random.random()
        if world.random.random() < scenario.held_for_hours:
            world.sometimes("statement held for hours")
            return world.random.uniform(0.5, 12) * HOUR
        return world.random.random() * scenario.queued_seconds

    def running(self, step: str) -> float:
        if step not in {"copy", "verdict", "commit"}:
            return 0.0
        return self._world.random.choice((0.01, 1.0, 40.0))

    def misreported(self) -> bool:
        misreported = not self._world.calm and self._world.random.random() < self._world.scenario.misreported
        self._world.sometimes("committed, and reported as failed", misreported)
        return misreported


def simulate(seed: int, *, keep_trace: bool = False, large: bool = False, duckdb: bool = False) -> Outcome:
    """Run one seed: among larger numbers, and with DuckDB as the warehouse, where that is wanted."""
    return World(seed, large=large, duckdb=duckdb).run(keep_trace=keep_trace)
