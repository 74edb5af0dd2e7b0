"""The model's durations beside those of the real function under CPU quotas, on this machine."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.cpu_quota import cpu_quota
from fastetl.tune.measure import Bench, Invocation, Progress, shape_event
from fastetl.tune.model import Sample, duration
from fastetl.tune.records import EventCutter, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.config import Pipeline
    from fastetl.tune.prices import Constants

SHARES = (1.0, 0.5, 0.25)
SIZES = (100, 1000)
TURNS = 15
_REST_SECONDS = 0.03
"""Between invocations, so that none begins with what is left of another's quota."""


class QuotaCheck(msgspec.Struct, frozen=True):
    """One batch size with one share of a CPU; medians."""

    records: int
    share: float
    cpu_seconds: float
    """Without a quota."""
    predicted_seconds: float
    """By `model.duration`, with the memory that buys the share."""
    measured_seconds: float

    @property
    def error(self) -> float:
        """How much longer than measured it was predicted, as a share."""
        return self.predicted_seconds / self.measured_seconds - 1


async def check_quota(
    config_text: str,
    pipeline: Pipeline,
    records: Sequence[Record],
    constants: Constants,
    progress: Progress,
    *,
    root: Path = Path(),
    sizes: Sequence[int] = SIZES,
    turns: int = TURNS,
) -> tuple[QuotaCheck, ...]:
    """Invoke the function without a quota and under each in turn, and compare.

    Raises:
        QuotaError: this machine does not allow quotas.
        MeasuringError: the function failed.
    """
    everything = float(os.cpu_count() or 1)
    async with AsyncExitStack() as stack:
        benches: dict[float, Bench] = {}
        for share in (everything, *(share for share in SHARES if share != everything)):
            wrapper = stack.enter_context(cpu_quota(share, constants.quota_period_seconds))
            memory = round(min(share, 1.0) * constants.memory_of_one_cpu_mb)
            bench = Bench(config_text, root=root, memory_mb=memory, wrapper=wrapper)
            benches[share] = await stack.enter_async_context(bench)
        cutter = EventCutter(pipeline, records)
        found: list[QuotaCheck] = []
        for number, size in enumerate(sizes):
            progress(f"{size:,} records under CPU quotas", number / len(sizes))
            taken = await _take_turns(benches, pipeline, cutter, size, turns)
            found += _compare(size, taken, taken[everything], constants)
        return tuple(found)


async def _take_turns(
    benches: dict[float, Bench], pipeline: Pipeline, cutter: EventCutter, size: int, turns: int
) -> dict[float, list[Invocation]]:
    for bench in benches.values():
        await bench.warm_up(shape_event(pipeline, cutter.cut(size)))
    taken: dict[float, list[Invocation]] = defaultdict(list)
    for _ in range(turns):
        for share, bench in benches.items():
            await asyncio.sleep(_REST_SECONDS)
            taken[share].append(await bench.invoke(shape_event(pipeline, cutter.cut(size))))
    return taken


def _compare(
    size: int, taken: dict[float, list[Invocation]], free: list[Invocation], constants: Constants
) -> list[QuotaCheck]:
    cpu = median(one.cpu_seconds for one in free)
    # What this machine's S3 and ledger take stands where the model has AWS's.
    here = msgspec.structs.replace(
        constants,
        cpu_factor=1.0,
        s3_put_seconds=max(0.0, _wall(free) - cpu),
        ledger_seconds=0.0,
        s3_bytes_per_second=float("inf"),
    )
    sample = Sample(size, 0, 0, cpu, _wall(free), 0.0)
    return [
        QuotaCheck(size, share, cpu, duration(sample, share * here.memory_of_one_cpu_mb, here), _wall(taken[share]))
        for share in SHARES
        if share in taken and taken[share] is not free
    ]


def _wall(taken: list[Invocation]) -> float:
    return median(one.result.report.duration_ms for one in taken) / 1000
