"""Kinesis Data Streams for DynamoDB: what writes a table's changes to a Kinesis stream."""

from __future__ import annotations

import zlib
from typing import Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from fastetl.local.functions.kinesis_records import build_change
from fastetl.local.functions.lambda_runtime import InvokeResult, Report

PUT_LIMIT = 500
"""Records of one PutRecords (Kinesis API reference)."""


class KinesisDestination:
    """A Kinesis stream that a table's changes are written to; pass `write` to a mapping as its function."""

    def __init__(self, client: Any, stream_arn: str) -> None:
        """Describe a stream to write to.

        Args:
            client: an open Kinesis client.
            stream_arn: of the stream.
        """
        self._client = client
        self._name = stream_arn.rpartition("/")[2]

    async def write(self, event: bytes) -> InvokeResult:
        """Write an event's changes, in their order; after a refusal the mapping writes all of them again.

        Args:
            event: of the table's own stream, as JSON.
        """
        entries = [_build_entry(record) for record in orjson.loads(event)["Records"]]
        error = ""
        try:
            for first in range(0, len(entries), PUT_LIMIT):
                await self._client.put_records(StreamName=self._name, Records=entries[first : first + PUT_LIMIT])
        except (BotoCoreError, ClientError) as refusal:
            error = str(refusal)
        return InvokeResult(b'{"batchItemFailures":[]}', error, Report("", 0.0, 0, 0), ())


def _build_entry(record: dict[str, Any]) -> dict[str, Any]:
    keys = orjson.dumps(record["dynamodb"]["Keys"], option=orjson.OPT_SORT_KEYS)
    return {"Data": build_change(record), "PartitionKey": f"{zlib.crc32(keys):08x}"}
