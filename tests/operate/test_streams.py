"""A table that was created again under its old name: `status` and `check --online` tell, since nothing fails."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from fastetl.aws.source import SourceTable
from fastetl.cli.status import describe
from fastetl.operate import Operator, Preflight
from tests.conftest import Aws
from tests.operate.test_reconcile import ARN, make_event, new_ingest
from tests.plant import Plant


class Table:
    """The table `orders`, as it is created, enabled and deleted."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def create(self) -> str:
        await self.client.create_table(
            TableName="orders", BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )  # fmt: skip
        return (await SourceTable(self.client, "orders").describe()).stream_arn

    async def delete(self) -> None:
        with suppress(self.client.exceptions.ResourceNotFoundException):
            await self.client.delete_table(TableName="orders")


@pytest.fixture
async def table(aws: Aws) -> Any:
    made = Table(await aws.client("dynamodb"))
    await made.delete()  # of another module's tests
    yield made
    await made.delete()


async def ingest(plant: Plant, stream_arn: str, number: int) -> None:
    await new_ingest(plant).ingest(make_event(number).replace(ARN.encode(), stream_arn.encode()))


async def look(plant: Plant, **changes: Any) -> tuple[str, list[str]]:
    status = await Operator(plant.deployment(**changes)).status()
    findings = await Preflight(plant.deployment(**changes)).look()
    shown = [text for text, colour in describe(status) if colour == "red" and text.startswith("  table")]
    problem = status.stream_problem or status.table_error
    assert bool(shown) is bool(problem)
    return problem, [each.problem for each in findings if each.what == "table orders" and each.problem]


async def test_a_table_that_was_created_again_is_told(make_plant: Any, aws: Aws, table: Table) -> None:
    plant = await make_plant()
    plant.source = SourceTable(table.client, "orders")
    first = await table.create()
    assert await look(plant) == ("", [])
    await ingest(plant, first, 1)
    assert await look(plant) == ("", [])
    await table.delete()
    assert "ResourceNotFoundException" in (await look(plant))[0]
    second = await table.create()
    assert first != second
    problem, (found,) = await look(plant)
    assert "the table was created again" in problem
    assert first.rpartition("/")[2] in problem
    assert second.rpartition("/")[2] in problem
    assert problem == f"{found}; map the table's stream to the ingest function, then run `fastetl resync`"
    await ingest(plant, second, 2)
    assert await look(plant) == ("", [])


async def test_a_stream_that_is_disabled_or_that_the_configuration_does_not_name_is_told(
    make_plant: Any, aws: Aws, table: Table
) -> None:
    plant = await make_plant()
    plant.source = SourceTable(table.client, "orders")
    arn = await table.create()
    await ingest(plant, arn, 1)
    _, (found,) = await look(plant, stream_arn=f"{arn.rpartition('/')[0]}/2020-01-01T00:00:00.000")
    assert "stream_arn names another" in found
    await table.client.update_table(TableName="orders", StreamSpecification={"StreamEnabled": False})
    problem, found_problems = await look(plant)
    assert "its stream is disabled" in problem
    assert len(found_problems) == 2  # and its view


async def test_rows_of_exports_and_of_kinesis_say_nothing_of_a_stream(make_plant: Any, table: Table) -> None:
    plant = await make_plant()
    plant.source = SourceTable(table.client, "orders")
    await table.create()
    for label in ("0000-00-00T00:00:00.000", "orders-stream"):
        await ingest(plant, f"{ARN.partition('/stream/')[0]}/stream/{label}", 1 + len(label))
    assert await look(plant) == ("", [])
