"""Find the cheapest, the fastest and the balanced setting out of all that keep up. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fastetl.tune.model import MIB, Measured, Settings, Workload
from fastetl.tune.prediction import (
    Hour,
    Loadings,
    Prediction,
    combine,
    ingest_day,
    load_day,
    share_fresh,
    split_cost,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fastetl.tune.prices import Book


class Grid(msgspec.Struct, frozen=True):
    """What is tried of each setting; every combination of it."""

    memories_mb: tuple[int, ...] = (256, 384, 512, 768, 1024, 1280, 1769, 2560)
    batch_sizes: tuple[int, ...] = (100, 250, 500, 1000, 2500, 5000, 10_000)
    windows_seconds: tuple[int, ...] = (0, 1, 5, 10, 20, 30, 60, 120, 300)
    parallelizations: tuple[int, ...] = (1, 2, 4, 10)
    part_sizes: tuple[int, ...] = (5 * MIB, 8 * MIB, 16 * MIB)
    max_bytes: tuple[int, ...] = (16 * MIB, 64 * MIB, 128 * MIB, 512 * MIB, 2048 * MIB)
    max_ages_seconds: tuple[int, ...] = (60, 120, 180, 240, 300, 420, 540, 600, 720, 840, 900, 1200, 1800, 3600, 7200)


EVERYTHING = Grid()

FRESH_SHARE = 0.99
WORTH_A_POINT = 0.005
"""What is not even so much fresher is none for more money."""


class Goal(msgspec.Struct, frozen=True):
    """What a setting must keep."""

    freshness_seconds: float
    """The freshness that 99 of 100 changes must have, at most."""
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
    """Those that keep up and that nothing else beats in both cost and freshness, the freshest first."""
    looked_at: int


class NothingKeepsUpError(Exception):
    """No setting keeps the goal; the message says which part of it, and what comes nearest."""


def find_proposals(
    measured: Sequence[Measured], workload: Workload, goal: Goal, book: Book, current: Settings, grid: Grid = EVERYTHING
) -> Proposals:
    """Look through all combinations; what the grid does not have stays as in the current settings.

    Args:
        measured: once for each compression.
        workload: rate, hours and shards.
        goal: freshness and margin.
        book: of prices and constants.
        current: the running settings.
        grid: the values to combine.

    Raises:
        NothingKeepsUpError: none of them keeps the goal.
    """
    ingesting = list(_ingest_settings(measured, workload, goal, book, current, grid))
    if not ingesting:
        raise NothingKeepsUpError(
            f"{max(workload.hours):,.0f} changes a second are too many for {workload.shards} shards at a margin of "
            f"{goal.margin}; give a larger --shards if the table has them, or a smaller --margin"
        )
    candidates = list(_load_settings(ingesting, workload, book, grid))
    frontier = _frontier(candidates, workload, book)
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
        looked_at=len(candidates),
    )


def part_size_matters(measured: Sequence[Measured], book: Book, grid: Grid = EVERYTHING) -> bool:
    """Say whether any event's file can be larger than the smallest part: if not, each goes up in one PUT anyway."""
    return max(_largest_file(one, book) for one in measured) >= min(grid.part_sizes)


def _largest_file(measured: Measured, book: Book) -> float:
    last = measured.samples[-1]
    return last.file_bytes * max(1.0, book.constants.payload_bytes / last.event_bytes)


class _Ingesting(NamedTuple):
    measured: Measured
    settings: Settings
    hours: list[Hour]


class _Candidate(NamedTuple):
    dollars: float
    ingesting: _Ingesting
    settings: Settings
    hours: list[Hour]


def _ingest_settings(
    measured: Sequence[Measured], workload: Workload, goal: Goal, book: Book, current: Settings, grid: Grid
) -> Iterator[_Ingesting]:
    """Give the settings of the ingest function that keep up.

    Those that make the same files as another, later and for more money, are left out: loading makes up for neither.
    """
    alike: dict[object, list[tuple[tuple[float, ...], _Ingesting]]] = defaultdict(list)
    parts = grid.part_sizes if part_size_matters(measured, book, grid) else (current.part_size,)
    for one, memory, batch_size, window, factor, part in product(
        measured, grid.memories_mb, grid.batch_sizes, grid.windows_seconds, grid.parallelizations, parts
    ):
        settings = msgspec.structs.replace(
            current, memory_mb=memory, batch_size=batch_size, window_seconds=window, parallelization=factor,
            part_size=part, compression=one.compression,
        )  # fmt: skip
        hours = ingest_day(one, settings, workload, book.constants)
        if min(hour.ingestion.margin for hour in hours) < goal.margin:
            continue
        if max(hour.ingestion.memory_mb for hour in hours) > memory * (1 - goal.headroom):
            continue
        files = tuple(
            (hour.ingestion.invocations, hour.ingestion.file_bytes, hour.ingestion.wait_seconds) for hour in hours
        )
        cost = sum(split_cost(one, settings, workload, book, hours).values())
        figures = (cost, *(hour.ingestion.duration_seconds for hour in hours))
        alike[files].append((figures, _Ingesting(one, settings, hours)))
    for group in alike.values():
        yield from _without_beaten(group)


def _without_beaten(group: list[tuple[tuple[float, ...], _Ingesting]]) -> Iterator[_Ingesting]:
    best: list[tuple[float, ...]] = []
    for figures, ingesting in sorted(group, key=lambda each: each[0]):
        if not any(all(a <= b for a, b in zip(better, figures, strict=True)) for better in best):
            best.append(figures)
            yield ingesting


def _load_settings(ingesting: Iterable[_Ingesting], workload: Workload, book: Book, grid: Grid) -> Iterator[_Candidate]:
    """Give each with every threshold of loading, and what that costs."""
    known: dict[tuple[int, int], Loadings] = defaultdict(dict)
    for each in ingesting:
        seen = set()
        for size, age in product(sorted(grid.max_bytes), grid.max_ages_seconds):
            settings = msgspec.structs.replace(each.settings, max_bytes=size, max_age_seconds=age)
            hours = load_day(settings, each.hours, book.constants, known[size, age])
            cycles = tuple(hour.loading for hour in hours)
            if cycles in seen:  # a smaller threshold has done the same
                continue
            seen.add(cycles)
            dollars = sum(split_cost(each.measured, settings, workload, book, hours).values())
            yield _Candidate(dollars, each, settings, hours)


def _frontier(candidates: Iterable[_Candidate], workload: Workload, book: Book) -> list[Prediction]:
    """Go from the cheapest to the dearest and keep what is fresher than everything before; the freshest first."""
    frontier: list[Prediction] = []
    for each in sorted(candidates, key=lambda each: each.dollars):
        # Whether a candidate is fresher takes one look, how fresh it is takes many.
        best = frontier[-1].fresh_p99 * (1 - WORTH_A_POINT) if frontier else math.inf
        if not frontier or share_fresh(best, each.hours) >= FRESH_SHARE:
            frontier.append(combine(each.ingesting.measured, each.settings, workload, book, each.hours))
    return frontier[::-1]
