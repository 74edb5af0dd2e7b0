"""What is read of the warehouse before a decision: whether an attempt that was not seen may be sent again."""

from __future__ import annotations

from typing import Any

import pytest

from fastetl.load.decide import Verdict
from fastetl.load.survey import Survey
from fastetl.model import Batch
from fastetl.sql.text import Statement

BATCH = Batch("b", "orders", "l", "m", "f", "c", 1, 1, 1, "", "", state="SUBMITTING", steps=("lock", "copy"))


class Unseen:
    """A warehouse that knows no statement of this name, and a planner whose configuration has changed or not."""

    def __init__(self, *steps: str) -> None:
        self.steps = steps

    async def find(self, _name: str) -> str:
        return ""

    async def load(self, _batch: Batch) -> tuple[Statement, ...]:
        return tuple(Statement(step, "SELECT 1") for step in self.steps)


@pytest.mark.parametrize(
    ("steps", "is_unchanged"),
    [(("lock", "copy"), True), (("lock", "copy", "grant"), False), (("copy", "lock"), False), ((), False)],
)
async def test_changed_sql_is_never_sent_under_a_token_that_may_be_known(
    steps: tuple[str, ...], is_unchanged: bool
) -> None:
    survey: Any = object.__new__(Survey)
    survey._warehouse = survey._planner = Unseen(*steps)
    assert await survey._look_for_attempt(BATCH) == Verdict("unseen", is_unchanged=is_unchanged)
