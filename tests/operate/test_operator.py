"""What operators change in HEAD while coordinators change it as well, and what they are told when they may not."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from fastetl.aws.ledger import Ledger
from fastetl.errors import LedgerError
from fastetl.operate import operator
from fastetl.operate.operator import Operator
from tests.plant import Plant

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
    client = Refusing(plant.ledger._client, *codes)
    plant.ledger = Ledger(client, plant.ledger.table)
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
    with pytest.raises(LedgerError, match="no HEAD yet"):
        await Operator(plant.deployment()).pause("too early")


async def test_a_pause_holds_until_it_is_ended(make_plant: Any) -> None:
    plant = await make_plant()
    await operate(plant, "pause")
    head = await plant.ledger.head("orders")
    assert head is not None
    assert (head.paused, head.paused_by) == ("maintenance", "operator")
    await operate(plant, "resume")
    head = await plant.ledger.head("orders")
    assert head is not None
    assert (head.paused, head.paused_by) == ("", "")
