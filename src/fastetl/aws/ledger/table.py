"""The ledger's one DynamoDB table: its keys, its conditional writes, and what DynamoDB's refusals mean.

Everything that must not happen twice is a condition on a write. A condition that fails means that someone else was
faster: `StaleStepError`, read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastetl.aws.calls import Refusal, gather, make_call
from fastetl.aws.ledger.items import write_item, write_value
from fastetl.errors import LedgerError, StaleStepError
from fastetl.limits import MAX_BATCH_GET_KEYS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from types_aiobotocore_dynamodb import DynamoDBClient

INDEX = "pending"

TABLE_SCHEMA: dict[str, Any] = {
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "q", "qk")],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": INDEX,
            "KeySchema": [{"AttributeName": "q", "KeyType": "HASH"}, {"AttributeName": "qk", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["bytes", "layout_id"]},
        }
    ],
}
"""What CreateTable takes; `template.yaml` has the same. `expires` is the time to live."""

_WITHOUT_TABLE = {"batch_get_item", "transact_write_items"}


class LedgerTable:
    """The table that every part of the ledger reads and writes."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        """Describe the table.

        Args:
            client: an open DynamoDB client.
            name: of the table.
        """
        self._client = client
        self.name = name

    def writing(
        self,
        pk: str,
        changes: Mapping[str, Any],
        *,
        unless_there: Mapping[str, Any] | None = None,
        remove: tuple[str, ...] = (),
        only_if: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Build the arguments of one conditional update.

        Args:
            pk: the item's key.
            changes: new values by attribute.
            unless_there: values of attributes that are set only where the item has none.
            remove: attributes to take away.
            only_if: values that the item's attributes must have; without it the update has no condition.

        Returns:
            Arguments of UpdateItem, which a member of a transaction takes too.
        """
        kept, was = unless_there or {}, only_if or {}
        sets = [f"#{name} = :{name}" for name in changes]
        sets += [f"#{name} = if_not_exists(#{name}, :{name})" for name in kept]
        update = "SET " + ", ".join(sets) + (" REMOVE " + ", ".join(f"#{name}" for name in remove) if remove else "")
        values = {f":{name}": value for name, value in {**changes, **kept}.items()}
        values |= {f":was_{name}": value for name, value in was.items()}
        write: dict[str, Any] = {
            "Key": write_item({"pk": pk}),
            "UpdateExpression": update,
            "ExpressionAttributeNames": {f"#{name}": name for name in (*changes, *kept, *remove, *was)},
            "ExpressionAttributeValues": write_item(values),
        }
        if was:
            write["ConditionExpression"] = " AND ".join(f"#{name} = :was_{name}" for name in was)
        return write

    async def update(self, pk: str, changes: Mapping[str, Any], **how: Any) -> None:
        """Update one item.

        Args:
            pk: the item's key.
            changes: new values by attribute.
            how: what `writing` takes besides.
        """
        await self.call("update_item", **self.writing(pk, changes, **how))

    async def get(self, pk: str) -> Mapping[str, Any] | None:
        """Read one item consistently; None where there is none.

        Args:
            pk: the item's key.
        """
        answer = await self.call("get_item", Key=write_item({"pk": pk}), ConsistentRead=True)
        row: Mapping[str, Any] | None = answer.get("Item")
        return row

    async def get_each(self, pks: Sequence[str]) -> list[Mapping[str, Any]]:
        """Read items consistently, in any order; those that are not there are left out.

        Args:
            pks: the items' keys; any number.
        """
        chunks = [pks[n : n + MAX_BATCH_GET_KEYS] for n in range(0, len(pks), MAX_BATCH_GET_KEYS)]
        found: list[Mapping[str, Any]] = []

        async def read_chunk(chunk: Sequence[str]) -> None:
            keys = [write_item({"pk": pk}) for pk in chunk]
            while keys:
                wanted = {self.name: {"Keys": keys, "ConsistentRead": True}}
                answer = await self.call("batch_get_item", RequestItems=wanted)
                found.extend(answer["Responses"].get(self.name, []))
                keys = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])

        await gather(read_chunk, chunks)
        return found

    async def scan(self, kind: str, pipeline: str) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the items of one kind that belong to a pipeline. Reads the whole table.

        Args:
            kind: what their keys begin with.
            pipeline: its name.
        """
        page: dict[str, Any] = {}
        while True:
            answer = await self.call(
                "scan",
                ConsistentRead=True,
                FilterExpression="begins_with(pk, :kind) AND pipeline = :pipeline",
                ExpressionAttributeValues={":kind": write_value(kind), ":pipeline": write_value(pipeline)},
                **page,
            )
            for row in answer["Items"]:
                yield row
            if "LastEvaluatedKey" not in answer:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Make one call to DynamoDB, and translate its refusal.

        Args:
            operation: of the client, as `put_item`.
            arguments: of the operation, without the table's name.

        Raises:
            StaleStepError: a condition failed, or another transaction was at the same item.
            LedgerError: anything else went wrong.
        """
        if operation not in _WITHOUT_TABLE:
            arguments["TableName"] = self.name
        return await make_call(
            lambda: getattr(self._client, operation)(**arguments),
            lambda refusal: _explain(operation, refusal),
            attempts=1,
        )


class ConditionFailedError(StaleStepError):
    """A condition was not met; `item` is what stands in the way, where DynamoDB gave it."""

    def __init__(self, operation: str, item: Mapping[str, Any] | None) -> None:
        self.item = item
        super().__init__(f"{operation}: someone else was faster")


def _explain(operation: str, refusal: Refusal) -> LedgerError:
    reasons = {reason.get("Code") for reason in refusal.response.get("CancellationReasons", [])}
    if refusal.code == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in reasons:
        return ConditionFailedError(operation, refusal.response.get("Item"))
    if refusal.code == "TransactionConflictException" or "TransactionConflict" in reasons:
        return StaleStepError(f"{operation}: someone else is changing the same item")
    return LedgerError(f"{operation}: {refusal}")


def if_absent() -> dict[str, str]:
    """Build the condition that there is no item under this key."""
    return {"ConditionExpression": "attribute_not_exists(pk)"}
