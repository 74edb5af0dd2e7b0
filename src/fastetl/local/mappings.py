"""The event source mappings of a stack: every stream that a pipeline reads, to the ingest function."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from fastetl.config import Pipeline
from fastetl.local.environment import BUCKET
from fastetl.local.functions import (
    EventSource,
    FailureDestination,
    Function,
    InvokeResult,
    KinesisDestination,
    KinesisStream,
    MappingSettings,
    TableStream,
)
from fastetl.local.kept import Positions
from fastetl.local.source_tables import create_kinesis_stream


class Mappings:
    """One mapping for each table that a pipeline reads, and one for each Kinesis stream."""

    def __init__(
        self,
        settings: MappingSettings,
        clients: Mapping[str, Any],
        ingest: Function,
        stack: AsyncExitStack,
        positions: Positions,
    ) -> None:
        """Describe the mappings.

        Args:
            settings: of every mapping.
            clients: of the SDK, by service.
            ingest: the function that all of them invoke.
            stack: closes them.
            positions: where to go on, by mapping and shard.
        """
        self._settings = settings
        self._clients = clients
        self._ingest = ingest
        self._stack = stack
        self._kept = dict(positions)
        """How far the mappings came that have ended."""
        self.sources: dict[str, EventSource] = {}
        """The mappings by pipeline; those of Kinesis by the stream's ARN."""

    def positions(self) -> Positions:
        """Tell how far each mapping has come, those included that have ended."""
        return {**self._kept, **{name: source.positions() for name, source in self.sources.items()}}

    async def drain(self) -> None:
        """Wait until all that was written before is delivered."""
        # Tables first: their changes may go through a Kinesis stream, whose mapping is named by its ARN.
        for name in sorted(self.sources, key=lambda name: name.startswith("arn:")):
            await self.sources[name].drain()

    async def map_all(self, pipelines: Sequence[Pipeline]) -> None:
        """Map every stream that a pipeline reads, and end the mappings of those that none reads any more.

        The changes of a table that is read through Kinesis are first written to that stream, as DynamoDB would.
        """
        wanted = set[str]()
        for pipeline in pipelines:
            wanted.add(pipeline.name)
            if pipeline.name not in self.sources:
                described = await self._clients["dynamodb"].describe_table(TableName=pipeline.table)
                reader = TableStream(self._clients["dynamodbstreams"], described["Table"]["LatestStreamArn"])
                if pipeline.source == "kinesis":
                    await create_kinesis_stream(self._clients["kinesis"], pipeline)
                    await self._map(
                        pipeline.name, reader, KinesisDestination(self._clients["kinesis"], pipeline.stream_arn).write
                    )
                else:
                    await self._map(pipeline.name, reader, self._ingest.invoke)
        for arn in {pipeline.stream_arn for pipeline in pipelines if pipeline.source == "kinesis"}:
            wanted.add(arn)
            if arn not in self.sources:
                await self._map(arn, KinesisStream(self._clients["kinesis"], arn), self._ingest.invoke)
        for name in self.sources.keys() - wanted:
            ended = self.sources.pop(name)
            await ended.stop()
            self._kept[name] = ended.positions()

    async def _map(
        self, name: str, reader: TableStream | KinesisStream, invoke: Callable[[bytes], Awaitable[InvokeResult]]
    ) -> None:
        settings = self._settings
        if invoke != self._ingest.invoke:
            # What DynamoDB writes to Kinesis goes through no mapping.
            settings = msgspec.structs.replace(settings, tumbling_window_in_seconds=0)
        gone = FailureDestination(
            self._clients["s3"], BUCKET, self._ingest.settings.arn, time.time, name.rpartition("/")[2]
        )
        source = EventSource(
            reader,
            invoke,
            settings,
            clock=time.time,
            on_failure=gone.write,
            positions=self._kept.get(name, {}),
        )
        self.sources[name] = await self._stack.enter_async_context(source)
