"""A table's changes as Kinesis Data Streams for DynamoDB carries them, made from those of the table's own stream."""

from __future__ import annotations

import base64
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

import orjson

from fastetl.local.functions.stream_records import StreamRecord

FIRST_NUMBER = 10**55
"""Kinesis numbers its records with 56 digits."""


def build_kinesis_event(stream_event: bytes, stream_arn: str) -> bytes:
    """Build the event in which Lambda hands over from Kinesis what an event of a table's stream holds.

    Args:
        stream_event: of the table's own stream, as JSON.
        stream_arn: of the Kinesis stream.
    """
    records = orjson.loads(stream_event)["Records"]
    wrapped = []
    for record in records:
        number = str(FIRST_NUMBER + int(record["dynamodb"]["SequenceNumber"]))
        arrived = record["dynamodb"]["ApproximateCreationDateTime"]
        body = _wrap(build_change(record), record["eventID"], number, arrived, "shardId-000000000000", stream_arn)
        wrapped.append(body)
    return orjson.dumps({"Records": wrapped})


def build_change(record: Mapping[str, Any]) -> bytes:
    """Build what DynamoDB writes to Kinesis for a change.

    moto's streams tell whole seconds: the microseconds come from the sequence number, so that the order is the same.

    Args:
        record: the change, as Lambda hands it over from the table's own stream.
    """
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
    return orjson.dumps(change)


def build_kinesis_record(sdk_record: Mapping[str, Any], shard_id: str, stream_arn: str) -> StreamRecord:
    """Build the record that Lambda hands over for one that the SDK's `get_records` gave."""
    arrived, key = sdk_record["ApproximateArrivalTimestamp"].timestamp(), sdk_record["PartitionKey"]
    number = sdk_record["SequenceNumber"]
    body = _wrap(sdk_record["Data"], key, number, arrived, shard_id, stream_arn)
    return StreamRecord(number, arrived, zlib.crc32(key.encode()), orjson.dumps(body))


def _wrap(data: bytes, key: str, number: str, arrived: float, shard_id: str, stream_arn: str) -> dict[str, Any]:
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key,
            "sequenceNumber": number,
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": arrived,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard_id}:{number}",
        "eventName": "aws:kinesis:record",
        "awsRegion": stream_arn.split(":")[3],
        "eventSourceARN": stream_arn,
    }
