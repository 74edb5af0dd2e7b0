"""The stand-in for the event source mapping: moto's streams over HTTP, and a function that the test plays."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aioboto3
import orjson
import pytest
from moto.server import ThreadedMotoServer

from fastetl.local.functions.event_source import EventSource
from fastetl.local.functions.failed_batch import FailedBatch
from fastetl.local.functions.failure_destination import FailureDestination
from fastetl.local.functions.lambda_runtime import InvokeResult, Report
from fastetl.local.functions.mapping import MappingSettings
from fastetl.local.functions.readers import TableStream

CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
Answer = Callable[[list[dict[str, Any]]], Any]


class Function:
    """Remembers what it was invoked with, and answers as told: a value to return, or an exception."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.answer: Answer = lambda _: {"batchItemFailures": []}

    async def invoke(self, payload: bytes) -> InvokeResult:
        event = json.loads(payload)
        self.batches.append(event["Records"])
        answered = self.answer(event["Records"])
        if isinstance(answered, BaseException):
            return _result({"errorType": type(answered).__name__, "errorMessage": str(answered)}, "Unhandled")
        return _result(answered, "")

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for batch in self.batches for record in batch]

    @property
    def numbers(self) -> list[list[int]]:
        """The `n` of each record's new image, by batch."""
        return [[int(record["dynamodb"]["NewImage"]["n"]["N"]) for record in batch] for batch in self.batches]


def _result(answer: object, error: str) -> InvokeResult:
    return InvokeResult(orjson.dumps(answer), error, Report("request-1", 1.0, 128, 50), ())


class Source:
    """A table with a stream, and mappings on it."""

    def __init__(self, clients: dict[str, Any], stream_arn: str) -> None:
        self.dynamodb = clients["dynamodb"]
        self.streams = clients["dynamodbstreams"]
        self.s3 = clients["s3"]
        self.stream_arn = stream_arn
        self.function = Function()

    async def put(self, key: str, **attributes: Any) -> None:
        await self.dynamodb.put_item(TableName="orders", Item={"id": {"S": key}, **attributes})

    async def put_numbers(self, count: int, key: str | None = None) -> None:
        for number in range(count):
            await self.put(key or f"k{number}", n={"N": str(number)})

    async def deliver(self, on_failure: Any = None, **settings: Any) -> EventSource:
        """Run a mapping from the stream's beginning until everything is dealt with."""
        chosen = MappingSettings(**{"retry_delay_seconds": 0.001, **settings})
        source = EventSource(
            TableStream(self.streams, self.stream_arn),
            self.function.invoke,
            chosen,
            clock=time.time,
            on_failure=on_failure,
        )
        async with source:
            await asyncio.wait_for(source.drain(), 20)
        return source


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    session = aioboto3.Session()
    at = {"endpoint_url": f"http://{host}:{port}", **CREDENTIALS}
    try:
        async with (
            session.client("dynamodb", **at) as dynamodb,
            session.client("dynamodbstreams", **at) as streams,
            session.client("s3", **at) as s3,
        ):
            created = await dynamodb.create_table(
                TableName="orders",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            )
            await s3.create_bucket(Bucket="lake")
            clients = {"dynamodb": dynamodb, "dynamodbstreams": streams, "s3": s3}
            yield Source(clients, created["TableDescription"]["LatestStreamArn"])
            await dynamodb.delete_table(TableName="orders")  # moto keeps its state in the process
    finally:
        moto.stop()


# --- form --------------------------------------------------------------------------------------------------------


