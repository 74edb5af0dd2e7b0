"""Take up again a resync whose end the warehouse has lost, since it was set back to a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastetl.load import Epochs
from fastetl.sql import resyncs_sql

if TYPE_CHECKING:
    from fastetl.aws import Deployment
    from fastetl.model import Backfill


async def reopen_resync(deployment: Deployment) -> Backfill | None:
    """Make the last resync one that is under way, unless the warehouse has its end.

    Its export is loaded again like all files that the warehouse has lost. What its end deleted is in no file: it comes
    back with the files that had it, until the resync ends once more. Repeating it changes nothing.

    Args:
        deployment: of the pipeline.

    Returns:
        The resync, if it has to be ended by `fastetl resync`.

    Raises:
        WarehouseError: the warehouse could not be asked, or the target may belong to another stack.
    """
    ledger, warehouse, name = deployment.ledger, deployment.warehouse, deployment.pipeline.name
    resyncs = [each for each in await ledger.backfills.read_all(name) if each.resync and each.state != "GIVEN_UP"]
    if not resyncs:
        return None
    # The earlier ones deleted nothing that the last one does not delete.
    last = max(resyncs, key=lambda each: (each.epoch, each.exported_at))
    token = ("resyncs", deployment.new_name())
    statement_id = await warehouse.run(resyncs_sql(deployment.pipeline), name=f"fastetl/resyncs/{name}", token=token)
    if last.epoch in {int(epoch) for (epoch,) in await warehouse.rows(statement_id, 0)}:
        return None
    # The row of its epoch may be lost as well, and be there again as any other epoch's.
    await Epochs(deployment).confirm(last.epoch, "resync")
    if last.state == "FINISHED":
        last = msgspec.structs.replace(last, state="CONVERTING")
        await ledger.backfills.put(last)
    return last
