"""Uploads one large file to the S3 endpoint given, and prints what came of it: run by test_large_file, on its own."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Iterator

import aioboto3
import orjson
import polars as pl
from aiobotocore.config import AioConfig

from fastetl.aws.s3 import Bucket
from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import FileFormat, Pipeline
from fastetl.decode.decoder import Decoder
from fastetl.ingest.encode import encode_frames

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/notes/stream/2026-01-01T00:00:00.000"
TYPES = {"id": "INT", "note": "VARCHAR(4000)"}
PIPELINE = Pipeline(
    "notes", "notes", ("id",), "public", "notes",
    tuple(Column(name, (name,), RedshiftType.parse(kind)) for name, kind in TYPES.items()),
    file=FileFormat(compression="none"),
)  # fmt: skip
ROWS_PER_EVENT = 1_000


def frames(total_bytes: int) -> Iterator[pl.DataFrame]:
    """Events one after the other, decoded as ingest does."""
    decoder, size, number = Decoder(PIPELINE), 0, 0
    while size < total_bytes:
        records = [build_record(number + offset) for offset in range(ROWS_PER_EVENT)]
        number += ROWS_PER_EVENT
        frame = decoder.decode(orjson.dumps({"Records": records})).frame
        size += int(frame.estimated_size())
        yield frame


def build_record(number: int) -> dict[str, object]:
    keys = {"id": {"N": str(number)}}
    change = {
        "Keys": keys,
        "NewImage": {**keys, "note": {"S": f"{number:08d} " * 400}},
        "SequenceNumber": str(number),
        "ApproximateCreationDateTime": 1_767_225_600,
    }
    return {"eventID": f"e{number}", "eventName": "INSERT", "eventSourceARN": ARN, "dynamodb": change}


async def main(endpoint_url: str, bucket: str, key: str, total_bytes: int) -> None:
    credentials = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    config = AioConfig(s3={"payload_signing_enabled": False, "addressing_style": "path"})
    flying = most = 0
    async with aioboto3.Session().client("s3", endpoint_url=endpoint_url, config=config, **credentials) as client:
        send = client.upload_part

        async def upload_part(**arguments: object) -> object:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            try:
                return await send(**arguments)
            finally:
                flying -= 1

        client.upload_part = upload_part
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pieces = encode_frames(frames(total_bytes), PIPELINE.layout, PIPELINE.file.part_size_bytes)
        stored = await Bucket(client, bucket).put(key, pieces, {}, max_parts_in_flight=4)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = {"bytes": stored.bytes, "checksum": stored.checksum, "most": most, "grown_kib": after - before}
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