async def test_a_record_has_the_form_that_lambda_gives_it(source: Source) -> None:
    before = int(time.time())
    item = {"b": {"B": b"\x00\xff"}, "bs": {"BS": [b"a"]}, "m": {"M": {"l": {"L": [{"B": b"x"}]}}}, "z": {"NULL": True}}
    await source.put("k", **item)
    await source.dynamodb.delete_item(TableName="orders", Key={"id": {"S": "k"}})

    await source.deliver()

    insert, remove = source.function.records
    assert insert["eventSource"] == "aws:dynamodb"
    assert insert["eventSourceARN"] == source.stream_arn
    assert (insert["eventName"], insert["eventVersion"], insert["awsRegion"]) == ("INSERT", "1.1", "us-east-1")
    assert "userIdentity" not in insert
    change = insert["dynamodb"]
    assert change["Keys"] == {"id": {"S": "k"}}
    assert change["NewImage"] == {
        "id": {"S": "k"},
        "b": {"B": "AP8="},
        "bs": {"BS": ["YQ=="]},
        "m": {"M": {"l": {"L": [{"B": "eA=="}]}}},
        "z": {"NULL": True},
    }
    assert isinstance(change["ApproximateCreationDateTime"], int)
    assert before <= change["ApproximateCreationDateTime"] <= time.time()
    assert change["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert change["SequenceNumber"].isdecimal()
    assert remove["eventName"] == "REMOVE"
    assert remove["dynamodb"]["OldImage"] == change["NewImage"]
    assert "NewImage" not in remove["dynamodb"]


async def test_text_outside_ascii_passes(source: Source) -> None:
    await source.put("ключ", t={"S": "😀"})

    await source.deliver()

    (record,) = source.function.records
    assert record["dynamodb"]["NewImage"] == {"id": {"S": "ключ"}, "t": {"S": "😀"}}


# --- what moto writes and DynamoDB would not ---------------------------------------------------------------------


async def test_an_upsert_is_one_insert(source: Source) -> None:
    for key in ("a", "b"):
        await source.dynamodb.update_item(
            TableName="orders",
            Key={"id": {"S": key}},
            UpdateExpression="SET n = :n",
            ExpressionAttributeValues={":n": {"N": "7"}},
        )

    await source.deliver()

    assert [record["eventName"] for record in source.function.records] == ["INSERT", "INSERT"]
    assert source.function.numbers == [[7, 7]]


async def test_a_key_alone_is_an_insert_too(source: Source) -> None:
    await source.put("a")
    await source.dynamodb.delete_item(TableName="orders", Key={"id": {"S": "a"}})
    await source.put("a", n={"N": "1"})
    await source.put("b")

    await source.deliver()

    assert [record["eventName"] for record in source.function.records] == ["INSERT", "REMOVE", "INSERT", "INSERT"]


async def test_a_write_that_changes_nothing_is_no_change(source: Source) -> None:
    await source.put("a", n={"N": "1"}, s={"SS": ["x", "y"]})
    await source.put("a", n={"N": "1"}, s={"SS": ["y", "x"]})
    await source.put("a", n={"N": "2"}, s={"SS": ["y", "x"]})

    await source.deliver()

    assert [record["eventName"] for record in source.function.records] == ["INSERT", "MODIFY"]


async def test_reading_goes_on_after_a_cancelled_transaction(source: Source) -> None:
    mapping = EventSource(
        TableStream(source.streams, source.stream_arn), source.function.invoke, MappingSettings(), clock=time.time
    )
    impossible = {"TableName": "orders", "Item": {"id": {"S": "a"}}, "ConditionExpression": "attribute_not_exists(id)"}
    async with mapping:
        await source.put("a", n={"N": "1"})
        await asyncio.wait_for(mapping.drain(), 10)
        with pytest.raises(source.dynamodb.exceptions.TransactionCanceledException):
            await source.dynamodb.transact_write_items(TransactItems=[{"Put": impossible}])
        await source.put("b", n={"N": "2"})
        await asyncio.wait_for(mapping.drain(), 10)

    assert source.function.numbers == [[1], [2]]


# --- batches -----------------------------------------------------------------------------------------------------


async def test_batches_hold_at_most_their_size_in_order(source: Source) -> None:
    await source.put_numbers(25)

    mapping = await source.deliver(batch_size=10)

    assert source.function.numbers == [list(range(10)), list(range(10, 20)), list(range(20, 25))]
    assert (mapping.counts.read, mapping.counts.acknowledged, mapping.counts.invocations) == (25, 25, 3)


async def test_more_than_one_read_is_followed_to_its_end(source: Source) -> None:
    for start in range(0, 2100, 25):
        puts = [{"PutRequest": {"Item": {"id": {"S": str(n)}, "n": {"N": str(n)}}}} for n in range(start, start + 25)]
        await source.dynamodb.batch_write_item(RequestItems={"orders": puts})

    await source.deliver(batch_size=10_000, maximum_batching_window_in_seconds=1)

    assert [number for batch in source.function.numbers for number in batch] == list(range(2100))


async def test_a_batching_window_gathers_records(source: Source) -> None:
    settings = MappingSettings(batch_size=100, maximum_batching_window_in_seconds=1.5)
    mapping = EventSource(
        TableStream(source.streams, source.stream_arn), source.function.invoke, settings, clock=time.time
    )
    async with mapping:
        await source.put_numbers(3)
        await asyncio.sleep(0.5)
        await source.put("late", n={"N": "3"})
        while not source.function.batches:
            await asyncio.sleep(0.01)

    assert source.function.numbers == [[0, 1, 2, 3]]


async def test_an_event_stays_within_six_megabytes(source: Source) -> None:
    for number in range(18):
        await source.put(f"k{number}", n={"N": str(number)}, ballast={"S": "x" * 390_000})

    await source.deliver(batch_size=100, maximum_batching_window_in_seconds=300)

    assert [number for batch in source.function.numbers for number in batch] == list(range(18))
    sizes = [len(orjson.dumps({"Records": batch})) for batch in source.function.batches]
    assert max(sizes) <= 6 * 1024 * 1024
    assert len(source.function.batches[0]) == 16


async def test_lanes_keep_the_order_of_each_item(source: Source) -> None:
    for number in range(60):
        await source.put(f"k{number % 6}", n={"N": str(number)})

    await source.deliver(parallelization_factor=4, batch_size=5)

    for key in range(6):
        seen = [
            int(record["dynamodb"]["NewImage"]["n"]["N"])
            for record in source.function.records
            if record["dynamodb"]["Keys"]["id"]["S"] == f"k{key}"
        ]
        assert seen == list(range(key, 60, 6))


# --- failures ----------------------------------------------------------------------------------------------------


async def test_a_failed_batch_is_retried_until_it_passes(source: Source) -> None:
    await source.put_numbers(4)
    source.function.answer = lambda _: ValueError("no") if len(source.function.batches) < 4 else None

    mapping = await source.deliver()

    assert source.function.numbers == [[0, 1, 2, 3]] * 4
    assert mapping.counts.failed_invocations == 3
    assert mapping.counts.dropped == 0


async def test_a_partial_response_is_the_place_to_go_on_from(source: Source) -> None:
    await source.put_numbers(5)

    def answer(records: list[dict[str, Any]]) -> dict[str, Any]:
        if len(source.function.batches) > 1:
            return {"batchItemFailures": []}
        failed = [records[4], records[2]]
        return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]} for record in failed]}

    source.function.answer = answer
    await source.deliver(report_batch_item_failures=True)

    assert source.function.numbers == [[0, 1, 2, 3, 4], [2, 3, 4]]


