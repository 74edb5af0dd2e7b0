"""The real path, whole: events through the real Lambda client, files on S3, SQL in a real database."""

from __future__ import annotations

import asyncio
import gzip
import re
from typing import Any

import orjson
import pytest

from fastetl.aws.source import SourceTable
from fastetl.errors import ConfigError
from fastetl.local.functions.mapping import MappingSettings
from fastetl.local.stack import Embedded
from fastetl.operate.operator import Operator
from fastetl.sql.text import Statement
from tests.deployments import make_deployment
from tests.template import read_template, watched_metrics

CONFIG = """
[[pipelines]]
name = "orders"
table = "orders"
keys = ["id"]
target = "public.orders"
outputs = ["mirror", "log"]
columns = [{ name = "id", type = "BIGINT" }, { name = "note", type = "VARCHAR(20)" }]

[pipelines.load]
max_age = "1s"
"""


def make_operator(stack: Embedded) -> Operator:
    source = SourceTable(stack.dynamodb, "orders")
    return Operator(make_deployment(stack.config, stack.config.pipelines[0], stack.bucket, stack.ledger, source=source))


ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"


def make_record(key: int, sequence: int, note: str | None) -> dict[str, Any]:
    """A change; without a note, a delete."""
    keys = {"id": {"N": str(key)}}
    image = {} if note is None else {"NewImage": {**keys, "note": {"S": note}}}
    return {
        "eventID": f"{sequence:032x}",
        "eventName": "REMOVE" if note is None else "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": 1_767_225_600,
            "Keys": keys,
            "SequenceNumber": str(10**20 + sequence),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            "SizeBytes": 10,
            **image,
        },
    }


async def query(stack: Embedded, sql: str) -> list[list[Any]]:
    rows = await stack.run_sql(stack.config.pipelines[0], (Statement("test", sql),))
    return [[next(iter(field.values())) for field in row] for row in rows]


async def test_whatever_is_delivered_twice_cut_again_or_late() -> None:
    async with Embedded(CONFIG) as stack:
        await stack.create_tables()
        await stack.connect()

        async def deliver(*records: dict[str, Any]) -> None:
            result = await stack.invoke_ingest(orjson.dumps({"Records": records}))
            assert not result.error, result
            assert orjson.loads(result.payload) == {"batchItemFailures": []}

        first = [make_record(key, key, f"first {key}") for key in (1, 2, 3)]
        await deliver(*first)
        await deliver(*first)
        # The same again and more, as after a partial retry.
        await deliver(*first[1:], make_record(4, 4, "first 4"))
        await stack.settle()
        # A delete, and in a later file what was before it.
        await deliver(make_record(1, 20, None))
        await stack.settle()
        await deliver(make_record(1, 10, "before the delete"))
        # A child shard's change, and in a later file its parent's.
        await deliver(make_record(2, 40, "child"))
        await stack.settle()
        await deliver(make_record(2, 30, "parent"))
        await stack.settle()

        mirror = await query(stack, 'SELECT "id", "note" FROM public.orders_current ORDER BY 1')
        assert mirror == [[2, "child"], [3, "first 3"], [4, "first 4"]]
        log = await query(stack, 'SELECT "_event_id" FROM public.orders_log')
        assert sorted(int(event_id, 16) for (event_id,) in log) == [1, 2, 3, 4, 10, 20, 30, 40]
        files = [key async for key in stack.bucket.list_keys("data/")]
        assert len(files) == 6
        async with asyncio.timeout(200):  # the last load is in the ledger before it is in the log
            while (metrics := stack.metrics()).get("LoadedRows", 0) < 10:
                await asyncio.sleep(0.1)
        assert (metrics["Records"], metrics["AlreadyThere"], metrics["DecodedNative"]) == (13, 1, 13)
        assert (metrics["Files"], metrics["LoadedRows"]) == (6, 10)
        # Nothing failed here; see below. And Lambda has no mappings here that the coordinator could look after.
        looked = {"CompleteBehindSeconds", "LookFailed", "StreamProblems"}
        assert watched_metrics(read_template()) - metrics.keys() == {"Failed", "Quarantined"} | looked
        # The real client hands over bytes; when it no longer does, this says so.
        assert metrics["EventsAsDict"] == 0


async def test_what_cannot_be_deployed_or_stored_is_no_success() -> None:
    async with Embedded(CONFIG) as stack:
        with pytest.raises(ConfigError, match="reads another table"):
            await stack.deploy(CONFIG.replace('table = "orders"', 'table = "others"'))
        with pytest.raises(ConfigError, match="TOML"):
            await stack.deploy("[[pipelines")
        assert stack.config.pipelines[0].table == "orders"
        # And what cannot be stored is no success.
        await stack.create_tables()
        await stack.dynamodb.delete_table(TableName="fastetl-ledger")
        result = await stack.invoke_ingest(orjson.dumps({"Records": [make_record(1, 1, "x")]}))
        assert result.error
        assert "LedgerError" in str(result.payload)


