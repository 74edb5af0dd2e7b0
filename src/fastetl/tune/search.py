"""Which setting to take: the cheapest, the fastest and the balanced one, out of all that keep up. Pure."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import msgspec

from fastetl.tune.model import MIB, Ingestion, Measured, Prediction, Settings, Workload, combine, ingest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fastetl.tune.prices import Book

MEMORIES_MB = (256, 384, 512, 768, 1024, 1280, 1769, 2560)
BATCH_SIZES = (100, 250, 500, 1000, 2500, 5000, 10_000)
WINDOWS_SECONDS = (0, 1, 5, 10, 20, 30, 60, 120, 300)
PARALLELIZATIONS = (1, 2, 4, 10)
PART_SIZES = (5 * MIB, 8 * MIB, 16 * MIB)
MAX_BYTES = (16 * MIB, 64 * MIB, 128 * MIB, 512 * MIB, 2048 * MIB)
MAX_AGES_SECONDS = (60, 120, 180, 240, 300, 420, 540, 600, 720, 840, 900, 1200, 1800, 3600, 7200)


class Goal(msgspec.Struct, frozen=True):
    """What a setting must keep."""

    freshness_seconds: float
    """At most, for 99 of 100 changes."""
    margin: float = 1.5
    """How many times the busiest hour's rate must be carried."""
    headroom: float = 0.25
    """Share of the memory that stays free."""


class Proposals(msgspec.Struct, frozen=True):
    """What was found."""

    cheapest: Prediction
    balanced: Prediction
    fastest: Prediction
    frontier: tuple[Prediction, ...]
    """Of all that keep up: those that nothing else beats in both cost and freshness, the freshest first."""
    looked_at: int


class NothingKeepsUpError(Exception):
    """No setting keeps the goal; the message says which part of it, and what comes nearest."""


def search(measured: Sequence[Measured], workload: Workload, goal: Goal, book: Book) -> Proposals:
    """Look through all combinations.

    Raises:
        NothingKeepsUpError: none of them keeps the goal.
    """
    ingesting = list(_ingest_settings(measured, workload, goal, book))
    if not ingesting:
        raise NothingKeepsUpError(
            f"{max(workload.hours):,.0f} changes a second are too many for {workload.shards} shards at a margin of "
            f"{goal.margin}; give a larger --shards if the table has them, or a smaller --margin"
        )
    predictions = [
        combine(one, msgspec.structs.replace(settings, max_bytes=size, max_age_seconds=age), workload, book, hours)
        for one, settings, hours in ingesting
        for size, age in product(MAX_BYTES, MAX_AGES_SECONDS)
    ]
    frontier = _frontier(predictions)
    good = [each for each in frontier if each.fresh_p99 <= goal.freshness_seconds]
    if not good:
        raise NothingKeepsUpError(
            f"99 of 100 changes would take {frontier[0].fresh_p99:.0f} s at the best, not "
            f"{goal.freshness_seconds:.0f} s: the coordinator wakes up every "
            f"{book.constants.wake_up_seconds:.0f} s, and a load takes at least "
            f"{book.constants.copy_base_seconds:.0f} s"
        )
    return Proposals(
        cheapest=min(good, key=lambda each: (each.dollars, each.fresh_p99)),
        balanced=min(good, key=lambda each: (each.dollars * each.fresh_p99, each.dollars)),
        fastest=good[0],
        frontier=tuple(frontier),
        looked_at=len(predictions),
    )


def _ingest_settings(
    measured: Sequence[Measured], workload: Workload, goal: Goal, book: Book
) -> Iterator[tuple[Measured, Settings, list[Ingestion]]]:
    """Give the settings of the ingest function that keep up, without those that another beats in everything."""
    hours = workload.hours
    kept: list[tuple[tuple[float, ...], Measured, Settings, list[Ingestion]]] = []
    for one, memory, batch_size, window, factor, part in product(
        measured, MEMORIES_MB, BATCH_SIZES, WINDOWS_SECONDS, PARALLELIZATIONS, PART_SIZES
    ):
        settings = Settings(
            memory, batch_size, window, factor, part, MAX_BYTES[0], MAX_AGES_SECONDS[0], one.compression
        )
        by_rate = {rate: ingest(one, settings, rate, workload.shards, book.constants) for rate in set(hours)}
        ingestions = [by_rate[rate] for rate in hours]
        if min(each.margin for each in ingestions) < goal.margin:
            continue
        if max(each.memory_mb for each in ingestions) > memory * (1 - goal.headroom):
            continue
        alone = combine(one, settings, workload, book, ingestions)
        cost = alone.dollars - alone.dollars_per_day["Redshift"]
        delay = max(each.wait_seconds + each.duration_seconds for each in ingestions)
        size = sum(each.invocations * each.file_bytes for each in ingestions)
        kept.append(((cost, delay, alone.files_per_day, size), one, settings, ingestions))
    kept.sort(key=lambda each: each[0])
    best: list[tuple[float, ...]] = []
    for figures, one, settings, ingestions in kept:
        if not any(all(a <= b * 1.001 for a, b in zip(better, figures, strict=True)) for better in best):
            best.append(figures)
            yield one, settings, ingestions


def _frontier(predictions: Iterable[Prediction]) -> list[Prediction]:
    frontier: list[Prediction] = []
    for each in sorted(predictions, key=lambda each: (each.fresh_p99, each.dollars)):
        if not frontier or each.dollars < frontier[-1].dollars * 0.999:
            frontier.append(each)
    return frontier
