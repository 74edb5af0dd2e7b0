"""Each guard of the protocol is needed: without it the simulation finds a violation of what the guard is for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.simulation.runner import find_violation

README = Path(__file__).with_name("README.md").read_text()
TABLE = re.findall(r"^\| ([^|]+?) \| (\d+) \| ([^|]+?) \|$", README, re.MULTILINE)
"""Guard, first seed, and how its loss shows, as README.md has them; from that seed the search begins."""

SEEDS = {name: int(seed) for name, seed, _ in TABLE}
SEARCHED = 300


def test_the_table_says_of_each_mutation_how_it_shows() -> None:
    assert {name: set(shows.split(", ")) for name, _, shows in TABLE} == {
        name: guard.shows for name, guard in MUTATIONS.items()
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_guard_that_is_switched_off_is_missed(mutation: str) -> None:
    found = find_violation(mutation, range(SEEDS[mutation], SEEDS[mutation] + SEARCHED))
    assert found
    _, violation = found
    assert violation.partition(":")[0] in MUTATIONS[mutation].shows, violation
