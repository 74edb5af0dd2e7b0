"""What `fastetl check --online` finds: each thing that is missing, with its remedy, and none hides another."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastetl.aws.ledger import Ledger
from fastetl.aws.s3 import Bucket
from fastetl.aws.source import SourceTable
from fastetl.operate import Catalog
from fastetl.operate.preflight import Preflight
from tests.conftest import Aws
from tests.plant import LOADER, Plant, create_tables


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
    assert found["nowhere.*"] == ("the table does not exist", "Run `fastetl ddl --apply`")
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


async def test_the_rights_asked_for_are_those_of_the_user_that_loads(make_plant: Any, aws: Aws, table: str) -> None:
    plant = await make_plant()
    user, what = LOADER.database_user, f"rights of {LOADER.database_user}"
    assert (await look(plant, aws, table=table))[what] == ("", "")
    await plant.execute(f'REVOKE UPDATE ON "public"."orders_gate" FROM "{user}"')
    found = await look(plant, aws, table=table)
    assert found[what] == ('it has no UPDATE on table "public"."orders_gate"', "Run `fastetl ddl --apply`")
    # This caller, who owns the tables, may do everything; that says nothing.
    await plant.execute('UPDATE "public"."orders_gate" SET "n" = "n"')
    await create_tables(plant)
    assert (await look(plant, aws, table=table))[what] == ("", "")


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ({"load_user": "IAMR:elsewhere"}, "there is no user of this name"),
        ({"load_user": ""}, "no user is named"),
        ({"load_user": "", "secret_arn": "arn:aws:secretsmanager:us-east-1:1:secret:x"}, ""),
    ],
)
async def test_who_loads_has_to_be_known_unless_it_is_this_caller(
    make_plant: Any, aws: Aws, table: str, target: dict[str, str], problem: str
) -> None:
    plant = await make_plant()
    redshift = msgspec.structs.replace(plant.pipeline.redshift, **target)
    found = await look(plant, aws, table=table, redshift=redshift)
    assert found[f"rights of {target['load_user'] or 'the user that loads'}"][0] == problem


async def test_a_role_that_the_loading_user_may_not_take_is_told(
    make_plant: Any, aws: Aws, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = await make_plant()
    role = "arn:aws:iam::123456789012:role/copy"
    redshift = msgspec.structs.replace(plant.pipeline.redshift, iam_role=role)
    what = f"rights of {LOADER.database_user}"
    assert (await look(plant, aws, table=table, redshift=redshift))[what] == ("", "")

    async def no(_: Catalog) -> bool:
        return False

    monkeypatch.setattr(Catalog, "may_assume_role", no)
    problem, remedy = (await look(plant, aws, table=table, redshift=redshift))[what]
    assert (problem, f"GRANT ASSUMEROLE ON '{role}'" in remedy) == (f"it may not use {role}", True)


async def test_a_bucket_of_another_region_is_refused(make_plant: Any, aws: Aws, table: str) -> None:
    plant = await make_plant()
    elsewhere = await aws.client("s3", region_name="eu-west-1")
    await elsewhere.create_bucket(
        Bucket="bucket-in-europe", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    plant.bucket = Bucket(elsewhere, "bucket-in-europe")
    found = await look(plant, aws, table=table)
    assert found["COPY from the bucket"] == (
        "the bucket is in eu-west-1, the warehouse in us-east-1", "Deploy the stack in the warehouse's region"
    )  # fmt: skip
