"""A gap: a stream forgets changes before they are read, and an operator mends it with a resync."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from fastetl.backfill.backfiller import Backfiller
from fastetl.backfill.convert import Converter
from fastetl.backfill.export_folder import ExportFolder
from fastetl.backfill.export_format import DataFile, Export, write_files, write_summary
from fastetl.enrich.enricher import Enricher
from fastetl.errors import FastetlError
from fastetl.ingest.store import FileStore
from tests.simulation.scenario import HOUR

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    from fastetl.model import Backfill
    from tests.simulation.source import SourceTable
    from tests.simulation.world import World

    T = TypeVar("T")

FOLDER = "exports/AWSDynamoDB/1"

FINISH_SECONDS = 14 * 24 * HOUR
"""Within which everything that a resync waits for must be loaded, whatever goes wrong meanwhile."""


async def insist(world: World, step: Callable[[], Awaitable[T]]) -> T:
    """Start again what failed, as an operator does."""
    while True:
        try:
            return await step()
        except FastetlError:
            world.sometimes("command started again")
            await asyncio.sleep(world.random.uniform(1, 300))


class Gap:
    """One gap in one table's stream, from its beginning until it is mended."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"gap of {world.seed}")
        self._source: SourceTable = self._chance.choice(world.sources)

    async def run(self) -> None:
        """Lose changes, and mend it."""
        world = self._world
        await asyncio.sleep(self._chance.random() * world.scenario.active_seconds)
        # Changes that nobody reads for a while, as when a mapping is disabled for a day.
        for _ in range(self._chance.randint(1, 4)):
            self._source.write(world.loop.time(), healthy=True)
        self._source.come_and_go(world.loop.time())
        lost = self._source.trim()
        world.sometimes("changes trimmed", lost)
        await asyncio.sleep(self._chance.uniform(0, 1800))
        backfiller = self._backfiller()
        await self._arrive(1)
        await backfiller.wait_for(await insist(world, backfiller.begin_epoch))
        export = self._export()
        await self._arrive(3)
        folder = ExportFolder(world.network.client(world.s3), f"s3://{world.deployment.config.bucket}/{FOLDER}")
        read, files = await insist(world, folder.read)
        assert read.items == export.items
        backfill = await insist(
            world, lambda: backfiller.open(f"s3://{world.deployment.config.bucket}/{FOLDER}", read, files, resync=True)
        )
        await asyncio.gather(*(self._convert(backfill, file) for file in files))
        world.sometimes("resync converted")
        waits_since = world.loop.time()
        while left := await insist(world, lambda: backfiller.finish(backfill)):
            world.sometimes("resync waits for loads")
            if world.loop.time() - waits_since > FINISH_SECONDS:
                world.invariants.violated("I7", f"a resync still waits after {FINISH_SECONDS / HOUR:.0f} hours: {left}")
                return
            await asyncio.sleep(300)
        world.sometimes("resync finished")
        if self._chance.random() < 0.3:
            await insist(world, lambda: backfiller.finish(backfill))
        if self._chance.random() < 0.5:
            # Some of it had been kept at the on-failure destination.
            world.sometimes("lost changes replayed after a resync")
            await world.deliver(lost[: self._chance.randint(1, len(lost))])

    async def _arrive(self, count: int) -> None:
        """Let changes arrive just now, in environments that may have read of the epochs a moment ago."""
        for _ in range(count):
            self._world.arrive(self._source, healthy=True)
            await asyncio.sleep(self._chance.uniform(0, 8))

    def _backfiller(self) -> Backfiller:
        world = self._world
        return Backfiller(world.deployment.of(self._source.pipeline, world.loop.time))

    def _export(self) -> Export:
        """What DynamoDB writes: the table as it is now."""
        world = self._world
        items = self._source.items()
        cut = self._chance.randint(0, len(items))
        files = []
        for number, part in enumerate((items[:cut], items[cut:])):
            body = gzip.compress(b"".join(b'{"Item":%s}\n' % orjson.dumps(item) for item in part), mtime=0)
            key = f"{FOLDER}/data/{number}.json.gz"
            world.s3.put_object(Bucket=world.deployment.config.bucket, Key=key, Body=body)
            files.append(DataFile(key, len(part), base64.b64encode(hashlib.md5(body).digest()).decode()))
        arn = f"arn:aws:dynamodb:us-east-1:1:table/{self._source.pipeline.table}"
        export = Export("1", arn, "full", int(world.loop.time()), len(items), f"{FOLDER}/manifest-files.json")
        for name, content in (("manifest-files", write_files(files)), ("manifest-summary", write_summary(export))):
            world.s3.put_object(Bucket=world.deployment.config.bucket, Key=f"{FOLDER}/{name}.json", Body=content)
        return export

    async def _convert(self, backfill: Backfill, file: DataFile) -> None:
        """In processes that die as others do, until the ledger has it."""
        while not (await self._world.run_process("backfill", self._convert_once(backfill, file))).ok:
            self._world.sometimes("conversion begun again")
            await asyncio.sleep(self._chance.uniform(1, 60))

    async def _convert_once(self, backfill: Backfill, file: DataFile) -> None:
        world = self._world
        # As it is deployed now; its columns may have changed since the export was opened.
        pipeline = world.deployment.deployed(self._source.pipeline)
        ledger = world.deployment.ledger()
        folder = ExportFolder(world.network.client(world.s3), backfill.location)
        export, _ = await folder.read()
        head = await ledger.batches.head(pipeline.name)
        files = FileStore(world.deployment.of(pipeline, world.loop.time))
        assert head is not None
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "data")
            await folder.fetch(file, path)
            converter = Converter(pipeline, files, Enricher(pipeline))
            converted = await converter.convert(export, file, path, head.epochs, backfill.split_bytes)
        await ledger.backfills.put_converted(backfill, converted)
