"""A stand-in for Lambda's event source mapping on a DynamoDB stream.

It follows the stream's shards, parents before children, cuts what they hold into batches, and invokes the function
until each batch is acknowledged, given up, or too old: as the developer guide says for DynamoDB (*Using AWS Lambda with
Amazon DynamoDB*). Where the guide is silent: retries wait with doubling delays.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fastetl.limits import MAX_PAYLOAD_BYTES
from fastetl.local.functions.counts import Counts
from fastetl.local.functions.failed_batch import Condition, FailedBatch, OnFailure
from fastetl.local.functions.lambda_runtime import InvokeResult
from fastetl.local.functions.mapping import Lane, MappingSettings, Piece, Shard, find_checkpoint
from fastetl.local.functions.readers import Reader, Slice
from fastetl.local.functions.stream_records import StreamRecord, build_event
from fastetl.local.functions.tumbling_window import TumblingWindow
from fastetl.local.functions.watched_tasks import WatchedTasks

if TYPE_CHECKING:
    from types import TracebackType

POLL_SECONDS = 0.25
"""Lambda polls a shard four times a second."""

READ_AHEAD_BYTES = 4 * MAX_PAYLOAD_BYTES
"""How much of a shard is held in memory."""

Invoke = Callable[[bytes], Awaitable[InvokeResult]]


class EventSource:
    """One stream's mapping to one function.

    ```
    async with EventSource(TableStream(streams, arn), ingest.invoke, settings, clock=time.time) as source:
        await source.drain()
    ```
    """

    def __init__(
        self,
        reader: Reader,
        invoke: Invoke,
        settings: MappingSettings,
        *,
        clock: Callable[[], float],
        on_failure: OnFailure | None = None,
        positions: Mapping[str, str] = {},
    ) -> None:
        """Describe a mapping.

        Args:
            reader: of the stream.
            invoke: runs the function.
            settings: as of Lambda.
            clock: unix seconds.
            on_failure: gets what is given up; without it, that is lost, as with Lambda.
            positions: where to go on in each shard, as another mapping's `positions` told; its beginning otherwise.
        """
        self.stream_arn = reader.stream_arn
        self.counts = Counts()
        self._reader = reader
        self._positions = positions
        self._invoke = invoke
        self._settings = settings
        self._clock = clock
        self._on_failure = on_failure
        self._random = random.Random(settings.seed)  # noqa: S311 - which batches come twice
        self._tasks = WatchedTasks()
        self._changed = self._tasks.changed
        self._shards: dict[str, Shard] = {}
        self._round = 0
        """Raised by each `drain`: what was read in an earlier round may lack what was written since."""
        self._discovered_in_round = -1
        self._draining = 0
        self._repeating = 0

    async def __aenter__(self) -> Self:
        self._tasks.spawn(self._discover())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Read and deliver nothing more."""
        await self._tasks.stop()

    def positions(self) -> dict[str, str]:
        """Tell for each shard the sequence number up to which every record is acknowledged or given up."""
        return {**self._positions, **{shard.id: shard.position for shard in self._shards.values()}}

    async def drain(self) -> None:
        """Wait until all that was written before this call is acknowledged or given up. Windows are cut short."""
        self._round += 1
        called_in = self._round
        async with self._changed:
            self._draining += 1
            self._changed.notify_all()
            try:
                await self._changed.wait_for(lambda: self._tasks.broken or self._is_drained(called_in))
            finally:
                self._draining -= 1
        if self._tasks.broken is not None:
            raise self._tasks.broken

    def _is_drained(self, called_in: int) -> bool:
        return (
            self._discovered_in_round >= called_in
            and all(shard.closed or shard.empty_in_round >= called_in for shard in self._shards.values())
            and self.counts.outstanding == self._repeating == 0
        )

    # --- reading -------------------------------------------------------------------------------------------------

    async def _discover(self) -> None:
        """Find shards, as long as there may be new ones."""
        while True:
            this_round = self._round
            for shard_id, parent_id in await self._persist(self._reader.list_shards):
                if shard_id not in self._shards:
                    shard = Shard(
                        shard_id, parent_id, self._settings, self.stream_arn, self._positions.get(shard_id, "")
                    )
                    self._shards[shard.id] = shard
                    self._tasks.spawn(self._follow(shard))
                    for lane in shard.lanes:
                        self._tasks.spawn(self._serve(shard, lane))
            async with self._tasks.notifying():
                self._discovered_in_round = this_round
            await self._pause(this_round)

    async def _follow(self, shard: Shard) -> None:
        """Read a shard to its end, after its parent has been dealt with."""
        parent = self._shards.get(shard.parent_id)
        if parent is not None:
            await self._tasks.wait_for(lambda: parent.finished)
        while not shard.closed:
            this_round = self._round
            read: Slice = await self._persist(self._reader.read, shard.id, shard.last_read)
            async with self._changed:
                self.counts.read += len(read.records)
                shard.last_read = read.last_read
                shard.take(read.records)
                shard.closed = read.ends
                if read.is_empty:
                    shard.empty_in_round = this_round
                self._changed.notify_all()
                await self._changed.wait_for(lambda: shard.buffered_bytes < READ_AHEAD_BYTES)
            if read.is_empty:
                await self._pause(this_round)

    async def _persist(self, call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Call until it succeeds: a mapping outlives the failures of what it polls."""
        while True:
            try:
                return await call(*arguments)
            except (BotoCoreError, ClientError):
                await asyncio.sleep(POLL_SECONDS)

    async def _pause(self, this_round: int) -> None:
        """Wait until the next poll; not at all where somebody has called `drain` meanwhile."""
        if self._round == this_round:
            await asyncio.sleep(POLL_SECONDS if not self._draining else POLL_SECONDS / 10)

    # --- delivering ----------------------------------------------------------------------------------------------

    async def _serve(self, shard: Shard, lane: Lane) -> None:
        """Deliver a lane's records batch by batch, in order."""
        while True:
            batch = await self._next_batch(shard, lane)
            if batch:
                await self._deliver(shard, lane, batch)
                if lane.window and lane.window.is_too_large:
                    await self._end_window(lane.window, is_early=True)
            elif lane.window:
                await self._end_window(lane.window)
            async with self._tasks.notifying():
                lane.in_hand = ()

    async def _next_batch(self, shard: Shard, lane: Lane) -> Sequence[StreamRecord]:
        """Wait for a full batch, or for a first record and then for the end of the batching window.

        Returns:
            No record where the tumbling window is over.
        """
        window = lane.window
        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(window.rest(self._clock()) if window else None):
                    await self._changed.wait_for(
                        lambda: lane.records or (window is not None and window.is_open and shard.closed)
                    )
            if not lane.records or lane.ends_window:
                return ()
            try:
                async with asyncio.timeout(self._settings.maximum_batching_window_in_seconds):
                    await self._changed.wait_for(lambda: lane.is_full or self._draining)
            except TimeoutError:
                pass
            lane.in_hand = lane.cut(self._clock())
            self._changed.notify_all()
            return lane.in_hand

    async def _end_window(self, window: TumblingWindow, *, is_early: bool = False) -> None:
        """Invoke the function a last time for a window, until it succeeds."""
        failures = 0
        while (await self._call((), window, is_final=not is_early, is_early=is_early)).error:
            self.counts.failed_invocations += 1
            await asyncio.sleep(self._delay(failures))
            failures += 1
        if is_early:
            window.renew()
            return
        async with self._tasks.notifying():
            window.close()

    async def _deliver(self, shard: Shard, lane: Lane, batch: Sequence[StreamRecord]) -> None:
        """Invoke the function until every record of a batch is acknowledged or given up."""
        pieces = deque([Piece(batch)])
        while pieces:
            piece = await self._give_up_old(shard, pieces.popleft())
            if not piece.records:
                continue
            result = await self._call(piece.records, lane.window)
            place = self._find_checkpoint(piece.records, result)
            acknowledged, failed = piece.records[:place], piece.records[place:]
            await self._acknowledge(shard, lane, acknowledged)
            if not failed:
                continue
            self.counts.failed_invocations += 1
            again = piece.after_failure(place, result, bisect=self._settings.bisect_batch_on_function_error)
            if 0 <= self._settings.maximum_retry_attempts < again[0].retries:
                await self._give_up("RetryAttemptsExhausted", shard, again[0])
                continue
            pieces.extendleft(reversed(again))
            await asyncio.sleep(self._delay(again[0].invoke_count - 1))

    def _delay(self, failures_before: int) -> float:
        delay = self._settings.retry_delay_seconds
        return min(delay * 2.0**failures_before, delay * 100)

    async def _call(self, records: Sequence[StreamRecord], window: TumblingWindow | None, **how: bool) -> InvokeResult:
        self.counts.invocations += 1
        if window is None:
            return await self._invoke(build_event(records))
        return window.keep(await self._invoke(window.build_event(records, **how)))

    def _find_checkpoint(self, records: Sequence[StreamRecord], result: InvokeResult) -> int:
        """Count the records, from the first on, that need not be delivered again."""
        if result.error:
            return 0
        if not self._settings.report_batch_item_failures:
            return len(records)
        return find_checkpoint(result.payload, [record.sequence_number for record in records])

    async def _acknowledge(self, shard: Shard, lane: Lane, records: Sequence[StreamRecord]) -> None:
        if not records:
            return
        for repeated in self._choose_repeats(records):
            self._repeating += 1
            event = lane.window.build_event(repeated) if lane.window else build_event(repeated)
            self._tasks.spawn(self._repeat(event))
        async with self._tasks.notifying():
            shard.settle(records)
            self.counts.acknowledged += len(records)

    async def _repeat(self, event: bytes) -> None:
        """Deliver records once more, beside whatever comes next; the result does not matter."""
        self.counts.invocations += 1
        await self._invoke(event)
        async with self._tasks.notifying():
            self.counts.repeated += 1
            self._repeating -= 1

    def _choose_repeats(self, records: Sequence[StreamRecord]) -> Iterator[Sequence[StreamRecord]]:
        if self._random.random() < self._settings.repeat_share:
            yield records
        if self._random.random() < self._settings.recut_share:
            start = self._random.randrange(len(records))
            yield records[start : self._random.randint(start + 1, len(records))]

    async def _give_up_old(self, shard: Shard, piece: Piece) -> Piece:
        """Give up what is older than the mapping allows; the rest."""
        limit = self._settings.maximum_record_age_in_seconds
        if limit < 0:
            return piece
        oldest = self._clock() - limit
        old = [record for record in piece.records if record.created_at < oldest]
        if old:
            await self._give_up("RecordAgeExceeded", shard, msgspec.structs.replace(piece, records=old))
        rest = [record for record in piece.records if record.created_at >= oldest]
        return msgspec.structs.replace(piece, records=rest)

    async def _give_up(self, condition: Condition, shard: Shard, piece: Piece) -> None:
        if self._on_failure is not None:
            records = tuple(piece.records)
            window = shard.lanes[0].window
            event = window.build_event(records) if window else build_event(records)
            failed = FailedBatch(condition, shard.id, self.stream_arn, records, event, piece.invoke_count, piece.result)
            await self._on_failure(failed)
        async with self._tasks.notifying():
            shard.settle(piece.records)
            self.counts.dropped += len(piece.records)
