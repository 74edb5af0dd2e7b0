"""A table made anew from the files on S3, beside the running pipeline and without touching it.

It has bookkeeping tables of its own, which say what is loaded: started again, it goes on.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import msgspec

from fastetl import keys
from fastetl.errors import WarehouseError
from fastetl.identifiers import fold
from fastetl.ingest import build_file
from fastetl.load import build_batch, build_batch_id, build_manifest, build_members
from fastetl.model import Layout
from fastetl.operate.reconcile import Reconciler
from fastetl.sql import Load, Statement, ddl_sql, load_sql, tombstone_sql

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fastetl.aws import Bucket, Ledger, Warehouse
    from fastetl.config import Config, Pipeline
    from fastetl.model import FileItem

MAX_BATCH_BYTES = 4 * 1024**3
"""Compressed, in one load: larger ones would only lose more when they fail."""

RESTORE_POLL_SECONDS = 60.0


class Reloaded(msgspec.Struct, frozen=True):
    """How far it has come."""

    files: int
    """In the range."""
    rows: int
    loaded: int
    """Of them, files."""
    restoring: int = 0
    """Files that are being brought back from an archive."""


class Reloader:
    """Makes one table. `clock` gives Unix seconds."""

    def __init__(
        self,
        config: Config,
        pipeline: Pipeline,
        into: tuple[str, str],
        bucket: Bucket,
        ledger: Ledger,
        warehouse: Warehouse,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Describe what is to be made.

        Args:
            config: with the bucket that holds the files.
            pipeline: whose files they are.
            into: schema and name of the table; not the pipeline's own.
            bucket: the config's.
            ledger: the config's; only read.
            warehouse: the pipeline's.
            clock: gives Unix seconds.
            sleep: waits between two looks at an archive.

        Raises:
            WarehouseError: the table is the pipeline's own.
        """
        target = msgspec.structs.replace(pipeline, schema=into[0], target=into[1])
        if fold(into[0]) == fold(pipeline.schema) and not {*map(fold, target.relations)}.isdisjoint(
            map(fold, pipeline.relations)
        ):
            raise WarehouseError(
                f"{'.'.join(into)} is the pipeline's own table, or would have the name of one beside it; name another,"
                " and rename it afterwards"
            )
        self._config = config
        self._pipeline = pipeline
        self._target = target
        self._bucket = bucket
        self._ledger = ledger
        self._warehouse = warehouse
        self._clock = clock
        self._sleep = sleep

    async def reload(self, since: str, until: str, on_progress: Callable[[Reloaded], None]) -> Reloaded:
        """Load every file of some hours, `2026/01/31/23` up to but not including the last.

        Raises:
            StorageError, WarehouseError: it is not done; starting it again goes on.
        """
        await self._run(ddl_sql(self._target), "ddl")
        reconciler = Reconciler(
            self._config, self._target, self._bucket, self._ledger, self._warehouse, clock=self._clock
        )
        files = await self._files(reconciler, since, until)
        loaded = await reconciler.loaded()
        done = Reloaded(len(files), sum(file.rows for file in files), sum(file.file_id in loaded for file in files))
        on_progress(done)
        left = [file for file in files if file.file_id not in loaded]
        await self._restore(left, done, on_progress)
        for batch in self._cut(left):
            await self._load(batch)
            done = msgspec.structs.replace(done, loaded=done.loaded + len(batch))
            on_progress(done)
        await self._delete_unseen(until)
        return done

    async def _files(self, reconciler: Reconciler, since: str, until: str) -> list[FileItem]:
        found = await reconciler.objects(since, until)
        items = [build_file(stored, 0) for stored in found.values()]
        return sorted(items, key=lambda item: (item.layout_id, item.changed_min, item.file_id))

    async def _restore(
        self, files: Sequence[FileItem], done: Reloaded, on_progress: Callable[[Reloaded], None]
    ) -> None:
        """Ask for what is in an archive, and wait for it."""
        waiting = [file.key for file in files]
        while waiting := [key for key in waiting if not await self._bucket.restore(key)]:
            on_progress(msgspec.structs.replace(done, restoring=len(waiting)))
            await self._sleep(RESTORE_POLL_SECONDS)

    def _cut(self, files: Sequence[FileItem]) -> list[list[FileItem]]:
        """Cut files into loads of one layout each."""
        cut: list[list[FileItem]] = []
        for _, alike in itertools.groupby(files, key=lambda file: file.layout_id):
            size = MAX_BATCH_BYTES
            for file in alike:
                if size + file.bytes > MAX_BATCH_BYTES or len(cut[-1]) == self._pipeline.load.max_files:
                    cut.append([])
                    size = 0
                cut[-1].append(file)
                size += file.bytes
        return cut

    async def _load(self, files: Sequence[FileItem]) -> None:
        name, prefix, bucket = self._pipeline.name, self._config.prefix, self._config.bucket
        installation = f"reload {self._target.schema}.{self._target.target}"
        batch_id = build_batch_id(name, installation, (file.file_id for file in files))
        object_keys = (keys.manifest_key(prefix, name, batch_id), keys.files_key(prefix, name, batch_id))
        batch = build_batch(name, installation, files, bucket, object_keys)
        await self._bucket.replace(batch.manifest_key, build_manifest(bucket, files))
        await self._bucket.replace(batch.files_key, build_members(files))
        body = await self._bucket.get(keys.layout_key(prefix, name, batch.layout_id))
        load = Load(
            batch_id=batch_id,
            attempt=1,
            layout=msgspec.json.decode(body, type=Layout),
            manifest_url=f"s3://{bucket}/{batch.manifest_key}",
            manifest_checksum=batch.manifest_checksum,
            files_url=f"s3://{bucket}/{batch.files_key}",
            changed_min=batch.changed_min,
            changed_max=batch.changed_max,
        )
        await self._run(load_sql(self._target, load), batch_id)

    async def _delete_unseen(self, until: str) -> None:
        """Repeat what resyncs deleted: it is in no file."""
        head = await self._ledger.head(self._pipeline.name)
        for start in head.epochs if head else ():
            backfill = await self._ledger.backfill(self._pipeline.name, start.epoch)
            if backfill and backfill.resync and backfill.state == "FINISHED" and until == "~":
                sql = tombstone_sql(self._target, backfill.epoch, backfill.exported_at)
                await self._run(sql, f"resync-{backfill.epoch}")

    async def _run(self, sql: tuple[Statement, ...], what: str) -> None:
        token = f"{what[:32]}-{self._clock():.3f}"
        await self._warehouse.run(sql, name=f"fastetl/reload/{self._target.target}/{what}", token=token)
