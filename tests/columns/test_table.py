"""One rule for each type: what is tried here is tried with every type of the table, so that none can be half done."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from typing import Any, get_args

import msgspec
import polars as pl
import pytest

from fastetl.columns import (
    RULES,
    Column,
    Encoding,
    RedshiftType,
    Rule,
    build_converter,
    build_shortener,
    make_example,
    natural_dtype,
    only,
    read_column,
    write_column,
)

MARKER = r"\N"
LISTED = [encoding for encoding in get_args(Encoding) if encoding not in {"RAW", "ZSTD"}]
EVERY = pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
TOO_LONG = {"CHAR": ("S", "ab" * 5000), "VARCHAR": ("S", "äb" * 50_000)}
TOO_PRECISE = ("S", "2026-01-01T10:00:00.123456789")
TOO_LONG |= dict.fromkeys(("TIME", "TIMETZ"), ("S", "10:00:00.123456789"))


def column_of(rule: Rule, **changes: Any) -> Column:
    return Column("c", ("c",), RedshiftType.parse(rule.kind), **changes)


def examples_of(column: Column, count: int = 200) -> list[dict[str, object]]:
    chance = random.Random(0)
    return [make_example(column, chance) for _ in range(count)]


def texts_of(column: Column) -> list[str]:
    convert = build_converter(column, MARKER)
    return [str(convert(*only(value))) for value in examples_of(column)]


def test_every_type_has_one_rule_and_a_name_of_its_own() -> None:
    names = [name for rule in RULES.values() for name in (rule.kind, *rule.synonyms)]
    assert len(names) == len(set(names))
    assert all(kind == rule.kind and RedshiftType.parse(kind).rule is rule for kind, rule in RULES.items())


@EVERY
def test_a_type_is_read_by_all_its_names_and_written_by_one(rule: Rule) -> None:
    kind = RedshiftType.parse(rule.kind)
    names = [rule.kind, *rule.synonyms, rule.catalog or rule.kind.lower()]
    arguments = str(kind).removeprefix(rule.kind)
    assert {RedshiftType.parse(f" {name.lower()} {arguments}") for name in names} == {kind}
    for bound in rule.bounds:
        assert bound.least <= bound.default <= bound.most
    if rule.bounds:
        for length in (rule.bounds[0].least - 1, rule.bounds[0].most + 1):
            with pytest.raises(ValueError, match=f"the {rule.bounds[0].name} is"):
                RedshiftType.parse(f"{rule.kind}({length})")
    if len(rule.bounds) < 2:  # more than two are not even read
        with pytest.raises(ValueError, match="at most"):
            RedshiftType.parse(f"{rule.kind}(1,1)")


@EVERY
def test_what_a_type_gives_is_what_copy_reads(rule: Rule) -> None:
    texts = texts_of(column_of(rule))
    assert [text for text in texts if not re.fullmatch(rule.copied, text, re.DOTALL)] == []
    assert not re.fullmatch(rule.copied, "\0")


@EVERY
def test_a_whole_column_of_text_gives_what_its_values_give(rule: Rule) -> None:
    column = column_of(rule)
    if not rule.is_spelled_as_text or column.tag == "document":
        return
    contents = [content for value in examples_of(column) for _, content in [only(value)]]
    written, unfit = write_column(pl.Series("c", [*contents, None], dtype=pl.String), column.type, MARKER)
    assert (written.to_list(), unfit) == ([*texts_of(column), None], {})
    assert write_column(pl.Series("c", [MARKER, "\0", ""]), column.type, MARKER)[1].keys() >= {0, 1}


@EVERY
def test_an_enrichment_sees_a_column_as_what_it_is_and_gives_it_back_unchanged(rule: Rule) -> None:
    column = column_of(rule)
    texts = texts_of(column)
    frame = pl.DataFrame({"c": [*texts, None]}, schema={"c": pl.String}).select(read_column("c", column.type))
    assert frame["c"].dtype == natural_dtype(column.type)
    assert frame["c"].null_count() == 1
    written, unfit = write_column(frame["c"], column.type, MARKER)
    again = pl.DataFrame({"c": written}).select(read_column("c", column.type))
    assert again.equals(frame)
    assert unfit == {}
    assert written.dtype == pl.String
    with_text, _ = write_column(pl.Series("c", [None], dtype=pl.Null), column.type, MARKER)
    assert with_text.to_list() == [None]


@EVERY
def test_a_wider_type_takes_every_value(rule: Rule) -> None:
    narrow = column_of(rule)
    assert narrow.type.holds(narrow.type)
    for kind in rule.wider:
        longest = {"length": RULES[kind].bounds[0].most} if RULES[kind].bounds else {}
        wide = msgspec.structs.replace(narrow, type=RedshiftType(kind, **longest))
        assert wide.type.holds(narrow.type)
        assert not narrow.type.holds(wide.type)
        assert texts_of(narrow) == [build_converter(wide, MARKER)(*only(value)) for value in examples_of(narrow)]


@EVERY
def test_what_is_shortened_fits(rule: Rule) -> None:
    column = column_of(rule)
    shorten = build_shortener(column, MARKER)
    assert (shorten is None) is (rule.shorten is None)
    if shorten:
        text = shorten(*TOO_LONG.get(rule.kind, TOO_PRECISE))
        assert text is not None
        assert re.fullmatch(rule.copied, text)
        assert shorten("NULL", True) is None


@EVERY
def test_numbers_since_1970_are_taken_where_a_type_says_so(rule: Rule) -> None:
    if not rule.takes_time_format:
        return
    by_format = [texts_of(column_of(rule, time_format=name)) for name in ("epoch_s", "epoch_ms", "epoch_us")]
    assert by_format[0] == by_format[1] == by_format[2]
    assert all(re.fullmatch(rule.copied, text) for text in by_format[0])


def test_a_type_that_nobody_knows_is_refused_wherever_it_comes_from() -> None:
    with pytest.raises(ValueError, match="not a Redshift type"):
        RedshiftType("GEOGRAPHY")
    with pytest.raises(msgspec.ValidationError, match="not a Redshift type"):
        msgspec.json.decode(b'{"kind":"GEOGRAPHY"}', type=RedshiftType)


def test_polars_is_imported_when_a_frame_is_made_and_not_before() -> None:
    code = """
