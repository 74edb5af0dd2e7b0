"""A warehouse that was set back to before the end of a resync: what was deleted is deleted once more."""

from __future__ import annotations

from typing import Any

import pytest

from fastetl.backfill.lost_end import reopen_resync
from fastetl.errors import WarehouseError
from fastetl.model import Backfill
from fastetl.operate import rebuild_ledger
from tests.backfill.test_backfiller import Flow, flow, item, lines

__all__ = ["flow"]


LAST = '(SELECT MAX("loaded_at") FROM "public"."orders_loads")'


async def load_export(flow: Flow) -> Backfill:
    """Load the export of a resync after the deletion of item 1 was lost: it has item 2 alone."""
    await flow.change(("INSERT", 1, "deleted unseen"), ("INSERT", 2, "kept"))
    await flow.plant.run()
    await flow.epoch()
    backfill = await flow.open(flow.export(lines(item(2, "kept"))), resync=True)
    await flow.convert(backfill)
    await flow.plant.run()
    return backfill


async def resync(flow: Flow) -> Backfill:
    """Resync, to the end."""
    backfill = await load_export(flow)
    assert not await flow.backfiller.finish(backfill)
    assert await flow.notes() == {2: "kept"}
    return backfill


async def set_back(flow: Flow, *, to: str) -> None:
    """Give the warehouse the state before the first load, or before the resync's end."""
    for table in ("loads", "load_files", "epochs") if to == "the first load" else ():
        await flow.plant.execute(f'DELETE FROM "public"."orders_{table}"')
    await flow.plant.execute('DELETE FROM "public"."orders_resyncs"')
    await flow.plant.execute('DELETE FROM "public"."orders_log"')
    if to == "the first load":
        await flow.plant.execute('DELETE FROM "public"."orders"')
        # Only the export's file tells of the epoch.
        await flow.plant.ledger.batches.change_head(await flow.plant.ledger.batches.head("orders"), epochs=())
    else:
        was = '"_version" = \'0000#\', "_deleted" = FALSE, "note" = \'deleted unseen\''
        await flow.plant.execute(f'UPDATE "public"."orders" SET {was} WHERE "_deleted"')


@pytest.mark.parametrize("to", ["the first load", "the end"])
async def test_a_resync_whose_end_is_lost_is_under_way_again(flow: Flow, to: str) -> None:
    backfill = await resync(flow)
    await set_back(flow, to=to)
    assert (await rebuild_ledger(flow.plant.deployment())).resync == backfill.location
    await flow.plant.run()
    assert await flow.notes() == {1: "deleted unseen", 2: "kept"}
    # As `fastetl resync` does.
    assert await flow.backfiller.under_way() == [backfill]
    assert not await flow.backfiller.finish(backfill)
    assert await flow.notes() == {2: "kept"}
    assert await flow.plant.sql('SELECT "epoch", "kind" FROM "public"."orders_epochs"') == [("1", "resync")]
    assert (await rebuild_ledger(flow.plant.deployment())).resync == ""
    assert await flow.backfiller.under_way() == []


async def test_nothing_is_deleted_in_a_warehouse_that_was_set_back(flow: Flow) -> None:
    backfill = await load_export(flow)
    # A snapshot from before the export's load; the ledger takes it for loaded.
    for table in ("load_files", "loads"):
        await flow.plant.execute(f'DELETE FROM "public"."orders_{table}" WHERE "loaded_at" >= ' + LAST)
    await flow.plant.execute('UPDATE "public"."orders" SET "_version" = \'0000#\'')
    with pytest.raises(WarehouseError, match="set back"):
        await flow.backfiller.finish(backfill)
    assert await flow.notes() == {1: "deleted unseen", 2: "kept"}
    await rebuild_ledger(flow.plant.deployment())
    assert await flow.backfiller.finish(backfill)
    await flow.plant.run()
    assert not await flow.backfiller.finish(backfill)
    assert await flow.notes() == {2: "kept"}


async def test_the_last_resync_counts_and_none_that_was_given_up(flow: Flow) -> None:
    backfill = await resync(flow)
    assert await reopen_resync(flow.plant.deployment()) is None
    await flow.epoch()
    given_up = await flow.open(flow.export(lines(item(2, "kept"))), resync=True)
    await flow.backfiller.give_up(given_up.location)
    assert await reopen_resync(flow.plant.deployment()) is None
    await set_back(flow, to="the end")
    reopened = await reopen_resync(flow.plant.deployment())
    assert reopened == backfill
    # One that is under way is told as well, and nothing is written.
    assert await reopen_resync(flow.plant.deployment()) == backfill


async def test_a_pipeline_without_resyncs_asks_nobody(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.execute('DROP TABLE "public"."orders_resyncs"')
    assert await reopen_resync(plant.deployment()) is None
