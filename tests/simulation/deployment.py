"""The product's processes, wired to the fake clients as its roots wire them to AWS's."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.aws.deployment import Deployment, build_deployment
from fastetl.aws.ledger import Ledger
from fastetl.decode.source_arn import parse_source_arn
from fastetl.enrich import make_enricher
from fastetl.errors import FastetlError, LedgerError
from fastetl.ingest.ingester import Ingest
from fastetl.load.loader import Loader
from fastetl.load.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastetl.config.model import Config, Pipeline
    from fastetl.load.steps import Step
    from tests.simulation.fake_dynamodb import FakeDynamoDB
    from tests.simulation.world import World

CLOCKS_APART_SECONDS = 600

ALL_AT_ONCE = 0.3
"""Share of the coordinator's wake-ups that look at every pipeline."""

LAMBDA_SECONDS = 280
"""In which a wake-up may begin steps; longer than calls are slow."""


class Stack:
    """One stack. Lambda environments serve one invocation after the other, as long as none of these dies or fails."""

    def __init__(self, world: World, config: Config, dynamodb: FakeDynamoDB) -> None:
        self.config = config
        self.dynamodb = dynamodb
        """Its ledger."""
        self._world = world
        self._idle: dict[str, list[Ingest]] = defaultdict(list)
        self._skews = (0.0, 0.0)
        self.broken = ""
        """The pipeline that fails in ways that nobody foresaw."""

    async def ingest(self, event: bytes) -> None:
        """One invocation of the ingest Lambda, for every pipeline that reads the stream."""
        failed: Exception | None = None
        for pipeline in self.config.pipelines_for(parse_source_arn(event)):
            try:
                await self._ingest_one(pipeline, event)
            except Exception as error:
                failed = failed or error
        if failed:
            raise failed

    async def _ingest_one(self, pipeline: Pipeline, event: bytes) -> None:
        """In an environment that waits or in a new one."""
        idle = self._idle[pipeline.name]
        environment = idle.pop() if idle else self.new_ingest(pipeline.name)
        try:
            await environment.ingest(event)
        except Exception as error:
            if pipeline.name == self.broken:
                raise FastetlError("the pipeline is broken") from error
            raise
        idle.append(environment)

    def new_ingest(self, name: str) -> Ingest:
        """What ingests events of a pipeline, in an environment of its own."""
        pipeline = self.config.pipeline(name)
        self._world.sometimes("ingest environment begun")
        return Ingest(self.of(pipeline), make_enricher(pipeline))

    def deploy(self, pipelines: tuple[Pipeline, ...]) -> None:
        """Deploy other pipelines; invocations that run go on with those that they began with."""
        self.config = msgspec.structs.replace(self.config, pipelines=pipelines)
        self.forget_environments()

    def forget_environments(self) -> None:
        """End those that wait for an invocation."""
        self._idle.clear()

    async def coordinate(self, pipeline: Pipeline) -> None:
        """One invocation of the coordinator Lambda: steps, until there is nothing to do right away."""
        world = self._world
        # Mostly the one that was woken for, so that seeds stay short; else all, as the function does.
        everything = self.broken or world.random.random() < ALL_AT_ONCE
        pipelines = self.config.pipelines if everything else (pipeline,)
        loaders = {each.name: Loader(self.of(each)) for each in pipelines}

        async def observe(_name: str, step: Step) -> None:
            world.sometimes(f"step {step.action}")
            world.sometimes("paused by fastetl", step.paused)

        moved = await Rounds(loaders, pipelines).wake_up(observe, lambda: LAMBDA_SECONDS)
        world.sometimes("several pipelines in one wake-up", sum(bool(each.actions) for each in moved.values()) > 1)
        for name, each in moved.items():
            if name == self.broken:
                world.sometimes("broken pipeline beside another", bool(each.error))
                continue
            # A call that takes minutes leaves its pipeline out of this wake-up.
            world.sometimes("pipeline left out of a wake-up", isinstance(each.error, TimeoutError))
            if each.error and not isinstance(each.error, TimeoutError):
                raise each.error

    async def change_head(self, pipeline: Pipeline, **changes: Any) -> None:
        """An operator's change of HEAD, repeated until it is in; of a broken pipeline there is none."""
        if pipeline.name == self.broken:
            return
        ledger = self.ledger()
        for _ in range(20):
            try:
                if head := await ledger.batches.head(pipeline.name):
                    await ledger.batches.change_head(head, **changes)
                return
            except LedgerError:
                continue

    async def resume(self, pipeline: Pipeline) -> None:
        """An operator's end of an operator's pause."""
        head = await self.ledger().batches.head(pipeline.name)
        if head and head.paused_by == "operator":
            await self.change_head(pipeline, paused="", paused_by="")

    def deployed(self, pipeline: Pipeline) -> Pipeline:
        """The pipeline of that name as it is deployed now."""
        (found,) = (each for each in self.config.pipelines if each.name == pipeline.name)
        return found

    def of(self, pipeline: Pipeline, clock: Callable[[], float] | None = None) -> Deployment:
        """What one process works on: the edges, opened by it alone, and its clock."""
        world = self._world
        pipeline = self.deployed(pipeline)
        clients = {
            "s3": world.network.client(world.s3),
            "dynamodb": world.network.client(self.dynamodb),
            "redshift-data": world.network.client(world.data_api),
        }

        def new_name() -> str:
            return f"{world.random.getrandbits(64):016x}"

        return build_deployment(self.config, pipeline, clients, clock=clock or self._clock(), new_name=new_name)

    def ledger(self) -> Ledger:
        """Open the ledger."""
        return Ledger(self._world.network.client(self.dynamodb), self.config.ledger_table)

    def _clock(self) -> Callable[[], float]:
        skew = self._world.random.uniform(-1, 1) * self._world.scenario.skew_seconds
        self._skews = (min(skew, self._skews[0]), max(skew, self._skews[1]))
        self._world.sometimes("clocks apart", self._skews[1] - self._skews[0] >= CLOCKS_APART_SECONDS)
        return lambda: self._world.loop.time() + skew
