"""What commands work on: the edges of one deployment, or of `fastetl local`; wherever AWS's variables lead to."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from fastetl.aws import Bucket, Ledger, SourceTable, Warehouse, open_clients
from fastetl.backfill import Backfiller
from fastetl.cli.configuration import choose_pipelines, read_config
from fastetl.config import Config, Pipeline
from fastetl.operate import Deployed, Operator, Reconciler, Reloader, SchemaReader, Verifier

SERVICES = ("s3", "dynamodb", "redshift-data", "dynamodbstreams")

T = TypeVar("T")


class Reach:
    """The edges, open."""

    def __init__(self, config: Config, s3: Any, dynamodb: Any, redshift: Any, streams: Any) -> None:
        self.config = config
        self.s3 = s3
        self.bucket = Bucket(s3, config.bucket)
        self.ledger = Ledger(dynamodb, config.ledger_table)
        self._dynamodb = dynamodb
        self._redshift = redshift
        self._streams = streams

    def operator(self, pipeline: Pipeline) -> Operator:
        """Give the operator of a pipeline."""
        return Operator(self.config, pipeline, self.bucket, self.ledger, clock=time.time)

    def reconciler(self, pipeline: Pipeline) -> Reconciler:
        """Give the reconciler of a pipeline."""
        return Reconciler(self.config, pipeline, self.bucket, self.ledger, self.warehouse(pipeline), clock=time.time)

    def schema_reader(self, pipeline: Pipeline) -> SchemaReader:
        """Give what compares a pipeline's columns."""
        return SchemaReader(pipeline, self.ledger, self.warehouse(pipeline), self.source(pipeline), clock=time.time)

    def backfiller(self, pipeline: Pipeline) -> Backfiller:
        """Give what carries a pipeline's table over."""
        warehouse = self.warehouse(pipeline)
        return Backfiller(pipeline, self.ledger, warehouse, clock=time.time, new_installation=lambda: uuid.uuid4().hex)

    def reloader(self, pipeline: Pipeline, into: tuple[str, str]) -> Reloader:
        """Give what makes a table anew."""
        warehouse = self.warehouse(pipeline)
        return Reloader(self.config, pipeline, into, self.bucket, self.ledger, warehouse, clock=time.time)

    def verifier(self, pipeline: Pipeline) -> Verifier:
        """Give what asks a real account."""
        name = uuid.uuid4().hex[:12]
        source, warehouse = self.source(pipeline), self.warehouse(pipeline)
        return Verifier(self.config, pipeline, source, self.bucket, warehouse, name)

    def deployed(self, pipeline: Pipeline) -> Deployed:
        """Give what looks at a pipeline's surroundings."""
        return Deployed(
            self.config, pipeline, self.source(pipeline), self.bucket, self.ledger, self.warehouse(pipeline),
            self.schema_reader(pipeline), clock=time.time,
        )  # fmt: skip

    def warehouse(self, pipeline: Pipeline) -> Warehouse:
        """Give the database that a pipeline loads into."""
        return Warehouse(self._redshift, pipeline.redshift)

    def source(self, pipeline: Pipeline) -> SourceTable:
        """Give the table that a pipeline carries over."""
        return SourceTable(self._dynamodb, pipeline.table, self._streams)


def run(path: Path, work: Callable[[Reach], Awaitable[T]]) -> T:
    """Read the configuration, open the edges, do the work, and close them."""
    config = read_config(path)

    async def run() -> T:
        async with AsyncExitStack() as stack:
            clients = await open_clients(*SERVICES, region=config.region)
            for client in clients:
                stack.push_async_callback(client.close)
            return await work(Reach(config, *clients))

    return asyncio.run(run())


def run_each(path: Path, name: str, work: Callable[[Reach, Pipeline], Awaitable[T]]) -> dict[str, T]:
    """Do the work for the pipeline of this name, or for all where it is empty; give the results by pipeline."""

    async def run_all(reach: Reach) -> dict[str, T]:
        return {one.name: await work(reach, one) for one in choose_pipelines(reach.config, name)}

    return run(path, run_all)
