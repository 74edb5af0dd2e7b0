"""An event source mapping's on-failure destination on S3: an object with the whole event, as Lambda writes it.

Source of the name and of the body: *Lambda developer guide*, "Retaining discarded batches".
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from fastetl.local.functions.failed_batch import FailedBatch


class FailureDestination:
    """Writes what a mapping gives up; pass `write` as its `on_failure`."""

    def __init__(
        self, s3: S3Client, bucket: str, function_arn: str, clock: Callable[[], float], mapping_id: str
    ) -> None:
        """Describe where a mapping's given-up batches go.

        Args:
            s3: an open S3 client.
            bucket: that objects are written to.
            function_arn: of the function that failed.
            clock: gives Unix seconds.
            mapping_id: the mapping's UUID, with which the names begin.
        """
        self._s3 = s3
        self._bucket = bucket
        self._function_arn = function_arn
        self._clock = clock
        self._mapping_id = mapping_id

    async def write(self, failed: FailedBatch) -> None:
        """Write one object with the whole event.

        Args:
            failed: the batch that was given up.
        """
        now = datetime.fromtimestamp(self._clock(), UTC)
        key = f"aws/lambda/{self._mapping_id}/{failed.shard_id}/{now:%Y/%m/%d}/{now:%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"
        body = build_failure(failed, self._function_arn, now)
        await self._s3.put_object(Bucket=self._bucket, Key=key, Body=orjson.dumps(body))


def build_failure(failed: FailedBatch, function_arn: str, now: datetime) -> dict[str, Any]:
    """Build the invocation record, in which `payload` is the event as a text."""
    first, last = failed.records[0], failed.records[-1]
    result = failed.result
    response = {"statusCode": 200, "executedVersion": "$LATEST"}
    return {
        "requestContext": {
            "requestId": result.report.request_id if result else str(uuid.uuid4()),
            "functionArn": f"{function_arn}:$LATEST",
            "condition": failed.condition,
            "approximateInvokeCount": failed.invoke_count,
        },
        # Of a batch that was never invoked there is no response.
        **({"responseContext": response | ({"functionError": "Unhandled"} if result.error else {})} if result else {}),
        "version": "1.0",
        "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "KinesisBatchInfo" if ":kinesis:" in failed.stream_arn else "DDBStreamBatchInfo": {
            "shardId": failed.shard_id,
            "startSequenceNumber": first.sequence_number,
            "endSequenceNumber": last.sequence_number,
            "approximateArrivalOfFirstRecord": _moment(first.created_at),
            "approximateArrivalOfLastRecord": _moment(last.created_at),
            "batchSize": len(failed.records),
            "streamArn": failed.stream_arn,
        },
        "payload": failed.event.decode(),
    }


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
