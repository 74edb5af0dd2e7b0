"""A file of 300 MB, made from items by the product's own decoder, encoder and upload, in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import zlib
from pathlib import Path
from typing import Any

from fastetl.config.model import FileFormat
from fastetl.limits import MIN_PART_BYTES
from fastetl.local.moto_process import MotoProcess
from tests.conftest import Aws

TOTAL_BYTES, SMALL_BYTES = 300_000_000, 60_000_000
PART_BYTES = FileFormat().part_size_bytes


async def test_a_large_file_goes_up_in_concurrent_parts_and_bounded_memory(aws: Aws) -> None:
    moto = MotoProcess()
    await moto.start()
    try:
        client = await aws.client("s3", endpoint_url=moto.endpoint_url)
        await client.create_bucket(Bucket="lake")
        small = await upload(moto.endpoint_url, "small", SMALL_BYTES)
        report = await upload(moto.endpoint_url, "large", TOTAL_BYTES)
        described = await client.head_object(Bucket="lake", Key="large")
        parts = int(described["ETag"].strip('"').rpartition("-")[2])
        assert report["bytes"] == described["ContentLength"] > TOTAL_BYTES
        assert parts <= report["bytes"] // MIN_PART_BYTES
        assert parts >= report["bytes"] // (2 * PART_BYTES)
        assert 2 <= report["most"] <= 4  # one after the other would be 1
        # Parts in flight, one that waits and one that is made: the same for a file five times as large.
        assert report["grown_kib"] * 1024 < small["grown_kib"] * 1024 + (TOTAL_BYTES - SMALL_BYTES) // 4
        await check_content(client, report)
    finally:
        await moto.stop()


async def upload(endpoint_url: str, key: str, total_bytes: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.large_file", endpoint_url, "lake", key, str(total_bytes),
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    report: dict[str, Any] = json.loads(out)
    return report


async def check_content(client: Any, report: dict[str, Any]) -> None:
    crc32 = lines = 0
    answer = await client.get_object(Bucket="lake", Key="large")
    async with answer["Body"] as body:
        while chunk := await body.content.read(1 << 20):
            crc32 = zlib.crc32(chunk, crc32)
            lines += chunk.count(b"\n")
    assert base64.b64encode(crc32.to_bytes(4, "big")).decode() == report["checksum"]
    assert lines % 1_000 == 0
