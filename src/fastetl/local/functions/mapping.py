"""Define the settings of an event source mapping, and how it cuts a shard into batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec
import orjson

from fastetl.limits import MAX_PAYLOAD_BYTES
from fastetl.local.functions.lambda_runtime import InvokeResult
from fastetl.local.functions.stream_records import StreamRecord, build_event
from fastetl.local.functions.tumbling_window import TumblingWindow

MAX_WINDOW_SECONDS = 900
"""AWS Lambda API reference, CreateEventSourceMapping."""


class MappingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An event source mapping's settings, with Lambda's names, ranges and defaults; then what only this one can do.

    The starting position is always TRIM_HORIZON: LATEST may miss changes.
    """

    batch_size: int = 100
    maximum_batching_window_in_seconds: float = 0
    parallelization_factor: int = 1
    maximum_retry_attempts: int = -1
    """-1: without end."""
    maximum_record_age_in_seconds: float = -1
    """-1: without end."""
    bisect_batch_on_function_error: bool = False
    report_batch_item_failures: bool = False
    tumbling_window_in_seconds: int = 0
    """0: none; at most 900, and with a parallelization factor of 1 alone."""

    repeat_share: float = 0.0
    """This share of acknowledged batches is delivered once more: Lambda promises at least once, not once."""
    recut_share: float = 0.0
    """This share of acknowledged batches is delivered once more in part."""
    seed: int = 0
    retry_delay_seconds: float = 0.1
    """The delay before the first retry; it doubles, to at most 100 times as much."""
    window_quiet_seconds: float = 120
    """After which without a record a tumbling window is over whose end has passed."""

    def __post_init__(self) -> None:
        if not 0 <= self.tumbling_window_in_seconds <= MAX_WINDOW_SECONDS:
            raise ValueError(f"a tumbling window has 0 to {MAX_WINDOW_SECONDS} seconds")
        if self.tumbling_window_in_seconds and self.parallelization_factor > 1:
            raise ValueError("how several invocations of a shard share a tumbling window is not documented")


class Piece(msgspec.Struct, frozen=True):
    """Records that are invoked together, and what happened to them so far."""

    records: Sequence[StreamRecord]
    retries: int = 0
    invoke_count: int = 0
    result: InvokeResult | None = None

    def after_failure(self, place: int, result: InvokeResult, *, bisect: bool) -> list[Piece]:
        """Give what to invoke after a failure from `place` on. A split does not use up a retry."""
        rest = self.records[place:]
        failed = msgspec.structs.replace(self, records=rest, invoke_count=self.invoke_count + 1, result=result)
        if not bisect or len(self.records) == 1:
            return [msgspec.structs.replace(failed, retries=self.retries + 1)]
        if place > 0:
            return [failed]
        middle = len(rest) // 2
        return [msgspec.structs.replace(failed, records=half) for half in (rest[:middle], rest[middle:])]


class Lane:
    """Records of one shard that are delivered one batch after the other; an item's are all in one lane."""

    def __init__(self, batch_size: int, window: TumblingWindow | None = None) -> None:
        self.window = window
        self.records: deque[StreamRecord] = deque()
        self.bytes = 0
        self.in_hand: Sequence[StreamRecord] = ()
        self._batch_size = batch_size

    @property
    def is_full(self) -> bool:
        return len(self.records) >= self._batch_size or self.bytes >= MAX_PAYLOAD_BYTES

    @property
    def ends_window(self) -> bool:
        """Whether the next record belongs to another window than the open one."""
        window = self.window
        return bool(window and window.is_open and self.records and not window.takes(self.records[0]))

    def put(self, record: StreamRecord) -> None:
        self.records.append(record)
        self.bytes += _size(record)

    def cut(self, now: float) -> Sequence[StreamRecord]:
        """Take a batch: as many as its size, its window and the payload's limit allow, and at least one."""
        batch: list[StreamRecord] = []
        empty = self.window.build_event(()) if self.window else build_event(())
        room = MAX_PAYLOAD_BYTES - len(empty)
        while self.records and len(batch) < self._batch_size and (not batch or _size(self.records[0]) <= room):
            if batch and self.window and not self.window.takes(self.records[0]):
                break
            record = self.records.popleft()
            room -= _size(record)
            self.bytes -= _size(record)
            if self.window and not batch:
                self.window.open_for(record, now)
            batch.append(record)
        return batch


class Shard:
    """A shard, how far it was read, and what waits of it."""

    def __init__(
        self, shard_id: str, parent_id: str, settings: MappingSettings, stream_arn: str, position: str = ""
    ) -> None:
        self.id = shard_id
        self.parent_id = parent_id
        seconds, quiet = settings.tumbling_window_in_seconds, settings.window_quiet_seconds
        window = TumblingWindow(shard_id, stream_arn, seconds, quiet) if seconds else None
        self.lanes = [Lane(settings.batch_size, window) for _ in range(settings.parallelization_factor)]
        self.last_read = position
        self._last_taken = position
        self._outstanding: dict[str, str] = {}
        """The sequence numbers that are neither acknowledged nor given up, in order, each with the one before it."""
        self.closed = False
        self.empty_in_round = -1

    @property
    def buffered_bytes(self) -> int:
        return sum(lane.bytes for lane in self.lanes)

    @property
    def finished(self) -> bool:
        """Read to its end and delivered, its last window as well: its children may be read."""
        windows = [lane.window for lane in self.lanes if lane.window]
        delivered = not any(lane.records or lane.in_hand for lane in self.lanes)
        return self.closed and delivered and not any(window.is_open for window in windows)

    @property
    def position(self) -> str:
        """The sequence number up to which everything is settled; empty where nothing is."""
        return next(iter(self._outstanding.values()), self._last_taken)

    def take(self, records: Sequence[StreamRecord]) -> None:
        for record in records:
            self.lanes[record.key_hash % len(self.lanes)].put(record)
            self._outstanding[record.sequence_number] = self._last_taken
            self._last_taken = record.sequence_number

    def settle(self, records: Sequence[StreamRecord]) -> None:
        """Note that records were acknowledged or given up."""
        for record in records:
            self._outstanding.pop(record.sequence_number, None)


def find_checkpoint(payload: bytes, sequence_numbers: Sequence[str]) -> int:
    """Count the records of a batch that a partial batch response acknowledges, from the first on.

    Everything from the lowest reported sequence number on is delivered again. An answer without failures
    acknowledges all; one that cannot be understood, or names a record that is not in the batch, none.
    """
    try:
        answer = orjson.loads(payload or b"null")
    except orjson.JSONDecodeError:
        return 0
    failures = (answer.get("batchItemFailures") or []) if isinstance(answer, dict) else answer
    if failures is None or failures == []:
        return len(sequence_numbers)
    places = {number: place for place, number in enumerate(sequence_numbers)}
    try:
        return min(places[failure["itemIdentifier"]] for failure in failures)
    except (KeyError, TypeError):
        return 0


def _size(record: StreamRecord) -> int:
    """Give the bytes that a record takes in an event, with the comma."""
    return len(record.body) + 1
