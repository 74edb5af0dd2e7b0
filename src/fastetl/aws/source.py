"""The edge to the table that a pipeline carries over: what it is, and what is in it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from fastetl.aws.calls import Refusal, make_call
from fastetl.aws.client_token import Token, build_token
from fastetl.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodbstreams import DynamoDBStreamsClient

_NO_RECOVERY = "PointInTimeRecoveryUnavailableException"

Item = dict[str, Any]
"""An item as streams and exports write it: typed values, binary as base64."""


class Described(msgspec.Struct, frozen=True):
    """A table, as far as fastetl has use for it."""

    name: str
    arn: str
    keys: tuple[str, ...]
    """The partition key, and the sort key if there is one."""
    key_types: tuple[str, ...]
    items: int
    """DynamoDB counts them every six hours."""
    bytes: int
    stream_arn: str
    """Empty without a stream."""
    view_type: str
    """What the stream's records hold; empty without a stream."""


class SourceTable:
    """One DynamoDB table. Every method raises `SourceError` when DynamoDB does not do what was asked."""

    def __init__(self, client: DynamoDBClient, name: str, streams: DynamoDBStreamsClient | None = None) -> None:
        """Describe a source table.

        Args:
            client: an open DynamoDB client.
            name: the table's name.
            streams: an open DynamoDB Streams client, for what is asked of the stream.
        """
        self._client = client
        self._streams = streams
        self.name = name

    async def describe(self) -> Described:
        """Look at the table itself."""
        table = (await self._call("describe_table", TableName=self.name))["Table"]
        types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
        # HASH sorts before RANGE.
        keys = [each["AttributeName"] for each in sorted(table["KeySchema"], key=lambda each: each["KeyType"])]
        stream = table.get("StreamSpecification", {})
        return Described(
            name=self.name,
            arn=table["TableArn"],
            keys=tuple(keys),
            key_types=tuple(types[key] for key in keys),
            items=table.get("ItemCount", 0),
            bytes=table.get("TableSizeBytes", 0),
            stream_arn=table.get("LatestStreamArn", "") if stream.get("StreamEnabled") else "",
            view_type=stream.get("StreamViewType", "") if stream.get("StreamEnabled") else "",
        )

    async def sample(self, count: int) -> list[Item]:
        """Read the first `count` items that DynamoDB gives, which are in no order; at most 1 MB of them.

        Args:
            count: of items.
        """
        answer = await self._call("scan", TableName=self.name, Limit=count)
        return [as_written(item) for item in answer["Items"]]

    async def scan(self, segment: int, segments: int) -> AsyncIterator[tuple[list[Item], float]]:
        """Read one of the table's segments, page by page.

        Args:
            segment: its number, from 0 on.
            segments: how many the table is divided into.

        Returns:
            Pages of items, each with the read units that it took.
        """
        page: dict[str, Any] = {}
        while True:
            answer = await self._call(
                "scan",
                TableName=self.name,
                Segment=segment,
                TotalSegments=segments,
                ConsistentRead=True,
                ReturnConsumedCapacity="TOTAL",
                **page,
            )
            units = answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)
            yield [as_written(item) for item in answer["Items"]], units
            if "LastEvaluatedKey" not in answer:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def get(self, key: Item) -> Item | None:
        """Read one item consistently; None where there is none.

        Args:
            key: its key attributes with their typed values, binary as base64.
        """
        wanted = {
            name: {tag: base64.b64decode(content) if tag == "B" else content}
            for name, value in key.items()
            for tag, content in value.items()
        }
        answer = await self._call("get_item", TableName=self.name, Key=wanted, ConsistentRead=True)
        return as_written(answer["Item"]) if "Item" in answer else None

    async def shard_bounds(self) -> dict[str, tuple[int, int]]:
        """Give, for each shard of the stream whose parent is known, where the parent ends and where it begins."""
        shards = await self._list_shards((await self.describe()).stream_arn)
        ends = {shard["ShardId"]: shard["SequenceNumberRange"].get("EndingSequenceNumber") for shard in shards}
        return {
            shard["ShardId"]: (int(ended), int(shard["SequenceNumberRange"]["StartingSequenceNumber"]))
            for shard in shards
            if (ended := ends.get(shard.get("ParentShardId", "")))
        }

    async def shard_ids(self) -> tuple[str, frozenset[str]]:
        """Give the label of the table's stream and the ids of its shards; empty where it has none."""
        arn = (await self.describe()).stream_arn
        return arn.rpartition("/")[2], frozenset(shard["ShardId"] for shard in await self._list_shards(arn))

    async def _list_shards(self, arn: str) -> list[Any]:
        shards: list[Any] = []
        page: dict[str, str] = {}
        while arn:
            answer = (await self._call("describe_stream", StreamArn=arn, **page))["StreamDescription"]
            shards += answer["Shards"]
            if not answer.get("LastEvaluatedShardId"):
                break
            page = {"ExclusiveStartShardId": answer["LastEvaluatedShardId"]}
        return shards

    async def export(self, bucket: str, prefix: str, token: Token) -> str:
        """Have the table exported as it is now. The same token gives the same export, for 8 hours.

        Args:
            bucket: that the export is written to.
            prefix: of its keys.
            token: what tells this export from every other of the account.

        Returns:
            The export's ARN.
        """
        arn = (await self.describe()).arn
        answer = await self._call(
            "export_table_to_point_in_time",
            TableArn=arn,
            S3Bucket=bucket,
            S3Prefix=prefix,
            ExportFormat="DYNAMODB_JSON",
            ClientToken=build_token(token),
        )
        return str(answer["ExportDescription"]["ExportArn"])

    async def exported(self, export_arn: str) -> bool:
        """Ask whether an export is complete.

        Args:
            export_arn: of the export.

        Raises:
            SourceError: it failed.
        """
        described = (await self._call("describe_export", ExportArn=export_arn))["ExportDescription"]
        if described["ExportStatus"] == "FAILED":
            code, message = described.get("FailureCode", ""), described.get("FailureMessage", "")
            remedy = "mend the cause, then `fastetl backfill --give-up` lets the next backfill begin another"
            raise SourceError(f"the export of {self.name} failed: {code}: {message}; {remedy}")
        return bool(described["ExportStatus"] == "COMPLETED")

    async def _call(self, operation: str, **arguments: Any) -> Any:
        client: Any = self._streams if operation == "describe_stream" else self._client

        def refuse(refusal: Refusal) -> SourceError:
            remedy = "; enable it, or read the table itself with --scan" if refusal.code == _NO_RECOVERY else ""
            return SourceError(f"{operation} {self.name}: {refusal}{remedy}")

        return await make_call(lambda: getattr(client, operation)(**arguments), refuse)


def as_written(item: Item) -> Item:
    """Give an item of the SDK as streams write it: the SDK has decoded its binary values."""
    written: Item = orjson.loads(orjson.dumps(item, default=_base64))
    return written


def _base64(value: Any) -> str:
    return base64.b64encode(bytes(value)).decode()
