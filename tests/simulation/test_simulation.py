"""The product's own code under seeded faults: no invariant is violated, every seed replays, rare paths are reached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.runner import CHUNK, Kind, Summary, read_done, run_everywhere
from tests.simulation.world import simulate

SEEDS = {Kind(): range(600), Kind(large=True): range(54, 57), Kind(duckdb=True): range(4)}
"""Of the large ones those that reach what is rare in them."""

REACHED = {
    *(f"fault {kind}" for kind in KINDS),
    "HEAD lost", "batch delivered again", "change that the warehouse refuses", "clocks apart",
    "committed, and reported as failed", "coordinator killed", "delete", "epoch begun",
    "gate held by a person", "ingest killed", "ledger restored to an earlier hour", "load asked for by an operator",
    "object lost", "object spoilt", "paused by an operator", "paused by fastetl", "shard split", "stack deployed again",
    "statement ABORTED", "statement FAILED", "statement FINISHED", "statement held for hours", "step dissolved",
    "step loaded", "step marked", "step quarantined", "step resolving", "step retry", "step split", "stream re-created",
    "trouble data", "trouble denied", "trouble disk", "trouble s3", "two coordinators at once", "wake-up doubled",
    "wake-up lost", "wake-up refused by reserved concurrency", "changes trimmed", "resync finished", "rows repaired",
    "resync waits for loads", "lost changes replayed after a resync", "conversion begun again", "backfill killed",
    "gate emptied by a person", "bookkeeping deleted by a person", "snapshot of the warehouse restored",
    "mirror emptied by a person", "manifest removed by the lifecycle", "loaded file forgotten by the ledger",
    "file moved to an archive", "old event delivered again", "compression or delimiter changed by a deploy",
    "outputs changed by a deploy", "batch bisected", "event given up by the mapping",
    "event replayed that was given up", "one event in two invocations at once", "changes of two tables in one event",
    "command load", "command pause", "command resume", "command status",
    "command rejects replay", "command reconcile",
    "command rebuild-ledger", "column left", "column returned", "neighbour broken", "broken pipeline beside another",
    "target taken over", "two stacks at once", "changes stamped too early",
    "hundreds of files", "eight open batches", "changes come another way, by kinesis",
    "changes come another way, by stream", "changes come another way, by replica", "paused for another source",
}  # fmt: skip


@pytest.fixture(scope="module")
def summaries() -> dict[Kind, Summary]:
    processes = max(1, (os.cpu_count() or 2) - 1)
    return {
        kind: run_everywhere(seeds.start, len(seeds), processes, lambda _: None, kind) for kind, seeds in SEEDS.items()
    }


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_doubled_whatever_happens(summaries: dict[Kind, Summary]) -> None:
    assert {kind: each.seeds for kind, each in summaries.items()} == {kind: len(each) for kind, each in SEEDS.items()}
    failing = {kind.name: each.violations for kind, each in summaries.items() if each.violations}
    assert not failing


@pytest.mark.timeout(900)
def test_rare_paths_were_reached(summaries: dict[Kind, Summary]) -> None:
    assert not REACHED - {what for each in summaries.values() for what in each.coverage}


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    done_file, seen = tmp_path / "done.jsonl", list[int]()
    first = run_everywhere(0, CHUNK, 1, lambda _: None, done_file=done_file)
    with done_file.open("ab") as file:
        file.write(b'{"code": "cut off')
    again = run_everywhere(0, CHUNK, 1, lambda total: seen.append(total.seeds), done_file=done_file)
    assert seen == [CHUNK]
    assert again == first
    assert read_done(done_file, "other code") == []


@pytest.mark.parametrize("seed", range(10))
def test_a_seed_runs_the_same_again(seed: int) -> None:
    first, again = simulate(seed), simulate(seed)
    assert first.fingerprint == again.fingerprint
    assert first.coverage == again.coverage
