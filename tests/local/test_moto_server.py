"""What moto's server holds is what DynamoDB would hold after the same calls."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Aws

ITEMS = 500
"""moto copies all of them for a transaction, and meanwhile other threads write."""

REFUSED: Any = {"Key": {"id": {"S": "0"}}, "ConditionExpression": "attribute_not_exists(id)"}


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    """Let moto's threads, which run in this process, take over from each other as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_hasty_threads")
async def test_a_cancelled_transaction_leaves_what_others_write_meanwhile(aws: Aws) -> None:
    dynamodb = await aws.client("dynamodb")
    await dynamodb.create_table(
        TableName="turns",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for start in range(0, ITEMS, 25):
        batch = [{"PutRequest": {"Item": {"id": {"S": str(number)}}}} for number in range(start, start + 25)]
        await dynamodb.batch_write_item(RequestItems={"turns": batch})
    written = [str(number) for number in range(0, ITEMS, 25)]

    async def write() -> None:
        for key in written:
            await dynamodb.put_item(TableName="turns", Item={"id": {"S": key}, "changed": {"BOOL": True}})

    async def cancel() -> None:
        while not writing.done():
            with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
                await dynamodb.transact_write_items(
                    TransactItems=[{"ConditionCheck": {"TableName": "turns", **REFUSED}}]
                )

    writing = asyncio.create_task(write())
    await asyncio.gather(cancel(), cancel(), cancel())
    read = (await dynamodb.scan(TableName="turns"))["Items"]
    assert {item["id"]["S"] for item in read if "changed" in item} == set(written)
