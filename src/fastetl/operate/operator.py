"""Show and change what operators may: how far a pipeline is, its pause, its quarantine, its rejects."""

from __future__ import annotations

import contextlib
import gzip
from typing import TYPE_CHECKING

import msgspec

from fastetl.errors import LedgerError, StaleStepError
from fastetl.keys import parse_rejects_key, rejects_prefix
from fastetl.model import FileItem, Head, Reject
from fastetl.operate.status import Status, read_status
from fastetl.operate.watermark import RACES, requeue

if TYPE_CHECKING:
    from fastetl.aws import Deployment


class Operator:
    """Looks at one pipeline, and changes what an operator may change."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe the pipeline to look at.

        Args:
            deployment: of the pipeline.
        """
        self._deployment = deployment
        self._config = deployment.config
        self._pipeline = deployment.pipeline
        self._bucket = deployment.bucket
        self._ledger = deployment.ledger
        self._clock = deployment.clock

    async def status(self) -> Status:
        """Look at how far the pipeline is."""
        return await read_status(self._deployment)

    async def load_now(self) -> int:
        """Have the next wake-up load whatever waits; give how many batches need not wait for their retry any more."""
        head = await self._change_head(load_requested=True)
        return await self._skip_waiting(head)

    async def pause(self, reason: str) -> None:
        """Begin no load until `resume`; what runs goes on, and so does ingest.

        Args:
            reason: shown by `status` and in the log.
        """
        await self._change_head(paused=reason[:500], paused_by="operator")

    async def resume(self) -> int:
        """End any pause; give how many batches need not wait for their retry any more."""
        head = await self._change_head(paused="", paused_by="", probe_at=0)
        return await self._skip_waiting(head)

    async def _skip_waiting(self, head: Head) -> int:
        """Let batches that wait for a retry be tried at the next wake-up; nothing else of them changes.

        How an attempt ended is settled by the same rules, and so is what becomes of a file that fails again.
        """
        now, skipped = int(self._clock() * 1000), 0
        for batch_id in head.open:
            batch = await self._ledger.batches.read(batch_id)
            if batch.state != "RETRY" or batch.not_before <= now:
                continue
            with contextlib.suppress(StaleStepError):  # a coordinator has just taken it up
                await self._ledger.batches.advance(batch, not_before=now)
                skipped += 1
        return skipped

    async def quarantined(self) -> list[FileItem]:
        """Find the files in quarantine, oldest first. One that has come there in the last seconds may be missing."""
        listed = [file_id async for file_id in self._ledger.files.quarantined(self._pipeline.name)]
        found = await self._ledger.files.read(listed)
        files = [file for file in found.values() if file.state == "QUARANTINED"]
        return sorted(files, key=lambda file: file.created)

    async def retry(self, file_id: str) -> FileItem:
        """Let a quarantined file wait for a load again, after its cause was corrected.

        Nothing that has been loaded meanwhile is overwritten by it, where it is newer.

        Args:
            file_id: of a file in quarantine.

        Raises:
            LedgerError: it is not in quarantine, or coordinators look all the time.
        """
        for _ in range(RACES):
            file = await self._in_quarantine(file_id)
            with contextlib.suppress(StaleStepError):
                await requeue(self._deployment, file)
                return file
        raise LedgerError(f"{file_id}, or the watermark of {self._pipeline.name}, changes all the time; try again")

    async def drop(self, file_id: str) -> FileItem:
        """Give a quarantined file up; its changes will be missing. Its object stays on S3.

        Args:
            file_id: of a file in quarantine.
        """
        file = await self._in_quarantine(file_id)
        await self._ledger.files.drop(file)
        return file

    async def reject_keys(self) -> list[str]:
        """List the objects that hold rejects."""
        prefix = rejects_prefix(self._config.prefix, self._pipeline.name)
        return [key async for key in self._bucket.list_keys(prefix)]

    async def rejects(self, key: str) -> list[Reject]:
        """Read the rejects of an object; they are item content.

        Args:
            key: of the object, as `reject_keys` lists it.
        """
        lines = gzip.decompress(await self._bucket.get(key)).splitlines()
        return [msgspec.json.decode(line, type=Reject) for line in lines]

    async def end_rejects(self, key: str) -> None:
        """Delete an object of rejects that were replayed or are given up, and note it with their file.

        The note comes first: should the object stay, it is listed on, and deleting it again does the rest.

        Args:
            key: of the object, as `reject_keys` lists it.
        """
        await self._ledger.files.end_rejects(parse_rejects_key(key))
        await self._bucket.delete(key)

    async def _in_quarantine(self, file_id: str) -> FileItem:
        file = (await self._ledger.files.read([file_id])).get(file_id)
        if file and (file.pipeline, file.state) == (self._pipeline.name, "QUARANTINED"):
            return file
        raise LedgerError(f"{file_id} is not in the quarantine of {self._pipeline.name}; list it first")

    async def _change_head(self, **changes: object) -> Head:
        for _ in range(RACES):
            head = await self._ledger.batches.head(self._pipeline.name)
            if head is None:
                raise LedgerError(
                    f"{self._pipeline.name} has no HEAD yet; the coordinator makes it when it first wakes"
                )
            try:
                return await self._ledger.batches.change_head(head, **changes)
            except StaleStepError:
                continue
        raise LedgerError(f"HEAD of {self._pipeline.name} changes all the time; try again")
