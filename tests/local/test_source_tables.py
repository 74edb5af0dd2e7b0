"""What a stack's pipelines read is created once, however much else there is in the account."""

from __future__ import annotations

from fastetl.config import parse_config
from fastetl.local.source_tables import create_kinesis_stream, create_source_table
from tests.conftest import Aws

CONFIG = """
bucket = "lake"
ledger_table = "ledger"

[redshift]
workgroup = "local"

[[pipelines]]
name = "last"
table = "last"
keys = ["id"]
source = "kinesis"
stream_arn = "arn:aws:kinesis:us-east-1:123456789012:stream/last"
target = "public.last"
columns = [{ name = "id", type = "BIGINT" }]
"""
(PIPELINE,) = parse_config(CONFIG, {}).pipelines
OTHER = {"region_name": "eu-west-2"}
"""Apart from what other tests create on the same server."""


async def test_a_table_behind_the_first_hundred_is_found(aws: Aws) -> None:
    client = await aws.client("dynamodb", **OTHER)
    for number in range(100):
        await client.create_table(
            TableName=f"first-{number}", BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )  # fmt: skip
    await create_source_table(client, PIPELINE)
    await client.put_item(TableName="last", Item={"id": {"N": "1"}})
    await create_source_table(client, PIPELINE)
    assert "last" not in (await client.list_tables())["TableNames"]
    assert (await client.scan(TableName="last"))["Count"] == 1


async def test_a_stream_behind_the_first_page_is_found(aws: Aws) -> None:
    client = await aws.client("kinesis", **OTHER)
    for number in range(10):
        await client.create_stream(StreamName=f"first-{number}", ShardCount=1)
    await create_kinesis_stream(client, PIPELINE)
    await create_kinesis_stream(client, PIPELINE)
    assert "last" not in (await client.list_streams())["StreamNames"]
    assert (await client.describe_stream(StreamName="last"))["StreamDescription"]["StreamStatus"] == "ACTIVE"
