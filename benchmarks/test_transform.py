"""From an event's bytes to a compressed file: everybody's way, on one core, one after the other in turns.

The statistics of pytest-benchmark are CPU seconds; `wall` in a test's extra information is wall seconds. Turns are the
outermost parameter, so that whatever else the machine does meets every candidate; the report takes the median of all
turns. fastetl runs as its Lambda function does, with the cyclic collector paused; everybody else with it, but it need
not walk through what pytest and the other candidates hold.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import cache

import pytest

from benchmarks.candidates import FASTETL, FLOOR, PEERS, build_candidates, find_differences, read_rows
from benchmarks.events import SHAPES, Shape

TURNS = 3
ROUNDS = 3
MORE_TURNS = {"flat": 9, "nested": 9}
"""For the shapes of which something is asked: a neighbour of this machine can disturb three turns in a row."""


@cache
def build_checked(name: str) -> tuple[Shape, dict[str, Callable[[bytes], bytes]]]:
    """Build a shape and its candidates, and see that everybody's file says the same before anything is timed."""
    shape = SHAPES[name]()
    candidates = build_candidates(shape)
    expected = read_rows("raw path", shape, candidates["raw path"](shape.event))
    assert len(expected) == shape.records
    for candidate, transform in candidates.items():
        differences = find_differences(candidate, shape, expected, transform(shape.event))
        excused = PEERS[candidate].differs.get(name, "").partition(":")[0] if candidate in PEERS else ""
        assert differences <= set(excused.split(", ")), candidate
    return shape, candidates


TIMES = [
    (turn, name) for turn in range(max(MORE_TURNS.values())) for name in SHAPES if turn < MORE_TURNS.get(name, TURNS)
]


@pytest.mark.parametrize("candidate", [*PEERS, *FASTETL, FLOOR])
@pytest.mark.parametrize(("turn", "name"), TIMES)
def test_transform(benchmark, turn, name, candidate):
    shape, candidates = build_checked(name)
    transform = candidates.get(candidate)
    if transform is None:
        pytest.skip(PEERS[candidate].cannot[name])
    wall = []

    def run() -> bytes:
        started = time.perf_counter()
        file = transform(shape.event)
        wall.append(time.perf_counter() - started)
        return file

    benchmark.group = name
    gc.collect()
    gc.freeze()
    if candidate in FASTETL or candidate == FLOOR:
        gc.disable()
    try:
        file = benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    finally:
        gc.enable()
        gc.unfreeze()
    benchmark.extra_info.update(
        shape=name, candidate=candidate, turn=turn, wall=wall[1:], records=shape.records,
        event_bytes=len(shape.event), file_bytes=len(file),
    )  # fmt: skip
