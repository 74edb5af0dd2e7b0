"""What `fastetl check --online` finds: each thing that is missing, with its remedy, and none hides another."""

from __future__ import annotations

from typing import Any

import pytest

from fastetl.aws.ledger import Ledger
from fastetl.aws.s3 import Bucket
from fastetl.aws.source import SourceTable
from fastetl.operate.preflight import Preflight
from tests.conftest import Aws
from tests.plant import Plant


async def look(plant: Plant, aws: Aws, **changes: Any) -> dict[str, tuple[str, str]]:
    dynamodb = await aws.client("dynamodb")
    plant.source = SourceTable(dynamodb, changes["table"])
    findings = await Preflight(plant.deployment(**changes)).look()
    return {each.what: (each.problem, each.remedy) for each in findings}


@pytest.fixture
async def table(aws: Aws, request: pytest.FixtureRequest) -> Any:
    """A table whose stream shows what the test asks for."""
    dynamodb = await aws.client("dynamodb")
    name = f"checked{id(aws)}"
    await dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": getattr(request, "param", "KEYS_ONLY")},
    )
    yield name
    await dynamodb.delete_table(TableName=name)


async def test_what_does_not_serve_is_named_with_its_remedy(make_plant: Any, aws: Aws, table: str) -> None:
    plant = await make_plant()
    found = await look(plant, aws, table=table, keys=("id", "sort"), target="nowhere")
    assert found[f"table {table}"] == ("its stream shows KEYS_ONLY", "Enable one with NEW_AND_OLD_IMAGES")
    assert found["nowhere.*"] == ("there is no such table", "Run `fastetl ddl --apply`")
    assert found["COPY from the bucket"][0] == ""
    assert [key async for key in plant.bucket.list_keys("check/")] == []


@pytest.mark.parametrize("table", ["NEW_IMAGE"], indirect=True)
async def test_a_table_of_the_same_name_in_another_account_is_told_apart(make_plant: Any, aws: Aws, table: str) -> None:
    plant = await make_plant()
    arn = f"arn:aws:dynamodb:us-east-1:999999999999:table/{table}"
    problem, _ = (await look(plant, aws, table=table, stream_arn=f"{arn}/stream/2026"))[f"table {table}"]
    assert f"and stream_arn names {arn}" in problem


@pytest.mark.parametrize("table", ["NEW_IMAGE"], indirect=True)
async def test_deletes_that_are_kept_need_old_images(make_plant: Any, aws: Aws, table: str) -> None:
    plant = await make_plant()
    assert (await look(plant, aws, table=table))[f"table {table}"] == ("", "")
    problem, remedy = (await look(plant, aws, table=table, deletes="keep_expired"))[f"table {table}"]
    assert "NEW_IMAGE" in problem
    assert remedy == "Enable one with NEW_AND_OLD_IMAGES"


async def test_one_thing_that_is_missing_hides_no_other(make_plant: Any, aws: Aws) -> None:
    plant = await make_plant()
    plant.bucket = Bucket(await aws.client("s3"), "no-such-bucket")
    plant.ledger = Ledger(await aws.client("dynamodb"), "no-such-ledger")
    found = await look(plant, aws, table="no-such-table")
    problems = {what for what, (problem, _) in found.items() if problem}
    assert problems == {
        "table no-such-table", f"bucket {plant.config.bucket}", f"ledger {plant.config.ledger_table}",
        "COPY from the bucket",
    }  # fmt: skip
    assert all(remedy for problem, remedy in found.values() if problem)


async def test_a_pipeline_with_a_long_name_is_tried_as_any_other(make_plant: Any, aws: Aws, table: str) -> None:
    plant = await make_plant(name="p" * 64)
    for _ in range(2):
        assert (await look(plant, aws, table=table))["COPY from the bucket"] == ("", "")
