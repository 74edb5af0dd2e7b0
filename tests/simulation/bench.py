"""A pipeline on the fake services, in virtual time and without faults: for tests of a single course of events."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import msgspec

from fastetl.aws.deployment import Deployment
from fastetl.aws.ledger import Ledger, pending
from fastetl.aws.redshift import Warehouse
from fastetl.aws.s3 import Bucket
from fastetl.config.model import Config, LoadPolicy
from fastetl.enrich.enricher import Enricher
from fastetl.ingest.ingester import Ingest
from fastetl.load.loader import Loader
from fastetl.sql.tables import ddl_sql
from fastetl.sql.text import quote_table
from tests.deployments import create_head, make_deployment
from tests.simulation.conftest import DirectClient
from tests.simulation.fake_dynamodb import FakeDynamoDB
from tests.simulation.fake_redshift_data import Execution, FakeRedshiftData
from tests.simulation.fake_s3 import FakeS3
from tests.simulation.fake_warehouse import FakeWarehouse, Transaction
from tests.simulation.loop import SimulatedLoop
from tests.simulation.scenario import draw_scenario
from tests.simulation.source import Change, SourceTable, build_event
from tests.simulation.world import BEGINS, BUCKET, INDEX_BUCKETS, build_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

MOST_WAKE_UPS = 2000
"""Until everything has come to rest: whoever waits longer waits for ever."""


class Bench:
    """One pipeline that loads whatever waits, and everything around it."""

    def __init__(self, **changes: Any) -> None:
        self.loop = SimulatedLoop(0, starts_at=BEGINS)
        self.s3 = FakeS3(self.loop.time)
        self.lag = 0.0
        """Seconds until the index shows a write."""
        self.dynamodb = FakeDynamoDB(self.loop.time, lag=lambda: self.lag)
        self.warehouse = FakeWarehouse(self.s3, self.loop.time)
        self.data_api = FakeRedshiftData(self.loop, self.warehouse)
        self.pipeline = msgspec.structs.replace(
            build_pipeline(0, draw_scenario(0)), load=LoadPolicy(max_bytes=1, max_files=100), **changes
        )
        self.source = SourceTable(self.pipeline, random.Random(0), keys=4, unloadable=1.0, rejects=0.0)
        self.source.new_stream("2026-01-01T00:00:00.000")
        self.config = Config(BUCKET, "ledger", (self.pipeline,))
        self.ledger = Ledger(DirectClient(self.dynamodb), "ledger")
        self.bucket = Bucket(DirectClient(self.s3), BUCKET)

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        """Run a test to its end in virtual time."""
        with patch.object(pending, "INDEX_BUCKETS", INDEX_BUCKETS):
            try:
                self.loop.run_until_complete(self._main(test))
            finally:
                self.loop.close()

    async def _main(self, test: Coroutine[Any, Any, None]) -> None:
        transaction = Transaction(self.warehouse)
        for statement in ddl_sql(self.pipeline):
            await transaction.run(statement.sql)
        transaction.commit()
        await create_head(self.deployment())
        await test

    def new_ingest(self, clock: Callable[[], float] | None = None) -> Ingest:
        """A new environment of ingest."""
        return Ingest(self.deployment(clock=clock), Enricher(self.pipeline))

    def new_loader(self, client: Any = None, **changes: Any) -> Loader:
        """A new environment of the coordinator; `changes` are the pipeline's."""
        return Loader(self.deployment(client, **changes))

    def deployment(self, client: Any = None, clock: Callable[[], float] | None = None, **changes: Any) -> Deployment:
        """What one process works on; `client` is its Data API, `changes` are the pipeline's."""
        pipeline = msgspec.structs.replace(self.pipeline, **changes)
        warehouse = Warehouse(client or DirectClient(self.data_api), pipeline.redshift)
        clock = clock or self.loop.time
        return make_deployment(self.config, pipeline, self.bucket, self.ledger, warehouse, clock=clock)

    def write(self, **how: Any) -> Change:
        """Change an item; `healthy=False` for a value that the warehouse refuses."""
        return self.source.write(self.loop.time(), **({"healthy": True} | how))

    async def put(self, *changes: Change) -> str:
        """Ingest changes; give the file's id."""
        outcome = await self.new_ingest().ingest(build_event(list(changes) or [self.write()]))
        return outcome.file_id

    def attempts(self) -> list[Execution]:
        """The loads that were handed over, whatever became of them."""
        return [each for each in self.data_api.executions.values() if any(" copy " in part.sql for part in each.parts)]

    def states(self) -> dict[str, str]:
        """Of the files, by their ids."""
        return {pk[2:]: item["state"]["S"] for pk, item in self.dynamodb.items.items() if pk.startswith("F#")}

    def rows(self, suffix: str) -> list[dict[str, Any]]:
        """What a table beside the mirror holds."""
        return self.warehouse.rows(quote_table(self.pipeline, suffix))


async def settle(loader: Loader, *, until: str = "") -> None:
    """Wake a loader up until it has taken the action `until`, or until there is nothing to do; pass over delays."""
    quiet = wake_ups = 0
    while quiet < 3:
        wake_ups += 1
        assert wake_ups <= MOST_WAKE_UPS, "it never comes to rest"
        step = await loader.wake_up()
        if step.action == until:
            return
        quiet = 0 if step.progressed else quiet + 1
        await asyncio.sleep(4000.0 if step.action == "idle" else 1.0)
    if until:
        raise AssertionError(f"it never came to {until}")
