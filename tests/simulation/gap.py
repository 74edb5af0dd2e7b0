"""A mirror that lacks changes, since a stream forgot them or a person emptied it; an operator mends it by a resync."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import random
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from fastetl.aws.s3 import RefusedError
from fastetl.backfill.backfiller import Backfiller
from fastetl.backfill.convert import Converter
from fastetl.backfill.export_folder import ExportFolder
from fastetl.backfill.export_format import DataFile, Export, write_files, write_summary
from fastetl.enrich import make_enricher
from fastetl.errors import ExportError, FastetlError
from fastetl.ingest.store import FileStore
from fastetl.load.epochs import Epochs
from fastetl.operate import Operator
from fastetl.sql.text import quote_table
from fastetl.versions import first_change
from tests.simulation.repairs import repair
from tests.simulation.scenario import HOUR

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    from fastetl.aws.deployment import Deployment
    from fastetl.backfill.backfiller import Unfinished
    from fastetl.model import Backfill
    from tests.simulation.source import Change, SourceTable
    from tests.simulation.world import World

    T = TypeVar("T")

REPAIRED = 0.5
"""Share of the times at which an operator may repair rows."""

FINISH_SECONDS = 14 * 24 * HOUR
"""Within which everything that a resync waits for must be loaded, whatever goes wrong meanwhile."""


async def insist(world: World, step: Callable[[], Awaitable[T]], *, unless: tuple[type[FastetlError], ...] = ()) -> T:
    """Start again what failed, as an operator does, but for an error that the caller expects."""
    while True:
        try:
            return await step()
        except unless:
            raise
        except FastetlError:
            world.sometimes("command started again")
            await asyncio.sleep(world.random.uniform(1, 300))


async def _read(folder: ExportFolder) -> tuple[Export, tuple[DataFile, ...]]:
    """Read an export's manifests; an `ExportError` where they are gone."""
    try:
        return await folder.read()
    except RefusedError as error:
        if error.code != "NoSuchKey":
            raise
        raise ExportError(str(error)) from error


