"""The product's own code under seeded faults: no invariant is violated, every seed replays, rare paths are reached."""

from __future__ import annotations

import os

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.runner import Summary, run_everywhere
from tests.simulation.world import simulate

SEEDS = 1000

REACHED = {
    *(f"fault {kind}" for kind in KINDS),
    "HEAD lost", "batch delivered again", "change that the warehouse refuses", "clocks apart",
    "committed, and reported as failed", "coordinator killed", "delete", "epoch begun",
    "gate held by a person", "ingest killed", "ledger restored to an earlier hour", "load asked for by an operator",
    "object lost", "object spoilt", "paused by an operator", "paused by fastetl", "shard split", "stack deployed again",
    "statement ABORTED", "statement FAILED", "statement FINISHED", "statement held for hours", "step dissolved",
    "step loaded", "step marked", "step quarantined", "step resolving", "step retry", "step split", "stream re-created",
    "trouble data", "trouble denied", "trouble disk", "trouble s3", "two coordinators at once", "wake-up doubled",
    "wake-up lost", "wake-up refused by reserved concurrency", "changes trimmed", "resync finished",
    "resync waits for loads", "lost changes replayed after a resync", "conversion begun again", "backfill killed",
    "column left", "column returned", "neighbour broken", "broken pipeline beside another", "target taken over",
    "two stacks at once", "changes stamped too early",
}  # fmt: skip


@pytest.fixture(scope="module")
def summary() -> Summary:
    return run_everywhere(0, SEEDS, max(1, (os.cpu_count() or 2) - 1), lambda _: None)


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_doubled_whatever_happens(summary: Summary) -> None:
    assert summary.seeds == SEEDS
    failing = {f"make simulate SEED={seed}": violations for seed, violations in summary.violations.items()}
    assert not failing


@pytest.mark.timeout(900)
def test_rare_paths_were_reached(summary: Summary) -> None:
    assert not REACHED - set(summary.coverage)


@pytest.mark.parametrize("seed", range(10))
def test_a_seed_runs_the_same_again(seed: int) -> None:
    first, again = simulate(seed), simulate(seed)
    assert first.fingerprint == again.fingerprint
    assert first.coverage == again.coverage
