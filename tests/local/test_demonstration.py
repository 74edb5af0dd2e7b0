"""What the demonstration counts."""

from __future__ import annotations

import gzip
from types import SimpleNamespace
from typing import Any

import orjson

from fastetl.aws import Bucket
from fastetl.local import demonstration
from tests.conftest import Aws


async def test_a_reject_that_came_again_in_another_file_is_counted_once(aws: Aws) -> None:
    bucket = Bucket(await aws.client("s3"), await aws.new_bucket())
    for name, event_ids in (("first", ["a", "b"]), ("cut-otherwise", ["b"])):
        lines = b"\n".join(orjson.dumps({"event_id": event_id}) for event_id in event_ids)
        await bucket.replace(f"rejects/flights/{name}.jsonl.gz", gzip.compress(lines))
    stack: Any = SimpleNamespace(bucket=bucket)
    assert await demonstration._count_rejects(stack) == 2
