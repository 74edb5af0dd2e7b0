"""What is proposed holds every value of the sample, whatever the sample."""

from __future__ import annotations

import tomllib
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fastetl.columns.convert import build_converter
from fastetl.columns.rule import UnfitError
from fastetl.columns.types import Column
from fastetl.columns.values import only
from fastetl.config.model import Config
from fastetl.config.reading import parse_config
from fastetl.operate.propose import propose_columns, propose_sortkey
from tests.test_end_to_end import ANY

CASES: list[tuple[str, list[dict[str, Any]], str]] = [
    ("n", [{"N": "1"}, {"N": "-20"}], "BIGINT"),
    ("n", [{"N": "1234567890123456789"}], "DECIMAL(23,0)"),
    ("n", [{"N": "1.25"}, {"N": "100"}], "DECIMAL(18,2)"),
    ("n", [{"N": "1E37"}], "DECIMAL(38,0)"),
    ("n", [{"N": "123456789012345678901234567890"}], "DECIMAL(34,0)"),
    ("n", [{"N": "12345678901234567890123456789012345678"}, {"N": "1"}], "DECIMAL(38,0)"),
    ("n", [{"N": "123456789012.123456789012345678"}, {"N": "999999999999.999999999999999999"}], "DECIMAL(34,18)"),
    ("n", [{"N": "0.1234567890123456789012345678901234"}, {"N": "0.5"}], "DECIMAL(38,34)"),
    ("n", [{"N": "1.5E-3"}, {"N": "-2.50E1"}], "DECIMAL(18,4)"),
    ("n", [{"N": "-99999999999999999999999999999999999999"}], "DECIMAL(38,0)"),
    ("n", [{"N": "0.00000000000000000000000000000000000001"}], "DOUBLE PRECISION"),
    ("n", [{"N": "1E100"}], "DOUBLE PRECISION"),
    ("n", [{"N": "1E100"}, {"N": "1234567890.12345678901234567890"}], "VARCHAR(128)"),
    ("created_at", [{"N": "1767225600"}], "TIMESTAMP"),
    ("createdAt", [{"N": "1767225600123"}], "TIMESTAMP"),
    ("count", [{"N": "1767225600"}], "BIGINT"),
    ("s", [{"S": "2026-01-31"}], "DATE"),
    ("s", [{"S": "2026-01-31T10:00:00Z"}], "TIMESTAMPTZ"),
    ("s", [{"S": "2026-01-31T10:00:00"}], "TIMESTAMP"),
    ("s", [{"S": "2026-01-31"}, {"S": "soon"}], "VARCHAR(32)"),
    ("s", [{"S": "10:00:00"}, {"S": "23:59:59.5"}], "TIME"),
    ("s", [{"S": "10:00:00Z"}, {"S": "23:59:59+05:30"}], "TIMETZ"),
    ("s", [{"S": "10:00:00Z"}, {"S": "23:59:59"}], "VARCHAR(32)"),
    ("s", [{"S": "é" * 20}], "VARCHAR(128)"),
    ("b", [{"BOOL": True}], "BOOLEAN"),
    ("b", [{"B": "aGVsbG8="}], "VARBYTE(16)"),
    ("x", [{"N": "1"}, {"S": "one"}], "VARCHAR(16)"),
    ("x", [{"S": "one"}, {"L": []}], "SUPER"),
    ("x", [{"M": {}}], "SUPER"),
    ("x", [{"NULL": True}], "VARCHAR(256)"),
]


@pytest.mark.parametrize(("name", "values", "kind"), CASES)
def test_types(name: str, values: list[dict[str, Any]], kind: str) -> None:
    (proposal,) = propose_columns([{name: value} for value in values])
    assert str(proposal.column.type) == kind


@given(st.lists(st.dictionaries(st.text(min_size=1, max_size=5), ANY, max_size=4), max_size=8))
def test_whatever_is_proposed_takes_what_was_seen_and_can_be_written_down(items: list[dict[str, Any]]) -> None:
    proposals = propose_columns(items)
    for proposal in proposals:
        convert = build_converter(proposal.column, r"\N")
        for item in items:
            if (attribute := str(proposal.column.path[0])) in item and "rejects" not in proposal.remark:
                try:
                    convert(*only(item[attribute]))
                except UnfitError as error:
                    pytest.fail(f"{proposal}: {error}")
    assert set(read_back([proposal.to_toml() for proposal in proposals]).pipelines[0].columns) >= {
        Column(p.column.name, p.column.path, p.column.type, time_format=p.column.time_format) for p in proposals
    }


def read_back(columns: list[str]) -> Config:
    head = (
        'bucket = "some-bucket"\nledger_table = "ledger"\n[redshift]\nworkgroup = "w"\n[[pipelines]]\nname = "p"\n'
        'table = "table"\ntarget = "public.t"\nkeys = ["the key"]\n'
        '[[pipelines.columns]]\nname = "the key"\ntype = "BIGINT"\n'
    )
    return parse_config(head + "\n".join(columns), {})


def test_names_are_told_apart() -> None:
    items = [{"Order-Id": {"S": "1"}, "orderId": {"S": "2"}, "2nd": {"S": "3"}, "_x": {"S": "4"}, "東京": {"S": "5"}}]
    names = [proposal.column.name for proposal in propose_columns(items, taken=["x"])]
    assert names == ["order_id", "order_id_2", "c_2nd", "x_2", "c"]


@pytest.mark.parametrize("inline", [True, False])
def test_what_is_proposed_can_be_pasted_as_it_is(inline: bool) -> None:
    items = [{"when": {"N": "1767225600"}, "a.b": {"S": "x"}, "mixed": {"S": "1"}}, {"mixed": {"N": "1"}}]
    written = "".join(each.to_toml(inline=inline) for each in propose_columns(items))
    text = f"[[pipelines]]\ncolumns = [\n{written}]" if inline else f"[[pipelines]]\n{written}"
    (pipeline,) = tomllib.loads(text)["pipelines"]
    assert [column["name"] for column in pipeline["columns"]] == ["when", "a_b", "mixed"]
    assert "# mixed types" in written


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["1"], "whole numbers of at most 1 digits"),
        (["123456789012.123456789012345678"], "numbers of at most 12 digits before the point and 18 after it"),
    ],
)
def test_it_says_why_a_type_was_chosen(values: list[str], why: str) -> None:
    (proposal,) = propose_columns([{"n": {"N": value}} for value in values])
    assert proposal.why == why
    assert f"# {why}; 1 seen\n" in proposal.to_toml()


def test_attributes_whose_name_no_toml_file_can_hold_are_left_out() -> None:
    proposals = propose_columns([{"\ud800": {"S": "x"}, "id": {"S": "\ud800"}}])
    assert [proposal.column.name for proposal in proposals] == ["id"]


def test_a_time_of_all_items_sorts_the_mirror() -> None:
    proposals = propose_columns(
        [
            {"id": {"S": "1"}, "at": {"S": "2026-01-01"}, "on": {"S": "2026-01-01"}},
            {"id": {"S": "2"}, "on": {"S": "2026-01-02"}},
        ]
    )
    assert propose_sortkey(proposals, 2)[0] == "on"
    assert propose_sortkey(proposals[:2], 2)[0] == "_key"
    assert propose_sortkey((), 0)[0] == "_key"
