"""Rows go to the targets whose conditions hold, and elements of lists behind them."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.columns import build_json
from fastetl.config import Condition, Pipeline, name_question, parse_config
from fastetl.decode import Decoder, TargetFinder
from fastetl.enrich import Router
from fastetl.enrich.conditions import build_test
from fastetl.errors import ConfigError

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
    holds = build_test(condition)(frame).to_list()
    assert [bool(each) for each in holds] == [condition.holds({name_question("a"): value}) for value in values]


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


def make_event(*items: dict[str, Any]) -> bytes:
    records = []
    for number, item in enumerate(items):
        change = {
            "ApproximateCreationDateTime": 1_767_225_600, "Keys": {"id": item["id"]}, "NewImage": item,
            "SequenceNumber": str(number + 1),
        }  # fmt: skip
        records.append({"eventID": f"e{number}", "eventName": "INSERT", "eventSourceARN": ARN, "dynamodb": change})
    return json.dumps({"Records": records}).encode()


def test_columns_may_have_any_name_that_is_a_columns() -> None:
    pipeline = parse_config(NAMED_LIKE_OURS, {}).pipelines[0]
    line = {"M": {"row": {"N": "2"}, "route": {"N": "3"}, "target": {"S": "x"}}}
    event = make_event({"id": {"S": "1"}, "row": {"N": "1"}, "lines": {"L": [line]}})
    frame = Router(pipeline).apply(Decoder(pipeline).decode(event).frame).frame
    places = {name: dict(own) for name, own in pipeline.layout.targets}
    assert frame["_target"].to_list() == ["order", "line"]
    assert frame[places["order"]["row"]][0] == "1"
    assert [frame[places["line"][name]][1] for name in ("row", "route", "target")] == ["2", "3", "x"]


ENRICHED = """
[[pipelines.targets.enrichments]]
kind = "expression"
sql = "id"
outputs = [{ name = "copy", type = "VARCHAR(8)" }]
"""
SECOND_CHILD = """
[[pipelines.targets]]
name = "again"
target = "public.again"
rows_of = "lines"
columns = [{ name = "row", type = "INTEGER" }]
"""


@pytest.mark.parametrize("enrichment", ["", ENRICHED], ids=["plain", "enriched"])
def test_two_child_tables_may_be_of_one_list(enrichment: str) -> None:
    child = '[[pipelines.targets]]\nname = "line"'
    text = NAMED_LIKE_OURS.replace(child, enrichment + child) + SECOND_CHILD
    pipeline = parse_config(text, {}).pipelines[0]
    event = make_event({"id": {"S": "1"}, "lines": {"L": [{"M": {"row": {"N": "2"}}}]}})
    frame = Router(pipeline).apply(Decoder(pipeline).decode(event).frame).frame
    assert frame["_target"].to_list() == ["order", "line", "again"]


IN_SQL = """
bucket = "lake"
ledger_table = "ledger"
redshift = { workgroup = "w" }
[[pipelines]]
name = "shop"
table = "shop"
keys = ["id"]
target = "public.shop"
unrouted = "ignore"
[[pipelines.targets]]
name = "large"
target = "public.large"
when = [{ sql = %s }, { attribute = "kind", present = true }]
columns = [
    { name = "id", type = "VARCHAR(8)" }, { name = "total", type = "DECIMAL(10,2)" },
    { name = "paid", path = ["payment", "on"], type = "DATE" },
    { name = "kind", type = "VARCHAR(4)", on_misfit = "truncate" },
]
[[pipelines.targets]]
name = "other"
target = "public.other"
when = [{ sql = "id > 'k'" }]
columns = [{ name = "id", type = "VARCHAR(8)" }, { name = "total", type = "VARCHAR(99)" }]
"""
WHEN = "total >= 100.5 AND (paid IS NULL OR paid < CAST('2026-01-01' AS DATE)) AND kind <> 'x'"


def parse_in_sql(sql: str) -> Pipeline:
    return parse_config(IN_SQL % json.dumps(sql), {}).pipelines[0]


ITEM = st.fixed_dictionaries(
    {"id": st.sampled_from("az").map(lambda text: {"S": text})},
    optional={
        "total": st.sampled_from([{"N": "100.50"}, {"N": "7"}, {"N": "1.234"}, {"S": "200"}, {"NULL": True}]),
        "payment": st.sampled_from(["2025-12-31", "2026-01-01", "never"]).map(lambda day: {"M": {"on": {"S": day}}}),
        "kind": st.sampled_from(["x", "y", "xyzxyz"]).map(lambda text: {"S": text}),
    },
)


@given(items=st.lists(ITEM, min_size=1, max_size=4))
def test_a_condition_in_sql_asks_columns_of_the_target_whatever_decodes_them(items: list[dict[str, Any]]) -> None:
    pipeline = parse_in_sql(WHEN)
    decoder, finder = Decoder(pipeline), TargetFinder(pipeline)
    changes = decoder.decode(make_event(*items))
    routed = Router(pipeline).apply(changes.frame).frame
    found = dict(zip(routed["_event_id"], routed["_target"], strict=True))
    rejected = {reject.event_id for reject in changes.rejects}

    def is_large(item: dict[str, Any]) -> bool:
        day = item.get("payment", {"M": {"on": {"S": ""}}})["M"]["on"]["S"]
        return item.get("total") == {"N": "100.50"} and day != "2026-01-01" and item.get("kind") == {"S": "y"}

    for number, item in enumerate(items):
        expected = "large" if is_large(item) else "other" if item["id"] == {"S": "z"} else None
        assert (finder.find(item)[0] or None) == expected
        # What does not fit a column counts as NULL for the condition, and rejects the record where it is its own.
        unfit = expected == "large" and item.get("payment") == {"M": {"on": {"S": "never"}}}
        assert (f"e{number}" in rejected) is unfit
        if not unfit:
            assert found[f"e{number}"] == expected


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("total >", "unable to parse"),
        ("total > 1 AND nothing = 2", "no column 'nothing'"),
        ("total + 1", "a filter is a condition"),
        ("SQUARE_OF(total) = 4", "SQUARE_OF"),
        ("(SELECT total FROM read_csv('/etc/passwd')) = 1", "when[0].sql"),
    ],
)
def test_sql_that_is_no_condition_is_told_at_start(sql: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        Router(parse_in_sql(sql))
    assert told.lower() in str(error.value).lower()
    assert "pipelines.shop.targets.large.when[0].sql" in str(error.value)


def test_sql_that_asks_other_rows_is_told() -> None:
    (problem,) = Router(parse_in_sql("total >= AVG(total)")).try_out()
    assert "row-wise" in problem.message


def test_a_row_on_which_a_condition_fails_is_not_taken() -> None:
    items = [{"id": {"S": name}, "kind": {"S": name}} for name in ("1", "a", "2")]
    pipeline = parse_in_sql("CAST(kind AS INT) > 0")
    frame = Router(pipeline).apply(Decoder(pipeline).decode(make_event(*items)).frame).frame
    assert frame["_target"].to_list() == ["large", None, "large"]
    assert [TargetFinder(pipeline).find(item)[0] for item in items] == ["large", "", "large"]


def test_keys_alone_decide_where_sql_asks_nothing_else() -> None:
    assert not parse_in_sql(WHEN).keys_decide
    both = [', { attribute = "kind", present = true }', IN_SQL % json.dumps("id = 'a'")]
    assert parse_config(both[1].replace(both[0], ""), {}).pipelines[0].keys_decide
