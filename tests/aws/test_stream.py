"""What Lambda and DynamoDB Streams tell of a stream without showing a record."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from fastetl.aws import Mapping, Shard, StreamWatch
from fastetl.errors import SourceError
from tests.conftest import Aws

NOWHERE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def stream_arn(aws: Aws) -> Any:
    client, name = await aws.client("dynamodb"), f"watched{id(aws)}"
    table = await client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    yield table["TableDescription"]["LatestStreamArn"]
    await client.delete_table(TableName=name)


async def create_mapping(aws: Aws, stream_arn: str) -> tuple[Any, str]:
    iam, functions = await aws.client("iam"), await aws.client("lambda")
    name = stream_arn.split("/")[1]
    role = await iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("function.py", "")
    await functions.create_function(
        FunctionName=name, Runtime="python3.13", Role=role["Role"]["Arn"], Handler="function.handler",
        Code={"ZipFile": code.getvalue()},
    )  # fmt: skip
    made = await functions.create_event_source_mapping(
        FunctionName=name, EventSourceArn=stream_arn, StartingPosition="TRIM_HORIZON"
    )
    return functions, made["UUID"]


async def test_a_stream_with_its_shards_page_by_page(aws: Aws, stream_arn: str) -> None:
    client: Any = await aws.client("dynamodbstreams")
    watch = StreamWatch(client, await aws.client("lambda"))
    found = await watch.describe(stream_arn)
    assert (found.arn, found.status, len(found.shards)) == (stream_arn, "ENABLED", 1)
    assert found.shards[0].ending == ""
    assert found.created_at > 1_700_000_000_000
    describe, pages = client.describe_stream, []

    async def two_pages(**arguments: Any) -> Any:
        answer = await describe(StreamArn=arguments["StreamArn"])
        pages.append(arguments.get("ExclusiveStartShardId"))
        described = answer["StreamDescription"]
        if pages == [None]:
            numbers = {"StartingSequenceNumber": "1", "EndingSequenceNumber": "7"}
            described["Shards"] = [{"ShardId": "a", "SequenceNumberRange": numbers}]
            described["LastEvaluatedShardId"] = "a"
        else:
            described["Shards"] = [
                {"ShardId": "b", "ParentShardId": "a", "SequenceNumberRange": {"StartingSequenceNumber": "8"}}
            ]
        return answer

    client.describe_stream = two_pages
    assert (await watch.describe(stream_arn)).shards == (Shard("a", "", "7"), Shard("b", "a", ""))
    assert pages == [None, "a"]


async def test_what_is_gone_is_told_and_what_fails_is_an_error(aws: Aws, stream_arn: str) -> None:
    client: Any = await aws.client("dynamodbstreams")
    watch = StreamWatch(client, await aws.client("lambda"))
    assert (await watch.describe(stream_arn.replace(":table/", ":table/other"))).status == "GONE"
    assert await watch.mapping(NOWHERE) == Mapping(NOWHERE, state="Gone")
    await client.close()
    with pytest.raises(SourceError, match="describe_stream"):
        await watch.describe("no arn")


async def test_a_mapping_says_whether_it_reads(aws: Aws, stream_arn: str) -> None:
    functions, uuid = await create_mapping(aws, stream_arn)
    watch = StreamWatch(await aws.client("dynamodbstreams"), functions)
    assert await watch.mapping(uuid) == Mapping(uuid, stream_arn, "Enabled")
    await functions.update_event_source_mapping(UUID=uuid, Enabled=False)
    assert (await watch.mapping(uuid)).state == "Disabled"