@pytest.mark.parametrize(
    "answer",
    [
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"wrong": "1"}]},
        {"batchItemFailures": [{"itemIdentifier": "999"}]},
        {"batchItemFailures": ["999"]},
        {"batchItemFailures": 1},
        "text",
    ],
)
async def test_an_answer_that_makes_no_sense_fails_the_batch(source: Source, answer: object) -> None:
    await source.put_numbers(2)
    source.function.answer = lambda _: answer

    mapping = await source.deliver(report_batch_item_failures=True, maximum_retry_attempts=1)

    assert source.function.numbers == [[0, 1], [0, 1]]
    assert mapping.counts.dropped == 2


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}, []])
async def test_an_empty_answer_acknowledges_the_batch(source: Source, answer: object) -> None:
    await source.put_numbers(2)
    source.function.answer = lambda _: answer

    mapping = await source.deliver(report_batch_item_failures=True)

    assert source.function.numbers == [[0, 1]]
    assert mapping.counts.acknowledged == 2


async def test_partial_responses_count_only_where_they_are_asked_for(source: Source) -> None:
    await source.put_numbers(2)
    source.function.answer = lambda _: {"batchItemFailures": [{"itemIdentifier": ""}]}

    await source.deliver(report_batch_item_failures=False)

    assert source.function.numbers == [[0, 1]]


