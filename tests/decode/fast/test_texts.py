"""Columns of JSON values, cut apart all at once, say what each value says for itself."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given

from fastetl.decode.fast.texts import SPELLINGS, guess_tag, read_texts

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", "\0", r"\u0000", '"}\n{"S":"', '"}', "\\", "\n", '{"NULL":true}', "Łódź", "a\0b"]
)
CONTENT = {"S": TEXT, "N": TEXT, "B": TEXT, "BOOL": st.booleans()}
ABSENT = None


def spell(value: Any, tag: str, *, escape: bool) -> bytes:
    if value is ABSENT:
        return bytes(SPELLINGS[tag].absent)
    return json.dumps(value, separators=(",", ":")).encode() if escape else orjson.dumps(value)


@st.composite
def columns(draw: Any) -> tuple[int, list[tuple[str, list[Any]]]]:
    rows = draw(st.integers(1, 6))
    found = []
    for tag in draw(st.lists(st.sampled_from(sorted(CONTENT)), min_size=1, max_size=4)):
        fitting = st.builds(lambda content, tag=tag: {tag: content}, CONTENT[tag])
        odd: list[Any] = [{"L": []}, {"S": "a", "N": "1"}, {"N": "7"}, {"BOOL": True}, {}, None, {"S": 1}]
        value = st.one_of(fitting, fitting, fitting, st.just({"NULL": True}), st.just(ABSENT), st.sampled_from(odd))
        found.append((tag, draw(st.lists(value, min_size=rows, max_size=rows))))
    return rows, found


@given(columns(), st.booleans())
def test_every_value_is_its_text_or_odd(drawn: Any, escape: bool) -> None:
    rows, given_columns = drawn
    joined = [(tag, [spell(value, tag, escape=escape) for value in values]) for tag, values in given_columns]
    for (tag, values), texts in zip(given_columns, read_texts(joined, rows), strict=True):
        assert len(texts.series) == rows
        for place, (value, text) in enumerate(zip(values, texts.series.to_list(), strict=True)):
            if place in texts.odd:
                # Odd are values of another type, and texts with NUL, which no column takes; they come as they were.
                assert json.loads(texts.odd[place]) == value
                assert text is None
            elif value in (ABSENT, {"NULL": True}):
                assert text is None
            else:
                assert list(value) == [tag]
                assert text == ({True: "true", False: "false"}[value[tag]] if tag == "BOOL" else value[tag])
            is_text = isinstance(value, dict) and isinstance(value.get(tag), bool if tag == "BOOL" else str)
            if is_text and len(value) == 1 and r"\u0000" not in json.dumps(value):
                assert place not in texts.odd


@pytest.mark.parametrize("joined", [b'{"S": "a"}\n{"S":\n"b"}', b'{"S":"\xff"}\n{"S":"b"}'])
def test_what_cannot_be_told_apart_is_odd_as_a_whole(joined: bytes) -> None:
    (texts,) = read_texts([("S", [joined])], 2)
    assert (texts.series.to_list(), texts.odd) == ([None, None], {0: "", 1: ""})


def test_one_odd_value_does_not_make_the_others_odd() -> None:
    (texts,) = read_texts([("N", [b'{"N":"1"}\n{"S":"x"}', b'{"N":"3"}'])], 3)
    assert (texts.series.to_list(), texts.odd) == (["1", None, "3"], {1: '{"S":"x"}'})


def test_a_keys_type_is_that_of_its_first_value() -> None:
    assert [guess_tag([joined]) for joined in (b'{"N":"1"}\n', b'{"B":"AA=="}', b'{"S":""}', b"{}")] == list("NBSS")