class Gap:
    """One gap in one table's stream, from its beginning until it is mended."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"gap of {world.seed}")
        self._repairs = random.Random(f"repairs of {world.seed}")
        self._source: SourceTable = self._chance.choice(world.sources)

    async def run(self) -> None:
        """Lose changes, and mend it."""
        world = self._world
        await asyncio.sleep(self._chance.random() * world.scenario.active_seconds)
        lost = self._empty_mirror() if world.scenario.mirror_emptied else self._trim()
        await asyncio.sleep(self._chance.uniform(0, 1800))
        world.loop.background(self._repair(self._repairs.uniform(0, HOUR)))
        resync = Resync(world, self._source, "gap", self._chance)
        await resync.run()
        await self._repair(0)
        if self._chance.random() < 0.3:
            with contextlib.suppress(ExportError):  # the bucket's lifecycle has deleted the export
                await resync.carry_over()
        if lost and self._chance.random() < 0.5:
            # Some of it had been kept at the on-failure destination.
            world.sometimes("lost changes replayed after a resync")
            await world.events.deliver(lost[: self._chance.randint(1, len(lost))])

    async def _repair(self, wait_seconds: float) -> None:
        """Repair some rows, perhaps."""
        if self._repairs.random() < REPAIRED:
            await asyncio.sleep(wait_seconds)
            await repair(self._world, self._source, self._repairs)

    def _trim(self) -> list[Change]:
        """Let the stream forget changes that nobody reads for a while, as when a mapping is disabled for a day."""
        world = self._world
        for _ in range(self._chance.randint(1, 4)):
            self._source.write(world.loop.time(), healthy=True)
        self._source.come_and_go(world.loop.time())
        lost = self._source.trim()
        world.sometimes("changes trimmed", lost)
        return lost

    def _empty_mirror(self) -> list[Change]:
        world = self._world
        self._source.has_gap = True
        for part in self._source.pipeline.targets:
            world.warehouse.delete(quote_table(part), lambda _: True)
        world.sometimes("mirror emptied by a person")
        return []


class Resync:
    """One resync of one table, as an operator runs it: started again, from wherever it has stopped."""

    def __init__(self, world: World, source: SourceTable, name: str, chance: random.Random) -> None:
        self._world = world
        self._source = source
        self._chance = chance
        self._name = name
        self._exports = 0
        self._reopened = ""
        """Where the export of a resync lies that is ended once more; empty for one of its own."""

    @property
    def _folder(self) -> str:
        return f"exports/{self._source.pipeline.name}/{self._name}/AWSDynamoDB/{self._exports}"

    @property
    def _location(self) -> str:
        return self._reopened or f"s3://{self._world.deployment.config.bucket}/{self._folder}"

    async def run(self) -> None:
        """Resync; with another export where an epoch begins just before it, or the lifecycle has deleted it."""
        try:
            await self._run_once()
        except ExportError:
            self._world.sometimes("export taken again")
            await self.run()

    async def end(self, location: str) -> None:
        """End a resync once more whose export lies there; with another export where that one is gone."""
        self._reopened = location
        try:
            await self._end()
        except ExportError:
            self._world.sometimes("export taken again")
            await self.run()

    async def _run_once(self) -> None:
        """Begin an epoch, export the table, and carry the export over."""
        self._reopened = ""
        self._exports += 1
        await self._arrive(1)
        start = await insist(self._world, lambda: self._backfiller().begin_epoch())
        await self._backfiller().wait_for(start)
        self._export()
        await self._arrive(3)
        await self._end()

    async def _end(self) -> None:
        """Carry the export over, however long that takes."""
        world = self._world
        waits_since, pause = world.loop.time(), 300.0
        while left := await self.carry_over():
            world.sometimes("resync waits for loads")
            if world.ageing:  # perhaps with an operator's pause of months
                waits_since = world.loop.time()
            if world.loop.time() - waits_since > FINISH_SECONDS:
                world.invariants.violated("I7", f"a resync still waits after {FINISH_SECONDS / HOUR:.0f} hours: {left}")
                return
            await asyncio.sleep(pause)
            # Ever longer: each look costs this machine a scan of the ledger.
            pause = min(2 * pause, 48 * HOUR if world.ageing else HOUR)
        world.sometimes("resync finished")

    async def carry_over(self) -> Unfinished:
        """Do what is left to do; give what is left then. A ledger that was set back is rebuilt first."""
        world, pipeline = self._world, self._source.pipeline
        await insist(world, lambda: Epochs(self._deployment()).restore())
        folder = ExportFolder(world.network.client(world.s3), self._location)
        read, files = await insist(world, partial(_read, folder), unless=(ExportError,))
        opening = partial(self._open, read, files)
        backfill = await insist(world, opening, unless=(ExportError,))
        left = await insist(world, lambda: self._backfiller().left(backfill, files))
        await asyncio.gather(*(self._convert(backfill, file) for file in left))
        world.sometimes("resync converted", left)
        unfinished = await insist(world, lambda: self._backfiller().finish(backfill))
        if unfinished.quarantined:
            operator = Operator(self._deployment())
            for file in await insist(world, operator.quarantined):
                if file.version_min < first_change(backfill.epoch):
                    await insist(world, partial(operator.drop, file.file_id))
                    world.sometimes(f"file dropped for a resync of {pipeline.name[:1]}")
        return unfinished

    async def _open(self, export: Export, files: list[DataFile]) -> Backfill:
        return await self._backfiller().open(self._location, export, files, resync=True)

    async def _arrive(self, count: int) -> None:
        """Let changes arrive just now, in environments that may have read of the epochs a moment ago."""
        for _ in range(count):
            self._world.arrive(self._source, healthy=True)
            await asyncio.sleep(self._chance.uniform(0, 8))

    def _deployment(self) -> Deployment:
        """The deployment of now: the stack may have been deployed again."""
        return self._world.deployment.of(self._source.pipeline, self._world.loop.time)

    def _backfiller(self) -> Backfiller:
        return Backfiller(self._deployment())

    def _export(self) -> Export:
        """What DynamoDB writes: the table as it is now."""
        world = self._world
        items = self._source.items()
        cut = self._chance.randint(0, len(items))
        files = []
        for number, part in enumerate((items[:cut], items[cut:])):
            body = gzip.compress(b"".join(b'{"Item":%s}\n' % orjson.dumps(item) for item in part), mtime=0)
            key = f"{self._folder}/data/{number}.json.gz"
            world.s3.put_object(Bucket=world.deployment.config.bucket, Key=key, Body=body)
            files.append(DataFile(key, len(part), base64.b64encode(hashlib.md5(body).digest()).decode()))
        export = Export(
            "1",
            self._source.table_arn,
            "full",
            int(world.loop.time()),
            len(items),
            f"{self._folder}/manifest-files.json",
        )
        for name, content in (("manifest-files", write_files(files)), ("manifest-summary", write_summary(export))):
            world.s3.put_object(Bucket=world.deployment.config.bucket, Key=f"{self._folder}/{name}.json", Body=content)
        return export

    async def _convert(self, backfill: Backfill, file: DataFile) -> None:
        """In processes that die as others do, until the ledger has it."""
        while not (await self._world.run_process("backfill", self._convert_once(backfill, file))).ok:
            self._world.sometimes("conversion begun again")
            await asyncio.sleep(self._chance.uniform(1, 60))

    async def _convert_once(self, backfill: Backfill, file: DataFile) -> None:
        world = self._world
        # As it is deployed now, to the end; its columns may have changed since the export was opened.
        deployment = self._deployment()
        pipeline, ledger = deployment.pipeline, deployment.ledger
        folder = ExportFolder(world.network.client(world.s3), backfill.location)
        export, _ = await folder.read()
        head = await ledger.batches.head(pipeline.name)
        if head is None or head.stack != deployment.owner:
            # As the function that converts has it: HEAD was lost, and a coordinator writes it again.
            world.sometimes("conversion without HEAD")
            raise ExportError(f"{pipeline.name} has no HEAD")
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "data")
            await folder.fetch(file, path)
            converter = Converter(pipeline, FileStore(deployment), make_enricher(pipeline))
            converted = await converter.convert(export, file, path, head.epochs, backfill.split_bytes)
        await ledger.backfills.put_converted(backfill, converted)
