"""Each guard of the protocol is needed: without it the simulation finds a violation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation.mutations import MUTATIONS, SECOND_LINES
from tests.simulation.runner import find_violation

TABLE = {
    name: int(seed)
    for name, seed in re.findall(
        r"^\| ([^|]+?) \| (\d+) \|", Path(__file__).with_name("README.md").read_text(), re.MULTILINE
    )
}
"""The seeds of the table in README.md, from which the search begins."""

SEARCHED = 300


def test_the_table_has_every_mutation() -> None:
    assert set(TABLE) == set(MUTATIONS)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_guard_that_is_switched_off_is_missed(mutation: str) -> None:
    assert find_violation(mutation, range(TABLE[mutation], TABLE[mutation] + SEARCHED))


def test_second_lines_are_named_too() -> None:
    assert len(SECOND_LINES) == 7
