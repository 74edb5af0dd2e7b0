"""The table of faults in README.md names tests and counters that exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.simulation.test_simulation import REACHED

ROOT = Path(__file__).parent.parent.parent
ROWS = re.findall(r"^\| (\d+) [^|]*\| ([^|]*) \|$", Path(__file__).with_name("README.md").read_text(), re.MULTILINE)


def test_every_fault_is_there_once() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 95))


def test_what_the_table_names_exists() -> None:
    for number, where in ROWS:
        tests = re.findall(r"(tests/\S+\.py)::(\w+)", where)
        counters = re.findall(r"`([^`]+)`", where)
        for path, name in tests:
            assert re.search(rf"def {name}\(", (ROOT / path).read_text()), (number, name)
        assert set(counters) <= REACHED, number
        assert tests or counters or "not reached: " in where, number


def test_few_faults_are_out_of_reach() -> None:
    assert sum("not reached: " in where for _, where in ROWS) <= 10
