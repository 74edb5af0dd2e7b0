"""Compare a table with its mirror, row by row, while changes flow; and repair the rows that differ.

The table is read, its items become rows as ingest makes them, and the warehouse compares these with the mirror in its
own types. What differs then may only be on its way: it counts where it still differs after everything up to its reading
is loaded, and the item is at the end what it was at that reading.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from fastetl.aws import gather
from fastetl.backfill import CLOCK_SLACK_SECONDS, Backfiller
from fastetl.decode import parse_key
from fastetl.errors import ConfigError, Problem
from fastetl.load import FormerColumns
from fastetl.operate.staged_rows import RowMaker, StagedRows
from fastetl.sql import BUCKETS, compare_sql, list_compared, repair_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from fastetl.aws import Deployment, Item
    from fastetl.config import Pipeline
    from fastetl.ingest import Enricher

SEGMENT_BYTES = 64 * 1024 * 1024
"""Of the table, roughly, that one reader reads."""

READERS = 8
MAX_SEGMENTS = 100_000
"""DynamoDB allows a million (API reference, Scan, `TotalSegments`)."""
ROUNDS = 5
"""How often what differs is looked at again, while the item goes on changing."""

MAX_DIFFERENCES = 10_000
"""That are looked at again, one item each; of more the first are."""

POLL_SECONDS = 5.0


class RowDifference(msgspec.Struct, frozen=True):
    """A row that is not what its item is. It holds no value."""

    key: str
    """As `_key` has it."""
    what: str
    """`missing` in the mirror, `extra` in it, or `differs`."""
    columns: tuple[str, ...] = ()
    """That differ."""
    target: str = ""
    """The name of the target, where there are several."""


class Verified(msgspec.Struct, frozen=True):
    """What a comparison found."""

    pipeline: str
    items: int
    """Read, as far as they are in the sample."""
    unfit: int
    """Items that no row can hold: they are rejects, and not compared."""
    differences: tuple[RowDifference, ...]
    undecided: int
    """Keys whose items went on changing."""
    is_cut: bool
    """Whether more differed than were looked at again."""
    waited_for: str
    """How it was known that everything up to the reading was loaded: `watermark`, or `settling` where that is not
    known."""
    read_units: float
    repaired: int = 0


READ_UNITS_OF_A_DOLLAR = 8_000_000
"""Amazon DynamoDB pricing, on demand, us-east-1, 2026-06-14."""


class Estimate(msgspec.Struct, frozen=True):
    """What a comparison will cost."""

    pipeline: str
    items: int
    bytes: int
    read_units: int
    """Strongly consistent reading of everything: DynamoDB has no way to read a sample."""


class RowComparer:
    """Compares one pipeline's table with its mirror."""

    def __init__(
        self,
        deployment: Deployment,
        enricher: Enricher,
        *,
        settle_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_wait: Callable[[str, float], None] = lambda _what, _seconds: None,
    ) -> None:
        """Describe what is compared.

        Args:
            deployment: of a pipeline with a mirror.
            enricher: runs the pipeline's enrichments.
            settle_seconds: after which a change is in a file, where the watermark does not tell.
            sleep: waits for a number of seconds.
            on_wait: is told, before a wait, what it ends with and after how many seconds at most.
        """
        self._deployment = deployment
        self._pipeline = deployment.pipeline
        self._maker = RowMaker(deployment, enricher)
        self._settle_seconds = settle_seconds
        self._sleep = sleep
        self._on_wait = on_wait
        self._run = deployment.new_name()
        self._stages = 0
        self._waited_for = "watermark"

    async def estimate(self) -> Estimate:
        """Tell what reading the table costs, as DynamoDB counted it in the last six hours."""
        table = await self._deployment.source.describe()
        # A unit reads 4 KB consistently (DynamoDB Developer Guide, "Read/write capacity").
        return Estimate(self._pipeline.name, table.items, table.bytes, -(-table.bytes // 4096))

    async def verify(self, share: float = 1.0, throttle: Callable[[float], Awaitable[None]] | None = None) -> Verified:
        """Compare the table, or a sample of its keys, with the mirror.

        Args:
            share: of the keys, above 0 and up to 1.
            throttle: is told of read units, and waits as long as a limit asks for.

        Raises:
            ConfigError: the pipeline has no mirror.
            SourceError, StorageError, WarehouseError: it could not be compared.
        """
        if "mirror" not in self._pipeline.outputs:
            problem = f"pipeline {self._pipeline.name} has no mirror to compare with"
            raise ConfigError((Problem("outputs", problem, 'Add "mirror", or verify another pipeline'),))
        below = max(1, round(share * BUCKETS))
        units = 0.0
        table = await self._deployment.source.describe()
        arn, segments = table.arn, max(1, min(MAX_SEGMENTS, table.bytes // SEGMENT_BYTES))
        async with self._new_stage() as staged:

            async def read(segment: int) -> None:
                nonlocal units
                async for items, used in self._deployment.source.scan(segment, segments):
                    units += used
                    await staged.put_items(arn, items, below=below)
                    if throttle:
                        await throttle(used)

            await gather(read, range(segments), at_once=READERS)
            found = await self._compare(staged, below=below)
        differing = dict.fromkeys(each.key for each in found)
        candidates = list(differing)[:MAX_DIFFERENCES]
        differences, undecided = await self._settle(arn, candidates)
        return Verified(
            self._pipeline.name, staged.rows, staged.unfit, tuple(differences), undecided,
            len(differing) > len(candidates), self._waited_for, units,
        )  # fmt: skip

    async def repair(self, verified: Verified) -> Verified:
        """Carry the rows that differ over: what their items are now, in an epoch that begins first.

        They are newer than everything before the epoch and older than every change after it. No other row is touched,
        and nothing is written to the log.

        Args:
            verified: as `verify` gave it.

        Raises:
            FastetlError: they are not repaired; what is repaired already stays.
        """
        if not verified.differences:
            return verified
        backfiller = Backfiller(self._deployment, sleep=self._sleep)
        start = await backfiller.begin_epoch()
        left = start.starts_at + CLOCK_SLACK_SECONDS - self._deployment.clock()
        self._on_wait(f"epoch {start.epoch} has begun, which tells what is repaired from later changes", left)
        await backfiller.wait_for(start)
        arn = (await self._deployment.source.describe()).arn
        read_at = int(self._deployment.clock())
        found = await self._read(list(dict.fromkeys(each.key for each in verified.differences)))
        async with self._new_stage() as staged:
            await staged.put_found(arn, found, epoch=start, read_at=read_at)
            if url := await staged.write_manifest():
                former, owner = await FormerColumns(self._deployment).find(), self._deployment.owner
                sql = repair_sql(self._pipeline, owner, self._pipeline.layout, url, former)
                name = f"fastetl/repair/{self._pipeline.name}"
                await self._deployment.warehouse.run(sql, name=name, token=(self._run,))
        return msgspec.structs.replace(verified, repaired=staged.rows + staged.gone)

    # --- what differs, and goes on differing ---------------------------------------------------------------------

    async def _settle(self, arn: str, keys: Sequence[str]) -> tuple[list[RowDifference], int]:
        """Look at what differed again, until each key's item has stood still between two readings."""
        differences: list[RowDifference] = []
        for _ in range(ROUNDS):
            if not keys:
                break
            read_at = self._deployment.clock()
            before = await self._read(keys)
            await self._wait_until_loaded(read_at)
            async with self._new_stage() as staged:
                await staged.put_found(arn, before, read_at=int(read_at))
                still = await self._compare(staged, below=None)
            after = await self._read(list(dict.fromkeys(each.key for each in still)))
            differences += [each for each in still if before[each.key] == after[each.key]]
            keys = [key for key, item in after.items() if before[key] != item]
        return sorted(differences, key=lambda each: (each.key, each.target)), len(keys)

    async def _read(self, keys: Sequence[str]) -> dict[str, Item | None]:
        names = self._pipeline.keys
        found = await gather(lambda key: self._deployment.source.get(parse_key(key, names)), keys)
        return dict(zip(keys, found, strict=True))

    async def _wait_until_loaded(self, moment: float) -> None:
        """Wait until everything that was changed before a moment is loaded."""
        name, ledger = self._pipeline.name, self._deployment.ledger
        settled_at = moment + self._settle_seconds
        is_told = False
        while True:
            watermark = await ledger.watermarks.read(name)
            if watermark and watermark.complete_up_to > moment * 1000:
                return
            if (left := settled_at - self._deployment.clock()) <= 0:
                break
            if not is_told:
                self._on_wait("everything up to the reading is loaded, so that only what stays different counts", left)
                is_told = True
            await self._sleep(min(POLL_SECONDS, left))
        self._waited_for = "settling"
        until_ms = int(self._deployment.clock() * 1000)
        while await self._waits(until_ms):
            await self._sleep(POLL_SECONDS)

    async def _waits(self, until_ms: int) -> bool:
        async for oldest in self._deployment.ledger.files.pending(self._pipeline.name):
            return oldest.created <= until_ms
        return False

    # --- what the warehouse says ---------------------------------------------------------------------------------

    def _new_stage(self) -> StagedRows:
        self._stages += 1
        folder = f"{self._deployment.config.prefix}check/{self._pipeline.name}-{self._run}/{self._stages:d}"
        return StagedRows(self._maker, self._deployment, folder)

    async def _compare(self, staged: StagedRows, *, below: int | None) -> list[RowDifference]:
        url = await staged.write_manifest()
        if not url and below is None:
            return []
        found: dict[tuple[str, str, str], RowDifference] = {}
        for number, parts in enumerate(list_compared(self._pipeline)):
            async for part, key, what, columns in self._differing(parts, url, below, number):
                target = part.name if part.part_of else ""
                before = found[key, what, target].columns if (key, what, target) in found else ()
                # Several elements of one item may differ.
                every = dict.fromkeys((*before, *_name_columns(part, columns)))
                found[key, what, target] = RowDifference(key, what, tuple(every), target)
        return list(found.values())

    async def _differing(
        self, parts: tuple[Pipeline, ...], url: str, below: int | None, number: int
    ) -> AsyncIterator[tuple[Pipeline, str, str, str]]:
        """Compare the rows of some targets in one transaction: give target, key, what, and positions of columns."""
        by_name = {part.name: part for part in parts}
        sql = compare_sql(self._pipeline, parts, self._pipeline.layout, url, below=below)
        token = (self._run, self._stages, number)
        warehouse, name = self._deployment.warehouse, f"fastetl/verify/{self._pipeline.name}"
        statement_id = await warehouse.run(sql, name=name, token=token)
        for index, each in enumerate(sql):
            if each.step.startswith("compare"):
                part = by_name[each.step.partition("@")[2] or self._pipeline.name]
                for key, what, columns in await warehouse.rows(statement_id, index):
                    yield part, key, what, columns


def _name_columns(part: Pipeline, positions: str) -> tuple[str, ...]:
    return tuple(part.columns[int(position)].name for position in positions.split())
