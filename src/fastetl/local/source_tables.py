"""DynamoDB tables as the pipelines read them, with their keys and a stream of both images; and Kinesis streams.

What is there already is left as it is. It is found by creating it: lists show a limited number of names in each answer.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastetl.config import Pipeline


async def create_table(dynamodb: Any, name: str, **schema: Any) -> None:
    """Create a table that is paid for by the request, unless there is one of its name.

    Args:
        dynamodb: an open client.
        name: of the table.
        schema: keys, attributes, indexes and stream, as CreateTable takes them.
    """
    with suppress(dynamodb.exceptions.ResourceInUseException):
        await dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **schema)


async def create_source_table(dynamodb: Any, pipeline: Pipeline) -> None:
    """Create a pipeline's DynamoDB table, unless there is one.

    Args:
        dynamodb: an open client.
        pipeline: whose table it is.
    """
    await create_table(
        dynamodb,
        pipeline.table,
        KeySchema=[
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(pipeline.keys, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": _key_type(pipeline, name)} for name in pipeline.keys
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


async def create_kinesis_stream(kinesis: Any, pipeline: Pipeline) -> None:
    """Create the Kinesis stream that a pipeline reads, with one shard, unless there is one of its name.

    Args:
        kinesis: an open client.
        pipeline: whose stream it is.
    """
    with suppress(kinesis.exceptions.ResourceInUseException):
        await kinesis.create_stream(StreamName=pipeline.stream_arn.rpartition("/")[2], ShardCount=1)


def _key_type(pipeline: Pipeline, name: str) -> str:
    """Give a key attribute's type, by the column that declares it; text where none does."""
    for column in (column for part in pipeline.targets for column in part.columns):
        if column.path == (name,):
            return column.tag if column.tag in {"N", "B"} else "S"
    return "S"
