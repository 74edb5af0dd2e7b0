"""Events that come once more, however late and in however many invocations at once."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from fastetl.ingest.ingester import Ingest
from fastetl.operate import Operator, rebuild_ledger
from fastetl.operate.replay import FAILURES_PREFIX, replay_failures
from tests.operate.test_reconcile import make_event, new_ingest
from tests.plant import Plant


async def forget(plant: Plant, file_id: str) -> None:
    """Let the FILE item of a loaded file expire."""
    table = plant.ledger.table
    await table._client.delete_item(TableName=table.name, Key={"pk": {"S": f"F#{file_id}"}})


async def logged(plant: Plant) -> tuple[str, list[str]]:
    """How many changes the log has, and which items the mirror has."""
    ((count,),) = await plant.sql('SELECT COUNT(*) FROM "public"."orders_log"')
    return count, [row[0] for row in await plant.mirror()]


async def test_an_event_that_the_ledger_has_forgotten_changes_nothing(make_plant: Any) -> None:
    plant = await make_plant()
    ingest, event = new_ingest(plant), make_event(1, 2)
    file = (await ingest.ingest(event)).file
    assert file
    await plant.run()
    await forget(plant, file.file_id)

    async def ingest_for(_: str) -> Ingest:
        return ingest

    await plant.bucket.replace(f"{FAILURES_PREFIX}m/s/one", orjson.dumps({"payload": event.decode()}))
    await replay_failures(plant.config, plant.bucket, ingest_for)
    await plant.run()
    assert await logged(plant) == ("2", ["1", "2"])
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_load_files"') == [("1",)]
    # Now the object is gone as well, and the event comes cut in another way besides.
    await forget(plant, file.file_id)
    await plant.bucket.delete(file.key)
    for again in (make_event(1), make_event(2), event):
        await ingest.ingest(again)
    await plant.run()
    assert await logged(plant) == ("2", ["1", "2"])


async def test_an_event_that_nobody_remembers_is_logged_once(make_plant: Any) -> None:
    """A person has emptied the bookkeeping, since it grows."""
    plant = await make_plant()
    file = (await new_ingest(plant).ingest(make_event(1, 2))).file
    assert file
    await plant.run()
    await forget(plant, file.file_id)
    for name in ("loads", "load_files"):
        await plant.execute(f'DELETE FROM "public"."orders_{name}"')
    await new_ingest(plant).ingest(make_event(1, 2))
    # The warehouse lacks the last load that the ledger knows, as one does that was set back.
    await plant.run(until=lambda step: bool(step.paused))
    await rebuild_ledger(plant.deployment())
    await Operator(plant.deployment()).resume()
    await plant.run()
    assert await logged(plant) == ("2", ["1", "2"])


@pytest.mark.parametrize("invocations", [2, 12])
async def test_one_event_in_many_invocations_at_once_is_one_file(make_plant: Any, invocations: int) -> None:
    plant = await make_plant()
    event = make_event(*range(1, 30))
    outcomes = await asyncio.gather(*(new_ingest(plant).ingest(event) for _ in range(invocations)))
    assert len({outcome.file_id for outcome in outcomes}) == 1
    assert sum(not outcome.already_there for outcome in outcomes) <= 1
    await plant.run()
    assert (await logged(plant))[0] == "29"
