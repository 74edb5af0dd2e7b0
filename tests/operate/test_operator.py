"""What operators change in HEAD while coordinators change it as well, and what they are told when they may not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fastetl.aws.ledger import Ledger
from fastetl.cli.status import describe
from fastetl.config.model import LoadPolicy
from fastetl.errors import LedgerError
from fastetl.load.decide import FIRST_DELAY_SECONDS
from fastetl.model import IngestError
from fastetl.operate import operator
from fastetl.operate.operator import Operator
from tests.plant import Change, Plant

CHANGES = {
    "pause": lambda operator: operator.pause("maintenance"),
    "resume": lambda operator: operator.resume(),
    "load": lambda operator: operator.load_now(),
}


class Refusing:
    """A client whose updates DynamoDB answers with errors, as long as there are any."""

    def __init__(self, client: Any, *codes: str) -> None:
        self._client = client
        self.codes = list(codes)

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._client, operation)

    async def update_item(self, **arguments: Any) -> Any:
        if self.codes:
            answer: Any = {"Error": {"Code": self.codes.pop(0), "Message": "as the test has it"}}
            raise ClientError(answer, "UpdateItem")
        return await self._client.update_item(**arguments)


async def operate(plant: Plant, what: str, *codes: str) -> Refusing:
    await plant.run()  # makes HEAD
    client = Refusing(plant.ledger.table._client, *codes)
    plant.ledger = Ledger(client, plant.ledger.table.name)
    await CHANGES[what](Operator(plant.deployment()))
    return client


@pytest.mark.parametrize("what", CHANGES)
async def test_what_is_refused_is_told_as_it_was_said(make_plant: Any, what: str) -> None:
    with pytest.raises(LedgerError, match="AccessDeniedException: as the test has it"):
        await operate(await make_plant(), what, "AccessDeniedException")


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("code", ["ConditionalCheckFailedException", "TransactionConflictException"])
async def test_a_change_that_others_overtake_is_tried_again(make_plant: Any, what: str, code: str) -> None:
    client = await operate(await make_plant(), what, code, code)
    assert client.codes == []


async def test_a_head_that_never_stands_still_is_told_as_that(make_plant: Any) -> None:
    with pytest.raises(LedgerError, match="changes all the time"):
        await operate(await make_plant(), "pause", *["ConditionalCheckFailedException"] * operator.RACES)


async def test_there_is_nothing_to_change_before_the_coordinator_has_woken(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.lose_head()
    with pytest.raises(LedgerError, match="no HEAD yet"):
        await Operator(plant.deployment()).pause("too early")


async def test_a_pause_holds_until_it_is_ended(make_plant: Any) -> None:
    plant = await make_plant()
    await operate(plant, "pause")
    head = await plant.ledger.batches.head("orders")
    assert head is not None
    assert (head.paused, head.paused_by) == ("maintenance", "operator")
    await operate(plant, "resume")
    head = await plant.ledger.batches.head("orders")
    assert head is not None
    assert (head.paused, head.paused_by) == ("", "")


async def break_load(plant: Plant) -> None:
    """Let a load fail for something that is not there: the pipeline pauses, and the batch waits for its retry."""
    await plant.put(Change(1, 1))
    broken = plant.new_loader(load=LoadPolicy(max_bytes=1, pre_sql=('INSERT INTO "public"."missing" SELECT 1',)))
    await plant.run(broken, until=lambda step: step.action == "retry")


async def test_status_says_which_step_failed_and_when_it_is_tried_again(make_plant: Any) -> None:
    plant = await make_plant()
    await break_load(plant)
    found = await Operator(plant.deployment()).status()
    (batch,) = found.open_batches
    assert (batch.state, batch.failure) == ("RETRY", "infrastructure")
    assert batch.step.startswith("pre_sql")
    assert "missing" in batch.error
    assert 0 < batch.next_try_seconds <= FIRST_DELAY_SECONDS
    assert (found.last_load_seconds, found.last_file_seconds >= 0) == (-1, True)
    lines = [text for text, _ in describe(found)]
    assert lines[0].startswith("orders: PAUSED by fastetl: pre_sql")
    assert any("RETRY, attempt 1, 1 file" in line and "next try in " in line for line in lines)
    assert any("failed at pre_sql" in line and "missing" in line for line in lines)
    assert any("`fastetl resume` tries again at once" in line for line in lines)


@pytest.mark.parametrize("what", ["resume", "load"])
async def test_what_is_mended_is_tried_at_the_next_wake_up(make_plant: Any, what: str) -> None:
    plant = await make_plant()
    await break_load(plant)
    assert (await plant.loader.wake_up()).action in {"idle", "wait"}, "it waits for its retry"
    assert await CHANGES[what](Operator(plant.deployment())) == 1
    assert await CHANGES[what](Operator(plant.deployment())) == 0, "it does not wait any longer"
    actions: list[str] = []
    for _ in range(20):
        actions.append((await plant.loader.wake_up()).action)
        if actions[-1] == "loaded":
            break
        await asyncio.sleep(0.02)
    assert actions[-1] == "loaded", "without any time passing"
    assert (await plant.ledger.batches.head("orders")).paused == ""


async def test_an_attempt_whose_end_is_not_known_goes_on_waiting(make_plant: Any) -> None:
    plant = await make_plant()
    await break_load(plant)
    head = await plant.ledger.batches.head("orders")
    batch = await plant.ledger.batches.read(head.open[0])
    later = int(plant.now * 1000) + 60_000
    await plant.ledger.batches.advance(batch, state="RESOLVING", not_before=later)
    assert await Operator(plant.deployment()).resume() == 0
    assert (await plant.ledger.batches.read(head.open[0])).not_before == later


async def test_status_shows_what_ingest_failed_with_until_it_has_written_again(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.run()
    await plant.ledger.ingest_errors.put(
        IngestError("orders", int(plant.now * 1000) - 30_000, "put_object: AccessDenied")
    )
    found = await Operator(plant.deployment()).status()
    assert (found.ingest_error, found.ingest_error_seconds) == ("put_object: AccessDenied", 30)
    lines = list(describe(found))
    assert lines[0] == ("orders: running, but ingest FAILS", "red")
    assert any("last failed 30 s ago: put_object: AccessDenied" in text for text, _ in lines)
    await plant.put(Change(1, 1))
    found = await Operator(plant.deployment()).status()
    assert (found.ingest_error, found.ingest_error_seconds) == ("", -1)
    assert found.ingest_lag_seconds > 0