import sys
from typing import Any
import fastetl.load, fastetl.columns as columns
assert "polars" not in sys.modules
columns.natural_dtype(columns.RedshiftType("BIGINT"))
assert "polars" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=250)


@EVERY
def test_every_type_has_encodings_that_compress_it_and_raw_and_zstd_take_any(rule: Rule) -> None:
    taken = {encoding for encoding in get_args(Encoding) if rule.is_compressed_by(encoding)}
    assert rule.encodings <= set(get_args(Encoding))
    assert taken == rule.encodings | {"RAW", "ZSTD"}
    assert rule.encodings


def test_encodings_are_those_of_the_guide() -> None:
    """The table of "Compression encodings", read by encoding."""
    whole, moments = {"SMALLINT", "INTEGER", "BIGINT", "DECIMAL"}, {"DATE", "TIMESTAMP"}
    every, clock, raw = set(RULES), {"TIME", "TIMETZ"}, {"VARBYTE", "SUPER"}
    floats = {"REAL", "DOUBLE PRECISION"}
    assert {encoding: {kind for kind, rule in RULES.items() if encoding in rule.encodings} for encoding in LISTED} == {
        "AZ64": whole | moments | clock | {"TIMESTAMPTZ"},
        "BYTEDICT": every - raw - clock - {"BOOLEAN"},
        "DELTA": whole | moments,
        "DELTA32K": (whole | moments) - {"SMALLINT"},
        "LZO": every - floats - {"BOOLEAN"},
        "MOSTLY8": whole,
        "MOSTLY16": whole - {"SMALLINT"},
        "MOSTLY32": {"BIGINT", "DECIMAL"},
        "RUNLENGTH": every - raw - clock,
        "TEXT255": {"VARCHAR"},
        "TEXT32K": {"VARCHAR"},
    }
    assert {kind for kind, rule in RULES.items() if not rule.orders} == raw
