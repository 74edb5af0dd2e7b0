"""The table itself: what it is, a sample, an export by reading it, and an export by DynamoDB."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from fastetl.aws.s3 import Bucket
from fastetl.aws.source import SourceTable
from fastetl.backfill import scan
from fastetl.backfill.export_folder import ExportFolder
from fastetl.backfill.scan import Throttle, scan_table
from fastetl.errors import SourceError
from tests.conftest import Aws

ITEMS = [{"id": {"N": str(number)}, "blob": {"B": bytes([number])}} for number in range(30)]


@pytest.fixture
async def source(aws: Aws) -> Any:
    client, name = await aws.client("dynamodb"), f"source{id(aws)}"
    await client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    for item in ITEMS:
        await client.put_item(TableName=name, Item=item)
    yield SourceTable(client, name)
    await client.delete_table(TableName=name)


async def test_what_a_table_is(source: SourceTable) -> None:
    described = await source.describe()
    assert (described.keys, described.key_types, described.view_type) == (("id",), ("N",), "NEW_IMAGE")
    assert described.stream_arn.startswith(described.arn)
    sample = await source.sample(5)
    assert len(sample) == 5
    assert all(base64.b64decode(item["blob"]["B"]) == bytes([int(item["id"]["N"])]) for item in sample)
    with pytest.raises(SourceError, match="describe_table missing"):
        await SourceTable(source._client, "missing").describe()


async def test_where_shards_end_and_their_children_begin(source: SourceTable, aws: Aws) -> None:
    streams: Any = await aws.client("dynamodbstreams")
    asked = SourceTable(source._client, source.name, streams)
    assert await asked.shard_bounds() == {}  # moto's streams have one shard
    described = streams.describe_stream

    async def split_since(**arguments: Any) -> Any:
        answer = await described(**arguments)
        (shard,) = answer["StreamDescription"]["Shards"]
        shard["SequenceNumberRange"]["EndingSequenceNumber"] = "999"
        child = {"ShardId": "child", "ParentShardId": shard["ShardId"]}
        bounds = {"SequenceNumberRange": {"StartingSequenceNumber": "1000"}}
        orphan = {"ShardId": "orphan", "ParentShardId": "trimmed", **bounds}
        answer["StreamDescription"]["Shards"] += [{**child, **bounds}, orphan]
        return answer

    streams.describe_stream = split_since
    assert await asked.shard_bounds() == {"child": (999, 1000)}


async def test_reading_a_table_makes_an_export_and_goes_on_where_it_was(
    source: SourceTable, aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SEGMENT_BYTES", 100)
    name = await aws.new_bucket()
    bucket = Bucket(await aws.client("s3"), name)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    seen: list[tuple[int, int]] = []
    broken = FailingSource(source, fail_at=2)
    throttle = Throttle(10, lambda: 0.0, sleep)
    with pytest.raises(SourceError, match="throttled"):
        await scan_table(broken, bucket, "exports/scan-1", throttle, exported_at=1000, at_once=1)
    done = len([key async for key in bucket.list_keys("exports/scan-1/data/")])
    assert done == 2
    reads = FailingSource(source)
    await scan_table(
        reads,
        bucket,
        "exports/scan-1",
        throttle,
        exported_at=2000,
        on_segment=lambda *counts: seen.append(counts),
    )
    export, files = await ExportFolder(bucket._client, f"s3://{name}/exports/scan-1").read()
    assert (export.exported_at, export.items, len(files), reads.read) == (1000, 30, len(seen), len(files) - 2)
    found = []
    for file in files:
        await ExportFolder(bucket._client, f"s3://{name}/exports/scan-1").fetch(file, tmp_path / "data")
        lines = gzip.decompress((tmp_path / "data").read_bytes()).splitlines()
        assert len(lines) == file.items
        found += [int(json.loads(line)["Item"]["id"]["N"]) for line in lines]
    assert sorted(found) == list(range(30))


class FailingSource:
    """A table of several segments, of which one cannot be read."""

    def __init__(self, source: SourceTable, fail_at: int = -1) -> None:
        self._source, self._fail_at, self.read = source, fail_at, 0

    async def describe(self) -> Any:
        described = await self._source.describe()
        return type(described)(
            **{name: getattr(described, name) for name in described.__struct_fields__} | {"bytes": 500}
        )

    async def scan(self, segment: int, segments: int) -> Any:
        assert segments == 5
        if segment == self._fail_at:
            raise SourceError("throttled")
        self.read += 1
        # moto gives everything to every segment.
        page = [item for item in await self._source.sample(100) if int(item["id"]["N"]) % segments == segment]
        yield page, 1.0


async def test_throttle_keeps_to_its_rate() -> None:
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    throttle = Throttle(50, lambda: now[0], sleep)
    for _ in range(100):
        await throttle.used(10)
    assert now[0] == pytest.approx(20)
    await Throttle(0, lambda: 0.0, sleep).used(1e9)
    assert now[0] == pytest.approx(20)


async def test_every_page_of_a_segment_is_read(source: SourceTable) -> None:
    # moto ends a page after 1 MB, as DynamoDB does.
    for number in range(30, 36):
        await source._client.put_item(TableName=source.name, Item={"id": {"N": str(number)}, "b": {"S": "x" * 300_000}})
    pages = [(items, units) async for items, units in source.scan(0, 1)]
    assert len(pages) > 1
    assert sorted(int(item["id"]["N"]) for items, _ in pages for item in items) == list(range(36))
    assert all(units > 0 for _, units in pages)


async def test_an_export_by_dynamodb(source: SourceTable, aws: Aws) -> None:
    bucket = await aws.new_bucket()
    with pytest.raises(SourceError, match="--scan"):
        await source.export(bucket, "exports/x", "token")
    recovery: Any = {"PointInTimeRecoveryEnabled": True}
    await source._client.update_continuous_backups(TableName=source.name, PointInTimeRecoverySpecification=recovery)
    arn = await source.export(bucket, "exports/x", "token")
    while not await source.exported(arn):
        await asyncio.sleep(0.02)
    keys = [key async for key in Bucket(await aws.client("s3"), bucket).list_keys("exports/x/")]
    assert len(keys) == 1


async def test_an_export_that_failed_says_why(source: SourceTable) -> None:
    described = {"ExportStatus": "FAILED", "FailureCode": "S3AccessDenied", "FailureMessage": "the bucket is not yours"}

    class Client:
        async def describe_export(self, **_: str) -> Any:
            return {"ExportDescription": described}

    with pytest.raises(SourceError, match="S3AccessDenied: the bucket is not yours"):
        await SourceTable(Client(), source.name).exported("arn:export/1")


async def test_each_export_has_a_token_of_its_own_and_a_repeated_request_the_same() -> None:
    """DynamoDB refuses a token that another export has had: tables of one epoch and second must not share one."""

    class Exports:
        """DynamoDB that only notes the tokens."""

        def __init__(self) -> None:
            self.tokens: list[str] = []

        async def describe_table(self, **_: Any) -> Any:
            keys = [{"AttributeName": "id", "KeyType": "HASH"}]
            arn = "arn:aws:dynamodb:eu-west-1:1:table/orders"
            return {
                "Table": {
                    "TableArn": arn,
                    "KeySchema": keys,
                    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                }
            }

        async def export_table_to_point_in_time(self, **arguments: Any) -> Any:
            self.tokens.append(arguments["ClientToken"])
            return {"ExportDescription": {"ExportArn": "arn"}}

    client = Exports()
    source = SourceTable(client, "orders")
    for name in ("orders", "orders", "people", "x" * 500):
        await source.export("lake", "exports", ("export", "ledger", name, 1, 1_767_225_600))
    assert client.tokens[0] == client.tokens[1]
    assert len(set(client.tokens)) == 3
    assert all(1 <= len(token) <= 64 for token in client.tokens)
