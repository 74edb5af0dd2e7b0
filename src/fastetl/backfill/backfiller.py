"""Carry over, from an export, a table that is older than its stream or whose stream has a gap: the third story.

1. An *epoch* begins at T0, while the stream is being read: from then on ingest stamps changes with it.
2. The export is taken at T1, later than T0. Its rows are newer than everything before T0 and older than every change
   after it, which is right: the export holds what those changes wrote, or is overtaken by them.
3. Each data file is converted on its own, by whichever process, and loaded like any file.
4. After a gap (`resync`), rows that the export does not have were deleted unseen: once every file up to T1 is loaded,
   they become tombstones.

All of it may be repeated: the ledger says which data files are done, and what is done twice has the same names.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from fastetl.errors import ExportError, StaleStepError
from fastetl.ingest import EPOCHS_KEPT_SECONDS
from fastetl.load import Epochs, FormerColumns
from fastetl.model import Backfill, name_export
from fastetl.sql import tombstone_sql
from fastetl.versions import EpochStart, epoch_at, first_change

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fastetl.aws import Deployment
    from fastetl.backfill.export_format import DataFile, Export
    from fastetl.model import Head

EPOCH_LEAD_SECONDS = 2 * EPOCHS_KEPT_SECONDS
"""An epoch begins so far ahead that every ingest has read of it by then."""

CLOCK_SLACK_SECONDS = 60
"""Between T0 and T1: DynamoDB's clocks, by which changes are stamped, may differ from this machine's by less."""

RACES = 10


class Unfinished(msgspec.Struct, frozen=True):
    """What a resync waits for."""

    data_files: int
    """Data files of the export that are not converted yet."""
    pending: int
    """Files with changes up to the export that wait for their load."""
    quarantined: int
    """Files with changes up to the export that are in quarantine: an operator has to retry or drop them."""
    rejected: int
    """Items of the export that could not be converted: their rows would be deleted for what is in the mirror."""

    def __bool__(self) -> bool:
        return bool(self.data_files or self.pending or self.quarantined or self.rejected)


class Backfiller:
    """Carries exports of one pipeline's table over."""

    def __init__(self, deployment: Deployment, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Describe a backfill of one pipeline.

        Args:
            deployment: of the pipeline.
            sleep: waits for a number of seconds.
        """
        self._pipeline = deployment.pipeline
        self._ledger = deployment.ledger
        self._warehouse = deployment.warehouse
        self._owner = deployment.owner
        self._clock = deployment.clock
        self._new_name = deployment.new_name
        self._epochs = Epochs(deployment)
        self._former_columns = FormerColumns(deployment)
        self._sleep = sleep

    # --- epochs --------------------------------------------------------------------------------------------------

    async def begin_epoch(self) -> EpochStart:
        """Begin a new epoch, a minute from now. From then on an export may be taken.

        It is written into the warehouse first, then into HEAD, by which changes are stamped with it; only then loads
        refuse changes that are not.

        Raises:
            ExportError: HEAD changes all the time, or was lost meanwhile, or the warehouse takes ever longer.
            WarehouseError: it could not be written; the target may belong to another stack. Try again.
        """
        took = 0.0
        for _ in range(RACES):
            asked_at = self._clock()
            # Behind the gate a load may be under way: what the last attempt waited, this one is given.
            starts_at = math.ceil(asked_at + 2 * took) + EPOCH_LEAD_SECONDS
            try:
                head, start = await self._epochs.announce(await self._epochs.head(), starts_at)
                took = self._clock() - asked_at
                if start and self._is_in_time(start):
                    await self._ledger.batches.change_head(head, epochs=(*head.epochs, start))
            except StaleStepError:
                continue
            # Should writing it down have taken long, some ingest may hear of it too late: another one, then.
            if start and self._is_in_time(start):
                await self._epochs.confirm(start.epoch, "backfill")
                await self._keep_in_head(start)
                return start
        raise ExportError(f"no epoch of {self._pipeline.name} could be begun in time; try again")

    async def _keep_in_head(self, start: EpochStart) -> None:
        """Make sure that HEAD has an epoch in time, now that whoever makes HEAD gives it this one.

        HEAD may have been lost, and made without it, while the epoch was only announced.
        """
        for _ in range(RACES):
            head = await self._epochs.head()
            if start in head.epochs:
                return
            if not self._is_in_time(start):
                break
            with contextlib.suppress(StaleStepError):
                await self._ledger.batches.change_head(head, epochs=(*head.epochs, start))
                if self._is_in_time(start):
                    return
                break
        what = f"HEAD of {self._pipeline.name} was lost while epoch {start.epoch} began"
        remedy = "try again; should loads pause at `stamps`, run `fastetl resync`"
        raise ExportError(f"{what}, and changes may be stamped without it: {remedy}")

    async def last_epoch(self) -> EpochStart | None:
        """Give the last epoch, in force, if no export has used it to its end."""
        last = max((await self._head()).epochs, key=lambda start: start.epoch, default=None)
        if last is None or await self.is_epoch_used(last.epoch):
            return None
        # Whoever began it may have died before it was in force.
        await self._epochs.confirm(last.epoch, "backfill")
        return last

    def _is_in_time(self, start: EpochStart) -> bool:
        return self._clock() <= start.starts_at - EPOCHS_KEPT_SECONDS

    async def wait_for(self, start: EpochStart) -> None:
        """Wait until an export of the epoch may be taken.

        Args:
            start: the epoch, as `begin_epoch` gave it.
        """
        until = start.starts_at + CLOCK_SLACK_SECONDS
        while (left := until - self._clock()) > 0:
            await self._sleep(left)

    async def open(
        self, location: str, export: Export, files: Sequence[DataFile], *, resync: bool, read_since_export: bool = False
    ) -> Backfill:
        """Write down that an export is being carried over; give what was written first, if it was before.

        Args:
            location: its folder.
            export: its summary.
            files: its data files.
            resync: whether what it does not have is to be deleted.
            read_since_export: the caller guarantees that the stream was read without a gap since before the export.

        Raises:
            ExportError: it was taken before the epoch began, or of another table.
        """
        own = self._pipeline.table_arn
        if export.table_arn.rpartition("/")[2] != self._pipeline.table or (own and export.table_arn != own):
            raise ExportError(f"{location} is of {export.table_arn}, the pipeline reads {own or self._pipeline.table}")
        epochs = (await self._head()).epochs
        epoch = epoch_at(epochs, export.exported_at)
        known = await self._ledger.backfills.read(self._pipeline.name, epoch, name_export(export.export_id))
        if known and known.state != "GIVEN_UP" and (known.resync or not resync):
            return known
        too_early = epoch != epoch_at(epochs, export.exported_at - CLOCK_SLACK_SECONDS)
        if not known and (too_early or (epoch == 0 and not read_since_export)):
            remedy = "take a new one with `fastetl backfill`, or say that the stream has been read since before it"
            raise ExportError(f"{location} was taken before an epoch began: changes could be missing; {remedy}")
        if resync and (epoch == 0 or export.kind != "full" or "mirror" not in self._pipeline.outputs):
            raise ExportError(f"{location}: a resync needs a mirror, and a full export of an epoch of its own")
        if resync:
            await self._epochs.confirm(epoch, "resync")
        split = self._pipeline.file.split_bytes
        backfill = Backfill(
            self._pipeline.name, epoch, location, export.export_id, export.exported_at, len(files), export.items,
            split, resync,
        )  # fmt: skip
        if known:
            # Files are named by the size that they were cut at.
            backfill = msgspec.structs.replace(known, state="CONVERTING", resync=resync or known.resync)
        await self._ledger.backfills.put(backfill)
        return backfill

    async def under_way(self) -> list[Backfill]:
        """Give the backfills that have not ended."""
        every = await self._ledger.backfills.read_all(self._pipeline.name)
        return [each for each in every if each.state == "CONVERTING"]

    async def is_epoch_used(self, epoch: int) -> bool:
        """Tell whether an epoch has had exports, and all of them have ended.

        Args:
            epoch: its number.
        """
        every = await self._ledger.backfills.read_all(self._pipeline.name)
        states = [each.state for each in every if each.epoch == epoch]
        return bool(states) and "CONVERTING" not in states

    async def give_up(self, location: str = "") -> list[Backfill]:
        """End backfills as they are. What they have carried over stays, and nothing is deleted.

        An epoch whose export never came about has nothing to end: it is marked as used, so that the next backfill
        begins another one, with another export.

        Args:
            location: of the export's folder; empty: all that are under way.

        Returns:
            The backfills that were ended.

        Raises:
            ExportError: there is none.
        """
        found = [each for each in await self.under_way() if location in {"", each.location}]
        epochs = (await self._head()).epochs
        last = max(epochs, key=lambda start: start.epoch, default=None)
        if not found and not location and last and not await self.is_epoch_used(last.epoch):
            found = [Backfill(self._pipeline.name, last.epoch, "", "", last.starts_at, 0, 0, 0)]
        if not found:
            where = f" from {location}" if location else ""
            raise ExportError(f"no backfill of {self._pipeline.name}{where} is under way")
        ended = [msgspec.structs.replace(each, state="GIVEN_UP") for each in found]
        for each in ended:
            await self._ledger.backfills.put(each)
        every = await self._ledger.backfills.read_all(self._pipeline.name)
        resyncs = {each.epoch for each in every if each.resync and each.state != "GIVEN_UP"}
        for epoch in {each.epoch for each in ended if each.resync} - resyncs:
            # What the resync was to mend is not mended: loads refuse it again.
            await self._epochs.confirm(epoch, "backfill")
        return ended

    async def left(self, backfill: Backfill, files: Sequence[DataFile]) -> list[DataFile]:
        """Give the data files that are not converted yet.

        Args:
            backfill: as `open` gave it.
            files: of the export.
        """
        done = await self._ledger.backfills.converted(backfill, [file.name for file in files])
        return [file for file in files if file.name not in done]

    # --- the end -------------------------------------------------------------------------------------------------

    async def unfinished(self, backfill: Backfill) -> Unfinished:
        """Tell what has to be loaded before the backfill is over.

        It reads the whole ledger, consistently: nothing may be deleted by what an index shows too late.

        Args:
            backfill: as `open` gave it.
        """
        done = await self._ledger.backfills.scan_converted(backfill)
        # Later changes of the stream may wait on: they are newer than whatever the end touches.
        floor, states = first_change(backfill.epoch), Counter[str]()
        async for file in self._ledger.files.scan(backfill.pipeline, "PENDING", "QUARANTINED"):
            states[file.state] += file.version_min < floor
        return Unfinished(
            data_files=backfill.files - len(done),
            pending=states["PENDING"],
            quarantined=states["QUARANTINED"],
            rejected=sum(each.rejects for each in done.values()) if backfill.resync else 0,
        )

    async def _find_waiting(self, backfill: Backfill) -> Unfinished:
        """Tell which files still wait for a load, as the index has them: asked again and again, it reads little."""
        listed = [file.file_id async for file in self._ledger.files.pending(backfill.pipeline)]
        found, floor = await self._ledger.files.read(listed), first_change(backfill.epoch)
        waiting = sum(file.state == "PENDING" and file.version_min < floor for file in found.values())
        return Unfinished(data_files=0, pending=waiting, quarantined=0, rejected=0)

    async def finish(self, backfill: Backfill, *, despite_rejects: bool = False) -> Unfinished:
        """End the backfill if everything is loaded; delete what a resync found gone. Repeating it changes nothing.

        Args:
            backfill: as `open` gave it.
            despite_rejects: delete rows although items of the export were rejected.

        Returns:
            What is still missing; false where the backfill has ended. While files wait for a load, only these.

        Raises:
            WarehouseError: the tombstones could not be made; try again. Where the warehouse was set back, it says so.
        """
        # Before the ledger is asked what is loaded: a warehouse that is set back after that lacks this batch.
        last = (await self._head()).last_batch
        if left := await self._find_waiting(backfill):
            return left
        left = await self.unfinished(backfill)
        if despite_rejects:
            left = msgspec.structs.replace(left, rejected=0)
        if left:
            return left
        if backfill.resync:
            former = await self._former_columns.find()
            sql = tombstone_sql(self._pipeline, self._owner, backfill.epoch, backfill.exported_at, former, follows=last)
            token = ("resync", backfill.pipeline, backfill.epoch, self._new_name())
            await self._warehouse.run(sql, name=f"fastetl/resync/{backfill.pipeline}/{backfill.epoch}", token=token)
        await self._ledger.backfills.put(msgspec.structs.replace(backfill, state="FINISHED"))
        return left

    async def _head(self) -> Head:
        return await self._epochs.head()
