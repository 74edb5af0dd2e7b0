"""A warehouse that was set back to a snapshot, and whose ledger was not rebuilt, is noticed by the next load."""

from __future__ import annotations

from typing import Any

import msgspec

from fastetl.load.loader import Loader
from fastetl.model import LoadedBatch
from fastetl.operate import Operator, rebuild_ledger
from tests.load.test_epochs import ingest, refused
from tests.plant import Plant


async def load(plant: Plant, sequence: int, note: str, loader: Loader | None = None) -> None:
    await ingest(plant, sequence, note)
    assert "loaded" in await plant.run(loader)


async def set_back(plant: Plant) -> None:
    """Take the last load back, as if the snapshot were from before it."""
    batch_id = (await plant.ledger.batches.head("orders")).last_batch.batch_id
    for table in ("loads", "load_files"):
        await plant.execute(f'DELETE FROM "public"."orders_{table}" WHERE "batch_id" = \'{batch_id}\'')
    await plant.execute('DELETE FROM "public"."orders"')
    await plant.execute('DELETE FROM "public"."orders_log"')


async def test_a_load_that_is_missing_pauses_until_the_ledger_is_rebuilt(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    await load(plant, 1, "kept")
    await load(plant, 2, "lost")
    await set_back(plant)
    await ingest(plant, 3, "later")
    await refused(plant)
    assert "rebuild-ledger" in (await Operator(plant.deployment()).status()).paused
    assert (await rebuild_ledger(plant.deployment())).waiting_again == 1
    assert (await plant.ledger.batches.head("orders")).last_batch == LoadedBatch()
    await Operator(plant.deployment()).resume()
    assert "loaded" in await plant.run()
    assert (await plant.mirror())[0][2] == "later"
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_log"') == [("2",)]


async def test_the_same_batch_of_another_attempt_is_not_the_load_that_was_seen(make_plant: Any) -> None:
    """It was loaded once more after the warehouse was set back; others that the ledger believes in may not be."""
    plant: Plant = await make_plant()
    await load(plant, 1, "first")
    await load(plant, 2, "second")
    await plant.execute('UPDATE "public"."orders_loads" SET "attempt" = "attempt" + 1')
    await ingest(plant, 3, "later")
    await refused(plant)
    # Where it is not known which attempt was committed, any of them will do.
    head = await plant.ledger.batches.head("orders")
    await plant.ledger.batches.change_head(head, last_batch=msgspec.structs.replace(head.last_batch, attempt=0))
    await Operator(plant.deployment()).resume()
    await plant.execute('DELETE FROM "public"."orders_fences"')
    assert "loaded" in await plant.run()
