"""A table's changes as Kinesis Data Streams for DynamoDB carries them, made from those of the table's own stream."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import orjson


def build_kinesis_event(stream_event: bytes, stream_arn: str) -> bytes:
    """Give the same changes as Lambda hands them over from Kinesis.

    moto's streams tell whole seconds: the microseconds come from the sequence number, so that the order is the same.
    """
    records = orjson.loads(stream_event)["Records"]
    return orjson.dumps({"Records": [_wrap(record, stream_arn) for record in records]})


def _wrap(record: dict[str, Any], stream_arn: str) -> dict[str, Any]:
    body = dict(record["dynamodb"])
    number = int(body.pop("SequenceNumber"))
    body.pop("StreamViewType", None)
    body["ApproximateCreationDateTime"] = int(body["ApproximateCreationDateTime"]) * 1_000_000 + number % 1_000_000
    body["ApproximateCreationDateTimePrecision"] = "MICROSECOND"
    change = {
        "awsRegion": record["awsRegion"],
        "eventID": str(uuid.uuid5(uuid.NAMESPACE_OID, record["eventID"])),
        "eventName": record["eventName"],
        "userIdentity": record.get("userIdentity"),
        "recordFormat": "application/json",
        "tableName": record["eventSourceARN"].split("/")[1],
        "dynamodb": body,
        "eventSource": "aws:dynamodb",
    }
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record["eventID"],
            "sequenceNumber": str(10**55 + number),
            "data": base64.b64encode(orjson.dumps(change)).decode(),
            "approximateArrivalTimestamp": record["dynamodb"]["ApproximateCreationDateTime"],
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000000:{10**55 + number}",
        "eventName": "aws:kinesis:record",
        "awsRegion": record["awsRegion"],
        "eventSourceARN": stream_arn,
    }
