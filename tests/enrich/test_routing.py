"""Rows go to the targets whose conditions hold, and elements of lists behind them."""

from __future__ import annotations

import json

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fastetl.columns import build_json
from fastetl.config import Condition, name_question, parse_config
from fastetl.decode import Decoder
from fastetl.enrich import Router
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


ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop/stream/2026-01-01T00:00:00.000"
NAMED_LIKE_OURS = """
bucket = "lake"
ledger_table = "ledger"
redshift = { workgroup = "w" }
[[pipelines]]
name = "shop"
table = "shop"
keys = ["id"]
target = "public.shop"
[[pipelines.targets]]
name = "order"
target = "public.orders"
when = []
columns = [{ name = "id", type = "VARCHAR(8)" }, { name = "row", type = "INTEGER" }]
[[pipelines.targets]]
name = "line"
target = "public.lines"
rows_of = "lines"
columns = [
    { name = "row", type = "INTEGER" }, { name = "route", type = "INTEGER" }, { name = "target", type = "CHAR(1)" },
]
"""


def test_columns_may_have_any_name_that_is_a_columns() -> None:
    pipeline = parse_config(NAMED_LIKE_OURS, {}).pipelines[0]
    line = {"M": {"row": {"N": "2"}, "route": {"N": "3"}, "target": {"S": "x"}}}
    item = {"id": {"S": "1"}, "row": {"N": "1"}, "lines": {"L": [line]}}
    change = {
        "ApproximateCreationDateTime": 1_767_225_600, "Keys": {"id": {"S": "1"}}, "NewImage": item,
        "SequenceNumber": "1",
    }  # fmt: skip
    record = {"eventID": "e", "eventName": "INSERT", "eventSourceARN": ARN, "dynamodb": change}
    event = json.dumps({"Records": [record]}).encode()
    frame = Router(pipeline).apply(Decoder(pipeline).decode(event).frame).frame
    places = {name: dict(own) for name, own in pipeline.layout.targets}
    assert frame["_target"].to_list() == ["order", "line"]
    assert frame[places["order"]["row"]][0] == "1"
    assert [frame[places["line"][name]][1] for name in ("row", "route", "target")] == ["2", "3", "x"]
