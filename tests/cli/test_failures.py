"""What a person reads of an error: what, where, and what to do."""

from __future__ import annotations

import pytest

from fastetl.cli.failures import find_problems, write
from fastetl.errors import StorageError, WarehouseError

LACKING = "`fastetl ddl --apply` creates tables, and `fastetl schema diff` shows the columns that they lack."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            WarehouseError('merge: ERROR: column "age" of relation "pets" does not exist', step="merge"),
            f'merge: ERROR: column "age" of relation "pets" does not exist. {LACKING}',
        ),
        (WarehouseError("copy: ERROR: disk full", step="copy"), "copy: ERROR: disk full."),
        (WarehouseError('ERROR: relation "typed" does not exist'), 'ERROR: relation "typed" does not exist.'),
        (
            WarehouseError("gate_row: invalid input syntax for type integer: 'no row'", step="gate_row"),
            "another stack owns the target, or its gate table has no row any more: `fastetl ddl --apply` names the"
            " owner, or writes the row again; with `--take-over` this stack becomes the owner.",
        ),
        (StorageError("it ends in dots ..."), "it ends in dots ..."),
    ],
)
def test_a_refusal_of_the_warehouse_is_told_with_its_step_and_what_mends_it(error: Exception, said: str) -> None:
    assert [write(problem) for problem in find_problems(error)] == [said]
