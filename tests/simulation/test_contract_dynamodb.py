"""What fastetl expects of DynamoDB, of the fake and of moto alike."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.simulation.conftest import TABLE
from tests.simulation.fake_dynamodb import FakeDynamoDB

Item = dict[str, Any]


def item(pk: str, **attributes: Any) -> Item:
    return {"pk": {"S": pk}, **attributes}


def code_of(raised: pytest.ExceptionInfo[ClientError]) -> str:
    return raised.value.response["Error"]["Code"]


async def get(client: Any, pk: str) -> Item | None:
    answer = await client.get_item(TableName=TABLE, Key={"pk": {"S": pk}}, ConsistentRead=True)
    found: Item | None = answer.get("Item")
    return found


SAMPLE = item(
    "a",
    state={"S": "PENDING"},
    attempt={"N": "3"},
    open={"L": [{"S": "x"}, {"S": "y"}]},
    deep={"M": {"below": {"S": "deep"}}},
    tags={"SS": ["red", "blue"]},
)

CONDITIONS = [
    ("attribute_exists(#state)", True),
    ("attribute_not_exists(#state)", False),
    ("attribute_not_exists(absent)", True),
    ("#state = :pending", True),
    ("#state <> :pending", False),
    ("absent <> :pending", True),
    ("absent = :pending", False),
    ("attempt = :three", True),
    ("attempt >= :three AND attempt <= :three", True),
    ("attempt < :three OR attempt > :three", False),
    ("NOT attempt < :three", True),
    ("#state IN (:three, :pending)", True),
    ("NOT #state IN (:three)", True),
    ("(attempt < :three OR #state = :pending) AND attribute_exists(pk)", True),
    ("attempt < :three OR #state = :pending AND attribute_not_exists(pk)", False),
    ("begins_with(#state, :pend)", True),
    ("begins_with(attempt, :pend)", False),
    ("contains(#open, :x)", True),
    ("contains(#open, :pend)", False),
    ("contains(tags, :red)", True),
    ("deep.below = :deep", True),
    ("#open[1] = :y", True),
    ("attempt BETWEEN :three AND :three", True),
    ("attempt = :pending", False),
]
VALUES = {
    ":pending": {"S": "PENDING"},
    ":three": {"N": "3.0"},
    ":pend": {"S": "PEND"},
    ":x": {"S": "x"},
    ":y": {"S": "y"},
    ":red": {"S": "red"},
    ":deep": {"S": "deep"},
}
NAMES = {"#state": "state", "#open": "open"}


def used(text: str, placeholders: dict[str, Any]) -> dict[str, Any]:
    words = text.replace("(", " ").replace(")", " ").replace(",", " ").replace("[", " ").split()
    return {name: value for name, value in placeholders.items() if name in words}


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS)
async def test_conditions_are_evaluated(dynamodb: Any, condition: str, holds: bool) -> None:
    await dynamodb.put_item(TableName=TABLE, Item=SAMPLE)
    placeholders: dict[str, Any] = {}
    if names := used(condition, NAMES):
        placeholders["ExpressionAttributeNames"] = names
    if values := used(condition, VALUES):
        placeholders["ExpressionAttributeValues"] = values
    put = dynamodb.put_item(TableName=TABLE, Item=item("a"), ConditionExpression=condition, **placeholders)
    if holds:
        await put
        assert await get(dynamodb, "a") == item("a")
    else:
        with pytest.raises(ClientError) as raised:
            await put
        assert code_of(raised) == "ConditionalCheckFailedException"


async def test_a_failed_put_shows_what_stands_in_the_way(dynamodb: Any) -> None:
    await dynamodb.put_item(TableName=TABLE, Item=item("a", n={"N": "1"}))
    with pytest.raises(ClientError) as raised:
        await dynamodb.put_item(
            TableName=TABLE,
            Item=item("a", n={"N": "2"}),
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    response: Any = raised.value.response
    assert response["Item"] == item("a", n={"N": "1"})
    assert await get(dynamodb, "a") == item("a", n={"N": "1"})


async def test_updates_set_remove_and_add(dynamodb: Any) -> None:
    await dynamodb.put_item(TableName=TABLE, Item=item("a", n={"N": "1"}, gone={"S": "x"}, l={"L": [{"S": "x"}]}))
    answer = await dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "a"}},
        UpdateExpression="SET n = n + :one, kept = if_not_exists(kept, :one), #l = list_append(#l, :more) REMOVE gone"
        " ADD hits :one",
        ExpressionAttributeNames={"#l": "l"},
        ExpressionAttributeValues={":one": {"N": "1"}, ":more": {"L": [{"S": "y"}]}},
        ReturnValues="ALL_NEW",
    )
    after = item("a", n={"N": "2"}, kept={"N": "1"}, hits={"N": "1"}, l={"L": [{"S": "x"}, {"S": "y"}]})
    assert answer["Attributes"] == after
    assert await get(dynamodb, "a") == after


async def test_an_update_makes_the_item(dynamodb: Any) -> None:
    await dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "new"}},
        UpdateExpression="SET n = if_not_exists(n, :zero)",
        ExpressionAttributeValues={":zero": {"N": "0"}},
    )
    assert await get(dynamodb, "new") == item("new", n={"N": "0"})
    assert await get(dynamodb, "none") is None


@pytest.mark.parametrize("values", [{":a": {"S": "x"}, ":unused": {"S": "x"}}, {}])
async def test_placeholders_must_match(values: dict[str, Any]) -> None:
    # Not of moto: it leaves placeholders of a PutItem unchecked.
    given = {"ExpressionAttributeValues": values} if values else {}
    with pytest.raises(ClientError) as raised:
        FakeDynamoDB().put_item(TableName=TABLE, Item=item("a"), ConditionExpression="pk = :a", **given)
    assert code_of(raised) == "ValidationException"


def update(pk: str, was: int, becomes: int) -> dict[str, Any]:
    return {
        "Update": {
            "TableName": TABLE,
            "Key": {"pk": {"S": pk}},
            "UpdateExpression": "SET n = :becomes",
            "ConditionExpression": "n = :was",
            "ExpressionAttributeValues": {":was": {"N": str(was)}, ":becomes": {"N": str(becomes)}},
        }
    }


async def test_a_transaction_is_all_or_nothing(dynamodb: Any) -> None:
    for pk in ("a", "b"):
        await dynamodb.put_item(TableName=TABLE, Item=item(pk, n={"N": "1"}))
    with pytest.raises(ClientError) as raised:
        await dynamodb.transact_write_items(TransactItems=[update("a", 1, 2), update("b", 7, 2)])
    assert code_of(raised) == "TransactionCanceledException"
    codes = [reason["Code"] for reason in raised.value.response["CancellationReasons"]]
    assert codes == ["None", "ConditionalCheckFailed"]
    assert await get(dynamodb, "a") == item("a", n={"N": "1"})
    new = {"Put": {"TableName": TABLE, "Item": item("c"), "ConditionExpression": "attribute_not_exists(pk)"}}
    await dynamodb.transact_write_items(TransactItems=[update("a", 1, 2), update("b", 1, 2), new])
    assert [await get(dynamodb, pk) for pk in "abc"] == [
        item("a", n={"N": "2"}),
        item("b", n={"N": "2"}),
        item("c"),
    ]


async def test_an_item_is_written_once_in_a_transaction(dynamodb: Any) -> None:
    await dynamodb.put_item(TableName=TABLE, Item=item("a", n={"N": "1"}))
    with pytest.raises(ClientError) as raised:
        await dynamodb.transact_write_items(TransactItems=[update("a", 1, 2), update("a", 1, 3)])
    assert code_of(raised) == "ValidationException"


async def test_many_items_are_read_at_once(dynamodb: Any) -> None:
    await dynamodb.put_item(TableName=TABLE, Item=item("a"))
    keys = [{"pk": {"S": "a"}}, {"pk": {"S": "none"}}]
    answer = await dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": keys, "ConsistentRead": True}})
    assert answer["Responses"] == {TABLE: [item("a")]}
    assert answer["UnprocessedKeys"] == {}
    with pytest.raises(ClientError) as raised:
        await dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": [keys[0], keys[0]]}})
    assert code_of(raised) == "ValidationException"


def waiting(name: str, q: str, created: int) -> Item:
    return item(
        f"F#{name}",
        q={"S": q},
        qk={"S": f"{created:013d}#{name}"},
        bytes={"N": "7"},
        layout_id={"S": "l"},
        key={"S": "k"},
    )


async def pages(client: Any, q: str, limit: int) -> list[list[Item]]:
    found: list[list[Item]] = []
    start: dict[str, Any] = {}
    while True:
        answer = await client.query(
            TableName=TABLE,
            IndexName="pending",
            KeyConditionExpression="q = :q",
            ExpressionAttributeValues={":q": {"S": q}},
            Limit=limit,
            **start,
        )
        found.append(answer["Items"])
        if "LastEvaluatedKey" not in answer:
            return found
        start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


async def test_the_index_holds_what_waits_oldest_first(dynamodb: Any) -> None:
    for n in (3, 1, 2):
        await dynamodb.put_item(TableName=TABLE, Item=waiting(f"f{n}", "p#0", n))
    await dynamodb.put_item(TableName=TABLE, Item=waiting("other", "p#1", 0))
    await dynamodb.put_item(TableName=TABLE, Item=item("F#not-waiting"))
    found = await pages(dynamodb, "p#0", 2)
    assert [row["qk"]["S"] for page in found for row in page] == [f"{n:013d}#f{n}" for n in (1, 2, 3)]
    await dynamodb.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "F#f1"}},
        UpdateExpression="REMOVE q, qk",
    )
    found = await pages(dynamodb, "p#0", 10)
    assert [row["pk"]["S"] for page in found for row in page] == ["F#f2", "F#f3"]


async def test_a_scan_filters_after_reading(dynamodb: Any) -> None:
    for pk in ("B#1", "B#2", "F#1"):
        await dynamodb.put_item(TableName=TABLE, Item=item(pk, pipeline={"S": "p"}))
    answer = await dynamodb.scan(
        TableName=TABLE,
        FilterExpression="begins_with(pk, :b) AND pipeline = :p",
        ExpressionAttributeValues={":b": {"S": "B#"}, ":p": {"S": "p"}},
    )
    assert sorted(row["pk"]["S"] for row in answer["Items"]) == ["B#1", "B#2"]
    assert answer["ScannedCount"] == 3
