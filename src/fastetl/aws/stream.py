"""The edge to what is followed without reading it: a table's stream, and the mapping that reads it.

No call here shows an item, and none is one of the few readers that a shard has: records are read by GetRecords alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.aws.calls import Refusal, make_call
from fastetl.errors import SourceError

if TYPE_CHECKING:
    from types_aiobotocore_dynamodbstreams import DynamoDBStreamsClient

MAX_PAGES = 50
"""Of 100 shards each; a stream of more is followed no further."""


class Shard(msgspec.Struct, frozen=True):
    """One shard as the stream describes it."""

    shard_id: str
    parent_id: str = ""
    ending: str = ""
    """The sequence number of its last record; empty while it is open."""


class Stream(msgspec.Struct, frozen=True):
    """A table's stream and its shards."""

    arn: str
    status: str
    """`ENABLED`, `ENABLING`, `DISABLING` or `DISABLED`; `GONE` where there is no stream of this ARN any more."""
    created_at: int = 0
    """Unix milliseconds at which it was asked for; 0 where it is gone."""
    shards: tuple[Shard, ...] = ()


class Mapping(msgspec.Struct, frozen=True):
    """An event source mapping, as Lambda describes it."""

    uuid: str
    stream_arn: str = ""
    state: str = ""
    """`Enabled`, `Disabled`, or on the way from one to the other; `Gone` where there is none of this UUID."""
    last_result: str = ""
    """Of the latest processing, as `OK` or `PROBLEM: Function call failed`."""


class StreamWatch:
    """Describes streams and mappings. Every method raises `SourceError` when AWS does not do what was asked."""

    def __init__(self, streams: DynamoDBStreamsClient, functions: Any) -> None:
        """Describe what is asked.

        Args:
            streams: an open client of DynamoDB Streams.
            functions: an open client of Lambda.
        """
        self._client = streams
        self._functions = functions

    async def describe(self, arn: str) -> Stream:
        """Describe a stream with all of its shards, by one call for each hundred of them.

        A shard that has an ending sequence number is closed, and that is "the last sequence number for the stream
        records contained within a shard" (DynamoDB Streams API, SequenceNumberRange).

        Args:
            arn: of the stream.
        """
        shards: list[Shard] = []
        page: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            answer = await self._call("describe_stream", arn, StreamArn=arn, **page)
            if answer is None:
                return Stream(arn, "GONE")
            described: dict[str, Any] = answer["StreamDescription"]
            shards += [_parse_shard(each) for each in described.get("Shards", ())]
            if not described.get("LastEvaluatedShardId"):
                created_at = int(described["CreationRequestDateTime"].timestamp() * 1000)
                return Stream(arn, described["StreamStatus"], created_at, tuple(shards))
            page = {"ExclusiveStartShardId": described["LastEvaluatedShardId"]}
        raise SourceError(f"describe_stream {arn}: more than {MAX_PAGES * 100} shards")

    async def mapping(self, uuid: str) -> Mapping:
        """Describe an event source mapping.

        Args:
            uuid: the mapping's.
        """
        answer = await self._call("get_event_source_mapping", uuid, UUID=uuid)
        if answer is None:
            return Mapping(uuid, state="Gone")
        result = answer.get("LastProcessingResult") or ""
        return Mapping(uuid, answer.get("EventSourceArn", ""), answer.get("State", ""), result)

    async def _call(self, operation: str, what: str, **arguments: Any) -> Any:
        client: Any = self._client if operation == "describe_stream" else self._functions

        def refuse(refusal: Refusal) -> SourceError:
            gone = refusal.code == "ResourceNotFoundException"
            return _GoneError(what) if gone else SourceError(f"{operation} {what}: {refusal}")

        try:
            return await make_call(lambda: getattr(client, operation)(**arguments), refuse)
        except _GoneError:
            return None


class _GoneError(SourceError):
    """There is nothing of this name."""


def _parse_shard(shard: dict[str, Any]) -> Shard:
    ending = shard["SequenceNumberRange"].get("EndingSequenceNumber", "")
    return Shard(shard["ShardId"], shard.get("ParentShardId", ""), ending)
