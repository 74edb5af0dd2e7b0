"""Build a table from the files on S3, beside the running pipeline and without touching it.

The table has bookkeeping tables of its own, which say what is loaded: a reload that is started again goes on.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import msgspec

from fastetl.errors import WarehouseError
from fastetl.identifiers import fold
from fastetl.ingest import build_file
from fastetl.load import Planner
from fastetl.operate.reconcile import Reconciler
from fastetl.sql import Statement, copy_epochs_sql, ddl_sql, tombstone_sql

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fastetl.aws import Deployment
    from fastetl.config import Pipeline
    from fastetl.model import FileItem

MAX_BATCH_BYTES = 4 * 1024**3
"""Compressed, in one load: larger ones would only lose more when they fail."""

RESTORE_POLL_SECONDS = 60.0


class Reloaded(msgspec.Struct, frozen=True):
    """How far a reload has come."""

    files: int
    """How many files the range holds."""
    rows: int
    loaded: int
    """How many of these files are loaded."""
    restoring: int = 0
    """Files that are being brought back from an archive."""


def _rename(pipeline: Pipeline, schema: str, name: str) -> Pipeline:
    """Give a pipeline that loads into other tables; each of several targets into one of the name and its own."""
    parts = tuple(
        msgspec.structs.replace(part, schema=schema, target=f"{name}_{part.target}") for part in pipeline.parts
    )
    return msgspec.structs.replace(pipeline, schema=schema, target=name, parts=parts)


def _list_relations(pipeline: Pipeline) -> set[tuple[str, str]]:
    every = (pipeline, *pipeline.parts)
    return {(fold(each.schema), fold(relation)) for each in every for relation in each.relations}


class Reloader:
    """Builds one table."""

    def __init__(
        self,
        deployment: Deployment,
        into: tuple[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Describe the table.

        Args:
            deployment: of the pipeline whose files are loaded.
            into: schema and name of the table; not the pipeline's own.
            sleep: waits between two looks at an archive.

        Raises:
            WarehouseError: the table is the pipeline's own.
        """
        pipeline = deployment.pipeline
        target = _rename(pipeline, *into)
        if not _list_relations(target).isdisjoint(_list_relations(pipeline)):
            raise WarehouseError(
                f"{'.'.join(into)} is the pipeline's own table, or would have the name of one beside it; name another,"
                " and rename it afterwards"
            )
        self._source, self._target = pipeline, target
        self._deployment = msgspec.structs.replace(deployment, pipeline=target)
        self._planner = Planner(self._deployment)
        self._sleep = sleep

    async def reload(self, since: str, until: str, on_progress: Callable[[Reloaded], None]) -> Reloaded:
        """Load every file of some hours.

        Args:
            since: the first hour, as in S3 keys: `2026/01/31/23`.
            until: the hour after the last.
            on_progress: is told how far the reload has come.

        Returns:
            What was loaded, all in all.

        Raises:
            StorageError, WarehouseError: it is not done; starting it again goes on.
        """
        token = ("reload", self._deployment.new_name())
        await self._deployment.warehouse.run_pieces(ddl_sql(self._target), name="fastetl/reload/ddl", token=token)
        reconciler = Reconciler(self._deployment)
        files = await self._files(reconciler, since, until)
        # After the files were listed: the epochs that these carry are there.
        await self._run(copy_epochs_sql(self._source, self._target), "epochs")
        loaded = await reconciler.loaded({file.file_id: file.changed_min for file in files})
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
        while waiting := [key for key in waiting if not await self._deployment.bucket.restore(key)]:
            on_progress(msgspec.structs.replace(done, restoring=len(waiting)))
            await self._sleep(RESTORE_POLL_SECONDS)

    def _cut(self, files: Sequence[FileItem]) -> list[list[FileItem]]:
        """Cut files into loads of one layout each."""
        cut: list[list[FileItem]] = []
        for _, alike in itertools.groupby(files, key=lambda file: file.layout_id):
            size = MAX_BATCH_BYTES
            for file in alike:
                if size + file.bytes > MAX_BATCH_BYTES or len(cut[-1]) == self._target.load.max_files:
                    cut.append([])
                    size = 0
                cut[-1].append(file)
                size += file.bytes
        return cut

    async def _load(self, files: Sequence[FileItem]) -> None:
        batch = await self._planner.stage(f"reload {self._target.schema}.{self._target.target}", files)
        attempt = msgspec.structs.replace(batch, attempt=1, began=int(self._deployment.clock() * 1000))
        await self._run(await self._planner.load(attempt), batch.batch_id)

    async def _delete_unseen(self, until: str) -> None:
        """Repeat what resyncs deleted, since it is in no file."""
        for backfill in await self._deployment.ledger.backfills.read_all(self._target.name):
            if backfill.resync and backfill.state == "FINISHED" and until == "~":
                sql = tombstone_sql(self._target, self._deployment.owner, backfill.epoch, backfill.exported_at)
                await self._run(sql, f"resync-{backfill.epoch}")

    async def _run(self, sql: tuple[Statement, ...], what: str) -> None:
        token = ("reload", self._deployment.new_name())
        await self._deployment.warehouse.run(sql, name=f"fastetl/reload/{self._target.target}/{what}", token=token)
