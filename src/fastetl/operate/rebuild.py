"""Rebuild a ledger that was lost, or set back, from what S3 and the warehouse say."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from fastetl.aws import gather
from fastetl.backfill import reopen_resync
from fastetl.errors import LedgerError, LostEpochsError, StaleStepError
from fastetl.ingest import build_file, find_epochs
from fastetl.load import Epochs, FormerColumns
from fastetl.model import LoadedBatch
from fastetl.operate.reconcile import Reconciler, take
from fastetl.operate.watermark import RACES, forget_watermark
from fastetl.sql import ASKED_AT_ONCE

if TYPE_CHECKING:
    from fastetl.aws import Deployment
    from fastetl.versions import EpochStart


class Rebuilt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was put back into a ledger."""

    pipeline: str
    registered: int
    marked_loaded: int
    waiting_again: int
    """The ledger had them as loaded; the warehouse, set back to an earlier time, had not."""
    resync: str = ""
    """Where the export lies of a resync that `fastetl resync` has to end: the warehouse has lost what it deleted."""
    awaits_resync: bool = False
    """Whether files wait for a resync: what was loaded since their epoch was lost is newer, and stamped without it."""


async def rebuild_ledger(deployment: Deployment) -> Rebuilt:
    """Make the ledger what S3 and the warehouse say.

    It reads every object's metadata and the whole ledger, a part of them at a time.

    Files that were in quarantine wait again; what is nothing but rejects has no object and stays unregistered. A
    resync whose end the warehouse has lost is under way again. It is not known up to when everything is loaded
    before all of it is.

    Args:
        deployment: of the pipeline whose ledger is rebuilt.

    Returns:
        What was put back.

    Raises:
        LedgerError: HEAD changes all the time; try again.
        WarehouseError: epochs could not be read or written.
    """
    ledger, epochs, reconciler = deployment.ledger, Epochs(deployment), Reconciler(deployment)
    # At once, as far as the ledger and the warehouse know them: until then changes are stamped without them.
    known: set[EpochStart] | None = None
    with contextlib.suppress(LostEpochsError):
        known = {*(await epochs.restore()).epochs}
    await FormerColumns(deployment).restore()
    registered = done = undone = 0
    carried: set[EpochStart] = set()
    await forget_watermark(deployment)
    async for keys in take(reconciler.keys("", "~"), ASKED_AT_ONCE):
        registered += sum(await gather(partial(_register, deployment, carried), keys))
        await forget_watermark(deployment)
    # Files may carry epochs that both have lost. Loads refuse them so far.
    if known is None or not carried <= known:
        known = {*(await epochs.restore(carried)).epochs}
    # Read before the warehouse is asked: a load that ends in between is in its answer.
    async for files in take(ledger.files.scan(deployment.pipeline.name, "PENDING", "LOADED"), ASKED_AT_ONCE):
        loaded = await reconciler.loaded({file.file_id: file.changed_min for file in files})
        batch_ids = {
            file.file_id: loaded[file.file_id].batch_id
            for file in files
            if file.state == "PENDING" and file.file_id in loaded
        }
        await ledger.files.mark_loaded(batch_ids, now_ms=int(deployment.clock() * 1000))
        waiting = [file for file in files if file.state == "LOADED" and file.file_id not in loaded]
        if waiting:
            await forget_watermark(deployment)
        await gather(ledger.files.requeue, waiting)
        done, undone = done + len(batch_ids), undone + len(waiting)
    await _forget_last_batch(deployment)
    reopened = await reopen_resync(deployment)
    name, location = deployment.pipeline.name, reopened.location if reopened else ""
    waits = not carried <= known and await epochs.awaits_resync(carried)
    return Rebuilt(name, registered, done, undone, location, awaits_resync=waits)


async def _forget_last_batch(deployment: Deployment) -> None:
    """Let the next load begin whatever the warehouse has: the ledger has just been made what the warehouse says."""
    batches, name = deployment.ledger.batches, deployment.pipeline.name
    for _ in range(RACES):
        head = await batches.head(name)
        if head is None or head.last_batch == LoadedBatch():
            return
        with contextlib.suppress(StaleStepError):
            await batches.change_head(head, last_batch=LoadedBatch())
            return
    raise LedgerError(f"HEAD of {name} changes all the time; try again")


async def _register(deployment: Deployment, carried: set[EpochStart], key: str) -> bool:
    """Register the file of an object unless it is, and note its epochs; tell whether it was not."""
    stored = await deployment.bucket.head(key)
    if stored is None:
        return False
    carried.update(find_epochs(stored))
    item = build_file(stored, int(deployment.clock() * 1000))
    return await deployment.ledger.files.register(item, is_read=False) == item
