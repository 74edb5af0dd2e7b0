"""DynamoDB tables as the pipelines read them: with their keys, and a stream of both images."""

from __future__ import annotations

from typing import Any

from fastetl.config import Pipeline


async def has_table(dynamodb: Any, name: str) -> bool:
    """Tell whether DynamoDB has a table.

    Args:
        dynamodb: an open client.
        name: of the table.
    """
    return name in (await dynamodb.list_tables())["TableNames"]


async def create_source_table(dynamodb: Any, pipeline: Pipeline) -> None:
    """Create a pipeline's DynamoDB table, unless there is one.

    Args:
        dynamodb: an open client.
        pipeline: whose table it is.
    """
    if await has_table(dynamodb, pipeline.table):
        return
    await dynamodb.create_table(
        TableName=pipeline.table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": name, "KeyType": kind}
            for name, kind in zip(pipeline.keys, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": _key_type(pipeline, name)} for name in pipeline.keys
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


def _key_type(pipeline: Pipeline, name: str) -> str:
    """Give a key attribute's type, by the column that declares it; text where none does."""
    for column in pipeline.columns:
        if column.path == (name,):
            return column.tag if column.tag in {"N", "B"} else "S"
    return "S"
