"""Tumbling windows of an event source mapping, by AWS Lambda's Developer Guide, "Implementing stateful DynamoDB stream
processing in Lambda", which says:

- "Each record in a stream belongs to a specific window"; "Lambda determines tumbling window boundaries based on the
  time when records were inserted into the stream".
- "Each invocation receives a state", and "if the response does not contain a state property, Lambda considers this a
  failed invocation".
- "At the end of the window, the flag isFinalInvokeForWindow is set to true"; afterwards "the state is dropped". "If
  invocation is unsuccessful, your Lambda function suspends further processing until a successful invocation."
- "When no new records are being added to the current window, Lambda waits for up to 2 minutes before assuming that the
  window is over."
- "When a shard ends, Lambda considers the current window to be closed, and any child shards will start their own window
  in a fresh state."
- A state of more than 1 MB "terminates the window early"; the window goes on with a fresh state.

Where the guide is silent: windows begin at multiples of their length; the invocation that ends one has no records; a
batch that is acknowledged in part leaves its state; a lane is a shard, since how several lanes share a window is not
told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from fastetl.local.functions.lambda_runtime import InvokeResult
from fastetl.local.functions.stream_records import StreamRecord, build_event

MAX_STATE_BYTES = 1024 * 1024


class TumblingWindow:
    """The windows of a shard, one after the other."""

    def __init__(self, shard_id: str, stream_arn: str, seconds: int, quiet_seconds: float) -> None:
        """Describe the windows.

        Args:
            shard_id: of the shard.
            stream_arn: of its stream.
            seconds: how long a window is.
            quiet_seconds: after which without a record a window is over whose end has passed.
        """
        self._shard_id, self._stream_arn = shard_id, stream_arn
        self._seconds, self._quiet_seconds = seconds, quiet_seconds
        self._start: int | None = None
        self._state: Any = {}
        self._latest_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether records of a window were invoked, and its last invocation is to come."""
        return self._start is not None

    @property
    def is_too_large(self) -> bool:
        """Whether the state has more than 1 MB."""
        return len(orjson.dumps(self._state)) > MAX_STATE_BYTES

    def takes(self, record: StreamRecord) -> bool:
        """Tell whether a record belongs to the open window."""
        return self._find_start(record) == self._start

    def open_for(self, record: StreamRecord, now: float) -> None:
        """Open the record's window unless it is open, and note that a record has come.

        Args:
            record: the first of a batch.
            now: Unix seconds.
        """
        self._start, self._latest_at = self._find_start(record), now

    def rest(self, now: float) -> float | None:
        """Give the seconds until the open window is over, where no record comes; None where none is open."""
        return max(0.0, self._over_at - now) if self._start is not None else None

    def close(self) -> None:
        """Drop window and state, after the last invocation."""
        self._start, self._state = None, {}

    def renew(self) -> None:
        """Drop the state alone, after the window was terminated early."""
        self._state = {}

    def build_event(self, records: Sequence[StreamRecord], *, is_final: bool = False, is_early: bool = False) -> bytes:
        """Build the event that the function gets of the open window.

        Args:
            records: none in its last invocation.
            is_final: whether the window is over.
            is_early: whether it is terminated early.
        """
        start = self._start or 0
        beside = {
            "window": {"start": _write(start), "end": _write(start + self._seconds)},
            "state": self._state,
            "shardId": self._shard_id,
            "eventSourceARN": self._stream_arn,
            "isFinalInvokeForWindow": is_final,
            "isWindowTerminatedEarly": is_early,
        }
        return build_event(records)[:-1] + b"," + orjson.dumps(beside)[1:]

    def keep(self, result: InvokeResult) -> InvokeResult:
        """Keep the state that a function has answered with.

        Args:
            result: of an invocation.

        Returns:
            The result; a failure where the answer has no state.
        """
        if result.error:
            return result
        try:
            answer = orjson.loads(result.payload or b"null")
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict) or answer.get("state") is None:
            return msgspec.structs.replace(result, error="the answer has no state")
        self._state = answer["state"]
        return result

    @property
    def _over_at(self) -> float:
        return max((self._start or 0) + self._seconds, self._latest_at + self._quiet_seconds)

    def _find_start(self, record: StreamRecord) -> int:
        return int(record.created_at) // self._seconds * self._seconds


def _write(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
