"""What an event source mapping reads: the shards of a table's stream, or those of a Kinesis stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fastetl.local.functions.kinesis_records import build_kinesis_record
from fastetl.local.functions.stream_records import Mender, StreamRecord, build_record

if TYPE_CHECKING:
    from types_aiobotocore_dynamodbstreams import DynamoDBStreamsClient

GET_RECORDS_LIMIT = 1000
"""Records that one GetRecords of DynamoDB Streams gives (DynamoDB API reference); of Kinesis it may give 10,000."""


class Slice(msgspec.Struct, frozen=True):
    """What one read of a shard gave."""

    records: Sequence[StreamRecord]
    last_read: str
    """The sequence number after which the next read begins."""
    is_empty: bool
    """Whether there was nothing new in the shard."""
    ends: bool
    """Whether the shard is closed, and read to its end."""


class Reader(Protocol):
    """A stream of records in shards."""

    stream_arn: str

    async def list_shards(self) -> list[tuple[str, str]]:
        """List the shards: the id of each, and its parent's or an empty text."""
        ...

    async def read(self, shard_id: str, last_read: str) -> Slice:
        """Read the records of a shard after a sequence number; from its beginning where that is empty."""
        ...


class TableStream:
    """A table's own stream. Every read asks for a new iterator: moto's do not outlive a cancelled transaction."""

    def __init__(self, client: DynamoDBStreamsClient, stream_arn: str) -> None:
        """Describe a table's stream to read.

        Args:
            client: an open client of DynamoDB Streams.
            stream_arn: of the stream.
        """
        self.stream_arn = stream_arn
        self._client = client
        self._menders: dict[str, Mender] = {}

    async def list_shards(self) -> list[tuple[str, str]]:
        """List the shards: the id of each, and its parent's or an empty text."""
        shards: list[tuple[str, str]] = []
        start: dict[str, Any] = {}
        while True:
            answer = await self._client.describe_stream(StreamArn=self.stream_arn, **start)
            described = answer["StreamDescription"]
            shards += [(shard["ShardId"], shard.get("ParentShardId", "")) for shard in described.get("Shards", ())]
            if not described.get("LastEvaluatedShardId"):
                return shards
            start = {"ExclusiveStartShardId": described["LastEvaluatedShardId"]}

    async def read(self, shard_id: str, last_read: str) -> Slice:
        """Read the records of a shard after a sequence number; from its beginning where that is empty.

        Args:
            shard_id: of the shard.
            last_read: the sequence number.
        """
        mender = self._menders.setdefault(shard_id, Mender())
        position: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if last_read:
            position = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": last_read}
        iterator = await self._client.get_shard_iterator(StreamArn=self.stream_arn, ShardId=shard_id, **position)
        answer = await self._client.get_records(ShardIterator=iterator["ShardIterator"], Limit=GET_RECORDS_LIMIT)
        records, ends = answer["Records"], not answer.get("NextShardIterator")
        if records:
            last_read = records[-1]["dynamodb"]["SequenceNumber"]
        mended = mender.mend(records) + (mender.mend(()) if ends else [])
        return Slice([build_record(record, self.stream_arn) for record in mended], last_read, not records, ends)


class KinesisStream:
    """A Kinesis stream, as Lambda polls it."""

    def __init__(self, client: Any, stream_arn: str) -> None:
        """Describe a Kinesis stream to read.

        Args:
            client: an open Kinesis client.
            stream_arn: of the stream; only its name is asked for.
        """
        self.stream_arn = stream_arn
        self._client = client
        self._name = stream_arn.rpartition("/")[2]

    async def list_shards(self) -> list[tuple[str, str]]:
        """List the shards: the id of each, and its parent's or an empty text."""
        shards: list[tuple[str, str]] = []
        start: dict[str, Any] = {"StreamName": self._name}
        while True:
            answer = await self._client.list_shards(**start)
            shards += [(shard["ShardId"], shard.get("ParentShardId", "")) for shard in answer["Shards"]]
            if not answer.get("NextToken"):
                return shards
            start = {"NextToken": answer["NextToken"]}

    async def read(self, shard_id: str, last_read: str) -> Slice:
        """Read the records of a shard after a sequence number; from its beginning where that is empty.

        Args:
            shard_id: of the shard.
            last_read: the sequence number.
        """
        position = {"ShardIteratorType": "TRIM_HORIZON"}
        if last_read:
            position = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": last_read}
        iterator = await self._client.get_shard_iterator(StreamName=self._name, ShardId=shard_id, **position)
        answer = await self._client.get_records(ShardIterator=iterator["ShardIterator"], Limit=GET_RECORDS_LIMIT)
        records = [build_kinesis_record(record, shard_id, self.stream_arn) for record in answer["Records"]]
        last_read = records[-1].sequence_number if records else last_read
        return Slice(records, last_read, not records, not answer.get("NextShardIterator"))
