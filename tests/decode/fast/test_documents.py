"""Documents written for SUPER all at once are those that are written one by one."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import orjson
import polars as pl
import pytest
from hypothesis import given, settings

from fastetl.columns.documents import build_json
from fastetl.columns.rule import UnfitError
from fastetl.decode.fast.documents import write_documents
from fastetl.limits import MAX_VARCHAR_BYTES

TEXT = st.sampled_from(
    ["", "x", "a b", "Łódź", "1", '{"S":"x"}', "}}", "{{name}}", "]}", '"', "\\", "null", "S", "M", "N", ":", ","]
)
NUMBER = st.sampled_from(
    [
        "0",
        "-1",
        "1.5",
        "0.25",
        "-0",
        "1.50",
        "1E5",
        "007",
        "9" * 36,
        "9" * 38,
        "9" * 39,
        f"{'9' * 20}.{'9' * 18}",
        "x",
        "",
    ]
)
LEAF = st.one_of(
    st.builds(lambda text: {"S": text}, TEXT),
    st.builds(lambda number: {"N": number}, NUMBER),
    st.booleans().map(lambda truth: {"BOOL": truth}),
    st.just({"NULL": True}),
    st.just({"B": "AA=="}),
    st.just({"SS": ["b", "a"]}),
    st.just({"NS": ["10", "9"]}),
)
DOCUMENT = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: {"L": values}),
        st.dictionaries(TEXT, inner, max_size=3).map(lambda values: {"M": values}),
    ),
    max_leaves=8,
)
BROKEN = st.sampled_from(
    [{"M": {"a": "x"}}, {"M": {"S": "x"}}, {"L": ["x"]}, {"M": []}, {"S": {"S": "x"}}, {}, {"S": "x", "N": "1"}, []]
)


def write_one(document: Any) -> str | None:
    try:
        ((tag, content),) = document.items()
        return build_json(tag, content)
    except (UnfitError, AttributeError, ValueError, KeyError):
        return None


@settings(max_examples=300)
@given(st.lists(DOCUMENT | BROKEN, min_size=1, max_size=5))
def test_both_ways_give_the_same(documents: list[Any]) -> None:
    texts = pl.Series(values=[orjson.dumps(document).decode() for document in documents])
    for document, written in zip(documents, write_documents(texts), strict=True):
        assert written in (write_one(document), None)


@pytest.mark.parametrize(
    "document",
    [
        {"S": "plain"},
        {"M": {"S": {"S": "key"}, "M": {"M": {"N": {"N": "1"}}}, "L": {"L": [{"BOOL": True}, {"NULL": True}]}}},
        {"SS": ["b", "Łódź", "a", ""]},
        {"M": {"": {"L": []}, "empty": {"M": {}}, "city": {"S": "Łódź"}, "price": {"N": "-12.75"}}},
    ],
)
def test_what_most_documents_are_is_regular(document: Any) -> None:
    text = pl.Series(values=[orjson.dumps(document).decode()])
    assert write_documents(text).to_list() == [write_one(document)]


def test_a_text_too_long_for_super_is_not_regular() -> None:
    fits, exceeds = ({"L": [{"S": "x"}, {"S": "ü" * (MAX_VARCHAR_BYTES // 2) + end}]} for end in ("y", "yy"))
    texts = pl.Series(values=[orjson.dumps(document).decode() for document in (fits, exceeds, {"S": "short"})])
    assert write_documents(texts).is_null().to_list() == [False, True, False]
