"""Many seeds, on several processes; or with a guard switched off until that is noticed."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

import msgspec

from tests.simulation.mutations import MUTATIONS
from tests.simulation.world import simulate

CHUNK = 20


class Summary(msgspec.Struct):
    """What came of many seeds."""

    seeds: int = 0
    calls: int = 0
    virtual_seconds: float = 0.0
    violations: dict[int, tuple[str, ...]] = {}
    coverage: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, other: Summary) -> None:
        """Count another summary in."""
        self.seeds += other.seeds
        self.calls += other.calls
        self.virtual_seconds += other.virtual_seconds
        self.violations |= other.violations
        self.coverage.update(other.coverage)


def run_seeds(seeds: Iterable[int]) -> Summary:
    """Run seeds one after the other, here."""
    summary = Summary()
    for seed in seeds:
        try:
            outcome = simulate(seed)
        except Exception as error:
            summary.violations[seed] = (f"simulation: {error!r}",)
            continue
        finally:
            summary.seeds += 1
        summary.calls += outcome.calls
        summary.virtual_seconds += outcome.virtual_seconds
        summary.coverage.update(outcome.coverage)
        if outcome.violations:
            summary.violations[seed] = outcome.violations
    return summary


def run_everywhere(first: int, count: int, processes: int, on_progress: Callable[[Summary], None]) -> Summary:
    """Run `count` seeds from `first` on, in several processes; `on_progress` sees the sum so far."""
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    total = Summary()
    # Frames of a few rows gain nothing from threads that wait for each other.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(run_seeds, chunks):
            total.add(part)
            on_progress(total)
    return total


def find_violation(mutation: str, seeds: Iterable[int]) -> tuple[int, str] | None:
    """Give the first seed in which a mutation is noticed, and how.

    An error of the simulation itself is no violation: a patch that no longer fits the product raises it.
    """
    with MUTATIONS[mutation].without():
        for seed in seeds:
            if found := simulate(seed).violations:
                return seed, found[0]
    return None
