"""Records that a mapping has given up, and why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from fastetl.local.functions.lambda_runtime import InvokeResult
from fastetl.local.functions.stream_records import StreamRecord

Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded"]
"""Why records were given up."""


class FailedBatch(msgspec.Struct, frozen=True):
    """Records that were given up."""

    condition: Condition
    shard_id: str
    stream_arn: str
    records: tuple[StreamRecord, ...]
    event: bytes
    """As the function got it, or would have."""
    invoke_count: int
    result: InvokeResult | None
    """The result of the last invocation, if there was one."""


OnFailure = Callable[[FailedBatch], Awaitable[None]]