async def test_bisecting_isolates_the_one_bad_record_and_uses_up_no_retries(source: Source) -> None:
    await source.put_numbers(8)
    source.function.answer = lambda records: (
        ValueError("bad") if any(record["dynamodb"]["NewImage"]["n"]["N"] == "5" for record in records) else None
    )
    given_up: list[FailedBatch] = []

    async def keep(failed: FailedBatch) -> None:
        given_up.append(failed)

    mapping = await source.deliver(keep, bisect_batch_on_function_error=True, maximum_retry_attempts=0)

    assert source.function.numbers == [list(range(8)), [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [4], [5], [6, 7]]
    assert [len(failed.records) for failed in given_up] == [1]
    assert given_up[0].condition == "RetryAttemptsExhausted"
    assert (mapping.counts.acknowledged, mapping.counts.dropped) == (7, 1)


async def test_what_is_given_up_lies_on_s3_with_its_whole_event(source: Source) -> None:
    await source.put_numbers(3)
    source.function.answer = lambda _: ValueError("never")
    destination = FailureDestination(source.s3, "lake", "arn:aws:lambda:x:function:ingest", time.time, "mapping-1")

    await source.deliver(destination.write, maximum_retry_attempts=2)

    listed = await source.s3.list_objects_v2(Bucket="lake", Prefix="aws/lambda/mapping-1/shardId-")
    (entry,) = listed["Contents"]
    body = json.loads(await (await source.s3.get_object(Bucket="lake", Key=entry["Key"]))["Body"].read())
    assert body["requestContext"] == {
        "requestId": "request-1",
        "functionArn": "arn:aws:lambda:x:function:ingest:$LATEST",
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 3,
    }
    assert body["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    info = body["DDBStreamBatchInfo"]
    assert info["batchSize"] == 3
    assert info["streamArn"] == source.stream_arn
    assert int(info["startSequenceNumber"]) < int(info["endSequenceNumber"])
    assert json.loads(body["payload"]) == {"Records": source.function.batches[0]}
    await source.s3.delete_object(Bucket="lake", Key=entry["Key"])


async def test_records_that_are_too_old_are_given_up_uninvoked(source: Source) -> None:
    await source.put_numbers(2)
    given_up: list[FailedBatch] = []

    async def keep(failed: FailedBatch) -> None:
        given_up.append(failed)

    settings = MappingSettings(maximum_record_age_in_seconds=60)
    in_two_minutes = EventSource(
        TableStream(source.streams, source.stream_arn),
        source.function.invoke,
        settings,
        clock=lambda: time.time() + 120,
        on_failure=keep,
    )
    async with in_two_minutes:
        await asyncio.wait_for(in_two_minutes.drain(), 10)

    assert source.function.batches == []
    assert [(failed.condition, len(failed.records), failed.result) for failed in given_up] == [
        ("RecordAgeExceeded", 2, None)
    ]


# --- at least once -----------------------------------------------------------------------------------------------


async def test_batches_can_come_twice_whole_or_cut_again(source: Source) -> None:
    await source.put_numbers(40)

    mapping = await source.deliver(batch_size=4, repeat_share=1.0, recut_share=1.0, seed=7)

    assert mapping.counts.repeated == 20
    assert mapping.counts.acknowledged == 40
    delivered = [tuple(batch) for batch in source.function.numbers]
    assert all(delivered.count(tuple(range(start, start + 4))) >= 2 for start in range(0, 40, 4))
    assert any(len(batch) < 4 for batch in delivered)


async def test_draining_fails_when_the_mapping_has_broken(source: Source) -> None:
    await source.put_numbers(1)

    async def refuse(_: bytes) -> InvokeResult:
        raise ConnectionError("no function")

    mapping = EventSource(TableStream(source.streams, source.stream_arn), refuse, MappingSettings(), clock=time.time)
    async with mapping:
        with pytest.raises(ConnectionError, match="no function"):
            await asyncio.wait_for(mapping.drain(), 10)