async def test_a_table_read_through_kinesis() -> None:
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
    config = CONFIG.replace('table = "orders"', f'table = "orders"\nsource = "kinesis"\nstream_arn = "{arn}"')
    mapping = MappingSettings(batch_size=7, maximum_batching_window_in_seconds=0.1, repeat_share=0.5, seed=3)
    async with Embedded(config, mapping=mapping) as stack:
        await stack.create_tables()
        await stack.connect()
        for number in range(60):
            key = {"id": {"N": str(number % 9)}}
            if number % 11 == 10:
                await stack.dynamodb.delete_item(TableName="orders", Key=key)
            else:
                await stack.dynamodb.put_item(TableName="orders", Item={**key, "note": {"S": f"n{number}"}})
        await stack.settle()
        items = (await stack.dynamodb.scan(TableName="orders"))["Items"]
        expected = sorted([int(item["id"]["N"]), item["note"]["S"]] for item in items)
        assert await query(stack, 'SELECT "id", "note" FROM public.orders_current ORDER BY 1') == expected
        (counted,) = await query(stack, 'SELECT COUNT(*), COUNT(DISTINCT "_event_id") FROM public.orders_log')
        assert counted == [stack.sources["orders"].counts.read] * 2
        assert stack.sources["orders"].counts.repeated


async def test_a_reject_and_a_pause_show_in_status_and_in_the_metrics_that_alarms_watch() -> None:
    async with Embedded(CONFIG) as stack:
        await stack.create_tables()
        await stack.connect()
        await stack.run_sql(stack.config.pipelines[0], (Statement("drop", 'DROP TABLE "public"."orders_fences"'),))
        await stack.dynamodb.put_item(TableName="orders", Item={"id": {"N": "1"}, "note": {"S": "n" * 21}})
        await stack.dynamodb.put_item(TableName="orders", Item={"id": {"N": "2"}, "note": {"S": "fits"}})
        operator = make_operator(stack)
        async with asyncio.timeout(200):
            while not (status := await operator.status()).paused or not stack.metrics().get("Paused"):
                await asyncio.sleep(0.2)
        assert "orders_fences" in status.paused

        assert (status.paused_by, status.rejects, status.pending_files) == ("fastetl", 1, 1)
        # Events of a mapping with a tumbling window say their shard, and the invocation that ends it writes nothing.
        (shard_id,) = {file.shard_id async for file in stack.ledger.files.scan("orders")}
        assert shard_id.startswith("shardId-")
        metrics = stack.metrics()
        assert metrics["Rejects"] == metrics["RejectsByReason"] == 1
        assert metrics["Paused"] >= 1
        assert metrics["PossibleGap"] == 0


async def test_the_warehouses_words_on_a_row_that_does_not_fit_show_in_status() -> None:
    async with Embedded(CONFIG) as stack:
        await stack.create_tables()
        operator = make_operator(stack)
        records = [make_record(number, number, "fits") for number in (1, 2)]
        await stack.invoke_ingest(orjson.dumps({"Records": records}))
        (key,) = [key async for key in stack.bucket.list_keys("data/")]
        first, second = gzip.decompress(await stack.bucket.get(key)).splitlines()
        broken = [first, second.replace(b"fits", b"n" * 21), b""]
        await stack.bucket.replace(key, gzip.compress(b"\n".join(broken)))
        await stack.connect()
        async with asyncio.timeout(200):
            while not (found := [batch for batch in (await operator.status()).open_batches if batch.error]):
                await asyncio.sleep(0.2)
        assert re.fullmatch(rf"copy: s3://\S+/{key}, line 2, column note: 1204 .+", found[0].error), found
        assert (found[0].step, found[0].failure) == ("copy", "data")
        assert not [line for line in stack.log if "1204" in line]


async def test_a_quarantined_file_shows_in_status_and_in_the_metric_that_its_alarm_watches() -> None:
    # A suspect is tried again after 30 seconds, and blamed once another file has been loaded in between.
    async with Embedded(CONFIG) as stack:
        await stack.create_tables()
        operator = make_operator(stack)
        await stack.invoke_ingest(orjson.dumps({"Records": [make_record(0, 1, "spoilt")]}))
        (key,) = [key async for key in stack.bucket.list_keys("data/")]
        await stack.bucket.replace(key, b"no gzip at all")
        await stack.connect()
        number = 1
        async with asyncio.timeout(250):
            while not (await operator.status()).quarantined or not stack.metrics().get("Quarantined"):
                number += 1
                await stack.invoke_ingest(orjson.dumps({"Records": [make_record(number, number, "good")]}))
                await asyncio.sleep(3)
        await stack.settle()
        status = await operator.status()
        assert (status.quarantined, status.pending_files, status.paused) == (1, 0, "")
        assert stack.metrics()["Quarantined"] == 1
        assert stack.metrics()["Failed"] >= 1
        rows = await query(stack, 'SELECT "id" FROM public.orders_current ORDER BY 1')
        assert rows == [[key] for key in range(2, number + 1)]
