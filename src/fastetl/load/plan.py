"""Plan attempts: write a batch's manifest and list of files to S3, and build the statements that load it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fastetl import keys
from fastetl.aws import Deployment, is_transient
from fastetl.errors import LedgerError, StorageError
from fastetl.load import batches
from fastetl.load.former_columns import FormerColumns
from fastetl.model import Batch, FileItem, Layout
from fastetl.sql import Load, Statement, find_since, load_sql, resolve_sql

WRITTEN_AGAIN_SECONDS = 24 * 3600
"""From this age on what COPY reads of a batch is written again before the first attempt too; before others always."""


class Planner:
    """Plans the attempts of one pipeline. Every method may be repeated, with the same result."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe how batches of one pipeline are planned.

        Args:
            deployment: of the pipeline.
        """
        self._pipeline = deployment.pipeline
        self._prefix = deployment.config.prefix
        self._bucket_name = deployment.config.bucket
        self._bucket = deployment.bucket
        self._ledger = deployment.ledger
        self._clock = deployment.clock
        self._owner = deployment.owner
        self._former_columns = FormerColumns(deployment)
        self._layouts: dict[str, Layout] = {}

    async def stage(self, installation: str, files: Sequence[FileItem], *, parent: str = "") -> Batch:
        """Write a batch's manifest and list of files to S3; the bucket's lifecycle deletes those of no open batch.

        Args:
            installation: `Head.installation`, or what stands for it.
            files: of one layout; at least one.
            parent: the batch that is split, if there is one.

        Returns:
            The batch, in state FORMED.

        Raises:
            StorageError: S3 did not take them.
        """
        name, prefix = self._pipeline.name, self._prefix
        batch_id = batches.build_batch_id(name, installation, (file.file_id for file in files))
        object_keys = (keys.manifest_key(prefix, name, batch_id), keys.files_key(prefix, name, batch_id))
        batch = batches.build_batch(name, installation, files, self._bucket_name, object_keys)
        await self._bucket.replace(batch.manifest_key, batches.build_manifest(self._bucket_name, files))
        await self._bucket.replace(batch.files_key, batches.build_members(files))
        return msgspec.structs.replace(batch, parent=parent, written_at=int(self._clock() * 1000))

    async def keep(self, batch: Batch) -> dict[str, Any]:
        """Write the batch's manifest and list of files again from the ledger, unless they were written just now.

        A batch may stay open longer than the bucket's lifecycle keeps what nobody writes.

        Args:
            batch: an open one.

        Returns:
            What changes of the batch by it.

        Raises:
            LedgerError: files have no item, so that nothing can be written, and the lifecycle has deleted what was.
            StorageError: S3 did not take them.
        """
        now = int(self._clock() * 1000)
        if not batch.attempt and now - batch.written_at < WRITTEN_AGAIN_SECONDS * 1000:
            return {}
        wanted = batches.list_members(batch)
        found = await self._ledger.files.read(wanted)
        files = [found[file_id] for file_id in wanted if file_id in found]
        manifest, members = batches.build_manifest(self._bucket_name, files), batches.build_members(files)
        if batches.build_checksum(manifest, members) != batch.manifest_checksum:
            # Items that are gone or were registered again say less than what is on S3, as long as it is there.
            manifest, members = await self._read_again(batch)
        await self._bucket.replace(batch.manifest_key, manifest)
        await self._bucket.replace(batch.files_key, members)
        return {"written_at": now}

    async def _read_again(self, batch: Batch) -> tuple[bytes, bytes]:
        try:
            return await self._bucket.get(batch.manifest_key), await self._bucket.get(batch.files_key)
        except StorageError as error:
            if is_transient(error):
                raise
            what = f"the manifest of batch {batch.batch_id} is gone, and not all of its files have their item"
            raise LedgerError(f"{what}; run `fastetl rebuild-ledger`") from error

    async def load(self, batch: Batch) -> tuple[Statement, ...]:
        """Build the statements of the batch's present attempt, and record the columns that it writes.

        Args:
            batch: with the attempt that is to be made.
        """
        return await self.plan(batch, await self._former_columns.note(await self.layout(batch.layout_id)))

    async def plan(
        self, batch: Batch, former_columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ) -> tuple[Statement, ...]:
        """Build the statements of the batch's present attempt; the ledger is neither read nor written.

        Args:
            batch: with the attempt that is to be made.
            former_columns: by target, those of its mirror that loads wrote once and no longer write.
        """
        load = Load(
            batch_id=batch.batch_id,
            attempt=batch.attempt,
            layout=await self.layout(batch.layout_id),
            manifest_url=self._url(batch.manifest_key),
            manifest_checksum=batch.manifest_checksum,
            files_url=self._url(batch.files_key),
            changed_min=batch.changed_min,
            changed_max=batch.changed_max,
            since=find_since(batch.changed_min, batch.began),
            source=batch.source,
            source_epoch=batch.source_epoch,
            owner=self._owner,
            latest_epoch=batch.latest_epoch,
            carried_epoch=batch.carried_epoch,
            foreign_epoch=batch.foreign_epoch,
            follows=batch.follows,
            complete_up_to=batch.complete_up_to,
            former_columns=former_columns,
        )
        return load_sql(self._pipeline, load)

    def resolve(self, batch: Batch) -> tuple[Statement, ...]:
        """Build the statements that find out how the batch's attempt ended, and fence it off if it is not committed.

        Args:
            batch: whose attempt has ended.
        """
        files_url = self._url(batch.files_key) if batch.failure == "files" else ""
        since = find_since(batch.changed_min, batch.began)
        return resolve_sql(self._pipeline, self._owner, batch.batch_id, batch.attempt, since, files_url)

    async def layout(self, layout_id: str) -> Layout:
        """Read a layout, once.

        Args:
            layout_id: of a file or a batch.
        """
        if layout_id not in self._layouts:
            body = await self._bucket.get(keys.layout_key(self._prefix, self._pipeline.name, layout_id))
            self._layouts[layout_id] = msgspec.json.decode(body, type=Layout)
        return self._layouts[layout_id]

    def _url(self, key: str) -> str:
        return f"s3://{self._bucket_name}/{key}"


def name_attempt(batch: Batch) -> str:
    """Name an attempt; by its time as well, since a ledger that was restored counts the same attempts again."""
    return f"{batch.batch_id}/{batch.attempt}/{batch.began}"
