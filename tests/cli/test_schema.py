"""`fastetl schema diff`: how it says what did not fit."""

from __future__ import annotations

import pytest

from fastetl.cli.schema import explain


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("ignored/a/b", "attribute a/b has no column, and was ignored"),
        ("misfit/note/too_long", "a value did not fit column note (too_long), and it became NULL or was cut"),
        ("reject/note/too_long", "a value did not fit column note (too_long), and its record was rejected"),
        ("reject//milliseconds", "a record was rejected as a whole (milliseconds)"),
    ],
)
def test_drift_is_told_in_words(what: str, said: str) -> None:
    assert explain(what) == said
