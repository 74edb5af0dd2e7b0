"""Some seeds of the simulation, each a test: collected for mutants alone, because `make test` simulates thousands."""

from __future__ import annotations

import pytest

from tests.simulation.world import simulate


@pytest.mark.parametrize("first", range(0, 100, 5))
def test_nothing_is_lost_or_doubled(first: int) -> None:
    found = {seed: list(simulate(seed).violations) for seed in range(first, first + 5)}
    assert found == {seed: [] for seed in found}
