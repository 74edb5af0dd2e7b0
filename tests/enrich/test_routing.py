"""Rows go to the targets whose conditions hold: the frame's way agrees with the conditions' own."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fastetl.columns import build_json
from fastetl.config import Condition, name_question
from fastetl.enrich.conditions import find_rows

PIECES = st.sampled_from(
    ["ORDER", "#", "*", ".", "\\", '"', "\n", "é", "1", " ", "-", "&", "~", "[", "(", "$", "^", "😀"]
)
TEXT = st.lists(PIECES, max_size=5).map("".join)
SOME = st.lists(PIECES, min_size=1, max_size=4).map("".join)
CONDITION = st.one_of(
    st.builds(Condition, st.just("a"), begins_with=SOME),
    st.builds(Condition, st.just("a"), like=SOME),
    st.builds(Condition, st.just("a"), one_of=st.lists(TEXT | st.booleans() | st.integers(), min_size=1).map(tuple)),
    st.builds(Condition, st.just("a"), present=st.booleans()),
)
VALUE = st.none() | st.one_of(
    TEXT.map(lambda text: build_json("S", text)),
    st.sampled_from(["1", "true", "[]", '["ORDER"]', "{}", '"ORDER#1"']),
)


@given(condition=CONDITION, values=st.lists(VALUE, min_size=1, max_size=5))
def test_a_condition_holds_of_the_same_rows_in_a_frame(condition: Condition, values: list[str | None]) -> None:
    frame = pl.DataFrame({name_question("a"): values}, schema={name_question("a"): pl.String})
    holds = find_rows(frame, condition).to_list()
    assert [bool(each) for each in holds] == [condition.holds(value) for value in values]
