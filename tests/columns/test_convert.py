"""What each column takes, as which text, and why it refuses the rest."""

from __future__ import annotations

import base64
import contextlib
import math
import re
import struct
from decimal import Context, Decimal
from typing import Any

import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given

from fastetl.columns.convert import build_converter, build_path_converter, build_shortener
from fastetl.columns.numbers import build_plain_pattern
from fastetl.columns.rule import UnfitError
from fastetl.columns.table import RULES
from fastetl.columns.texts import truncate
from fastetl.columns.types import Column, RedshiftType
from fastetl.columns.values import parse_number, plain

EXACT = Context(prec=300)
BIGINT_PRECISION = 19


def convert(kind: str, tag: str, content: Any, *, null_marker: str = r"\N", **changes: Any) -> str | None:
    return build_converter(Column("c", ("c",), RedshiftType.parse(kind), **changes), null_marker)(tag, content)


def refusal(kind: str, tag: str, content: Any, **changes: Any) -> str:
    with pytest.raises(UnfitError) as caught:
        convert(kind, tag, content, **changes)
    assert caught.value.detail
    return caught.value.reason


BASE64 = base64.b64encode(b"\x00\xff\x10").decode()

TAKEN = [
    ("VARCHAR(5)", "S", "", ""),
    ("VARCHAR(5)", "S", 'a,"\r\n', 'a,"\r\n'),
    ("VARCHAR(4)", "S", "\U0001f600", "\U0001f600"),
    ("VARCHAR(9)", "N", "1.50", "1.50"),
    ("VARCHAR(9)", "BOOL", False, "false"),
    ("CHAR(3)", "S", "abc", "abc"),
    ("SMALLINT", "N", "-32768", "-32768"),
    ("INT", "N", "1E2", "100"),
    ("INT", "N", "-0", "0"),
    ("INT", "N", "7.00", "7"),
    ("BIGINT", "N", "9223372036854775807", "9223372036854775807"),
    ("DECIMAL(38,0)", "N", "9" * 38, "9" * 38),
    ("DECIMAL(38,37)", "N", "1." + "1" * 37, "1." + "1" * 37),
    ("DECIMAL(38,37)", "N", "1E-37", "0." + "0" * 36 + "1"),
    ("DECIMAL(2,2)", "N", "-0.25", "-0.25"),
    ("DECIMAL(10,2)", "N", "1.500", "1.5"),
    ("DECIMAL(19,0)", "N", "9223372036854775807", "9223372036854775807"),
    ("REAL", "N", "0.1", "0.1"),
    ("REAL", "N", "16777216", "16777216"),
    ("DOUBLE PRECISION", "N", "0.1", "0.1"),
    ("DOUBLE PRECISION", "N", "1E-130", "0." + "0" * 129 + "1"),
    ("BOOLEAN", "BOOL", True, "true"),
    ("VARBYTE(3)", "B", BASE64, "00ff10"),
    ("DATE", "S", "2024-02-29", "2024-02-29"),
    ("TIMESTAMP", "S", "2024-02-29", "2024-02-29 00:00:00"),
    ("TIMESTAMP", "S", "2024-02-29T23:30:00.5-02:00", "2024-03-01 01:30:00.500000"),
    ("TIMESTAMP", "S", "2024-02-29 10:00:00.123456000", "2024-02-29 10:00:00.123456"),
    ("TIMESTAMPTZ", "S", "2024-02-29T10:00Z", "2024-02-29 10:00:00+00"),
    ("TIMESTAMPTZ", "S", "2024-02-29T10:00:00+0530", "2024-02-29 04:30:00+00"),
    ("TIME", "S", "10:00", "10:00:00"),
    ("TIME", "S", "23:59:59.999999000", "23:59:59.999999"),
    ("TIME", "S", "00:00:00,5", "00:00:00.500000"),
    ("TIME", "S", "10:00:00.000000", "10:00:00"),
    ("TIMETZ", "S", "10:00:00", "10:00:00+00"),
    ("TIMETZ", "S", "10:00Z", "10:00:00+00"),
    ("TIMETZ", "S", "10:00:00.25-00:00", "10:00:00.250000+00"),
    ("TIMETZ", "S", "10:00:00+05:30", "10:00:00+05:30"),
    ("TIMETZ", "S", "10:00:00-0800", "10:00:00-08"),
    ("TIMETZ", "S", "10:00:00+1459", "10:00:00+14:59"),
    ("SUPER", "S", 'a"b', '"a\\"b"'),
    ("SUPER", "N", "1E2", "100"),
    ("SUPER", "NULL", True, "null"),
    ("SUPER", "NS", ["10", "9", "-1.50"], "[-1.5,9,10]"),
    ("SUPER", "SS", ["b", "a"], '["a","b"]'),
    ("SUPER", "BS", ["/w==", "AA=="], '["AA==","/w=="]'),
    (
        "SUPER",
        "M",
        {"b": {"N": "1"}, "a": {"M": {"\u00e9": {"N": "2"}, "Z": {"N": "3"}}}},
        '{"a":{"Z":3,"\u00e9":2},"b":1}',
    ),
    ("SUPER", "M", {"k": {"L": [{"BOOL": True}, {"B": BASE64}, {"NULL": True}]}}, f'{{"k":[true,"{BASE64}",null]}}'),
    ("SUPER", "N", "1" * 38, "1" * 38),
    ("BIGINT", "NULL", True, None),
]


@pytest.mark.parametrize(("kind", "tag", "content", "text"), TAKEN)
def test_taken(kind: str, tag: str, content: Any, text: str | None) -> None:
    assert convert(kind, tag, content) == text


REFUSED = [
    ("VARCHAR(3)", "S", "\U0001f600", "too_long"),
    ("VARCHAR(9)", "S", "a\0", "nul"),
    ("VARCHAR(9)", "S", "\ud800", "surrogate"),
    ("VARCHAR(9)", "S", r"\N", "null_marker"),
    ("VARCHAR(9)", "M", {}, "type"),
    ("VARCHAR(9)", "S", 5, "malformed"),
    ("CHAR(3)", "S", "\u00e9", "not_ascii"),
    ("CHAR(3)", "S", "a ", "trailing_blanks"),
    ("SMALLINT", "N", "32768", "range"),
    ("INT", "N", "1.5", "scale"),
    ("INT", "S", "1", "type"),
    ("BIGINT", "N", "9223372036854775808", "range"),
    ("DECIMAL(38,0)", "N", "1E38", "range"),
    ("DECIMAL(5,2)", "N", "1.234", "scale"),
    ("DECIMAL(5,2)", "N", "1234", "range"),
    ("DECIMAL(19,0)", "N", "9223372036854775808", "range"),
    ("REAL", "N", "16777217", "precision"),
    ("REAL", "N", "1E39", "range"),
    ("REAL", "N", "1E-60", "range"),
    ("DOUBLE PRECISION", "N", "0.12345678901234567890", "precision"),
    ("BOOLEAN", "S", "true", "type"),
    ("VARBYTE(2)", "B", BASE64, "too_long"),
    ("VARBYTE(9)", "B", "", "empty"),
    ("VARBYTE(9)", "B", "*", "malformed"),
    ("VARBYTE(9)", "S", "00", "type"),
    ("DATE", "S", "2023-02-29", "format"),
    ("DATE", "S", "20240229", "format"),
    ("TIMESTAMP", "S", "2024-02-29T24:00", "format"),
    ("TIMESTAMP", "S", "2024-02-29T10:00:00.1234567", "precision"),
    ("TIMESTAMP", "S", "0001-01-01T00:00+01:00", "range"),
    ("TIMESTAMP", "S", "10:00", "format"),
    ("TIME", "S", "24:00:00", "format"),
    ("TIME", "S", "9:00", "format"),
    ("TIME", "S", "10:00:60", "format"),
    ("TIME", "S", "10:00:00Z", "format"),
    ("TIME", "S", "10:00:00.1234567", "precision"),
    ("TIME", "S", "2026-01-01T10:00:00", "format"),
    ("TIME", "S", "\u0661\u0660:00:00", "format"),
    ("TIME", "N", "36000", "type"),
    ("TIME", "S", 5, "format"),
    ("TIMETZ", "S", "10:00:00+15:00", "format"),
    ("TIMETZ", "S", "10:00:00+05:60", "format"),
    ("TIMETZ", "S", "10:00:00 CET", "format"),
    ("SUPER", "N", "1E38", "range"),
    ("SUPER", "N", "1E-38", "range"),
    ("SUPER", "S", "a" * 65_536, "too_long"),
    ("SUPER", "M", {"a\0": {"S": ""}}, "nul"),
    ("SUPER", "L", [{"S": "\ud800"}], "surrogate"),
    ("SUPER", "L", [{}], "malformed"),
    ("SUPER", "X", "", "malformed"),
    ("INT", "N", "1E126", "malformed"),
    ("INT", "N", "NaN", "malformed"),
    ("INT", "N", "1_000", "malformed"),
    ("INT", "N", "\u0661", "malformed"),
    ("INT", "N", 5, "malformed"),
]


@pytest.mark.parametrize(("kind", "tag", "content", "reason"), REFUSED)
def test_refused(kind: str, tag: str, content: Any, reason: str) -> None:
    assert refusal(kind, tag, content) == reason


@pytest.mark.parametrize(
    ("time_format", "kind", "number", "text"),
    [
        ("epoch_s", "TIMESTAMP", "1767225600", "2026-01-01 00:00:00"),
        ("epoch_s", "TIMESTAMPTZ", "1767225600.000001", "2026-01-01 00:00:00.000001+00"),
        ("epoch_ms", "TIMESTAMP", "1767225600123", "2026-01-01 00:00:00.123000"),
        ("epoch_us", "TIMESTAMP", "-1", "1969-12-31 23:59:59.999999"),
        ("epoch_s", "DATE", "1767225600", "2026-01-01"),
    ],
)
def test_times_as_numbers(time_format: Any, kind: str, number: str, text: str) -> None:
    assert convert(kind, "N", number, time_format=time_format) == text


@pytest.mark.parametrize(
    ("time_format", "kind", "number", "reason"),
    [
        ("epoch_s", "TIMESTAMP", "0.0000001", "precision"),
        ("epoch_s", "TIMESTAMP", "1E12", "range"),
        ("epoch_s", "TIMESTAMP", "1E125", "range"),
        ("epoch_us", "TIMESTAMP", "1234567890.12345678901234567890", "precision"),
        ("epoch_s", "DATE", "1", "precision"),
        ("epoch_s", "DATE", "x", "malformed"),
    ],
)
def test_times_as_numbers_that_do_not_fit(time_format: Any, kind: str, number: str, reason: str) -> None:
    assert refusal(kind, "N", number, time_format=time_format) == reason


@pytest.mark.parametrize(("marker", "kind", "tag", "content"), [
    ("0", "INT", "N", "0"), ("true", "BOOLEAN", "BOOL", True), ("null", "SUPER", "NULL", True), ("", "CHAR", "S", ""),
])  # fmt: skip
def test_no_value_reads_as_null(marker: str, kind: str, tag: str, content: Any) -> None:
    assert refusal(kind, tag, content, null_marker=marker) == "null_marker"


@pytest.mark.parametrize(
    ("kind", "tag", "content", "time_format", "text"),
    [
        ("TIMESTAMP", "S", "2026-01-01T10:00:00.123456789Z", "iso8601", "2026-01-01 10:00:00.123456"),
        ("TIMESTAMP", "S", "2026-01-01T23:59:59.999999999-01:00", "iso8601", "2026-01-02 00:59:59.999999"),
        ("TIMESTAMPTZ", "S", "1969-12-31 10:00:00,0000009", "iso8601", "1969-12-31 10:00:00+00"),
        ("TIMESTAMP", "N", "1767225600.1234567", "epoch_s", "2026-01-01 00:00:00.123456"),
        ("TIMESTAMP", "N", "-0.0000001", "epoch_s", "1969-12-31 23:59:59.999999"),
        ("TIMESTAMP", "N", "1767225600000.0009", "epoch_ms", "2026-01-01 00:00:00"),
        ("TIMESTAMP", "N", "1.9", "epoch_us", "1970-01-01 00:00:00.000001"),
        ("TIME", "S", "10:00:00.9999999", "iso8601", "10:00:00.999999"),
        ("TIMETZ", "S", "10:00:00.1234567+05:30", "iso8601", "10:00:00.123456+05:30"),
        ("VARCHAR(3)", "S", "abcd", "iso8601", "abc"),
        ("VARCHAR(3)", "S", "ab  d", "iso8601", "ab "),
        ("CHAR(3)", "S", "ab  d", "iso8601", "ab"),
    ],
)
def test_truncated(kind: str, tag: str, content: str, time_format: Any, text: str) -> None:
    column = Column("c", ("c",), RedshiftType.parse(kind), time_format=time_format)
    shorten = build_shortener(column, r"\N")
    assert shorten is not None
    assert shorten(tag, content) == text
    assert refusal(kind, tag, content, time_format=time_format) in {"precision", "too_long"}


@pytest.mark.parametrize(
    ("content", "reason"), [("soon", "format"), (["x"], "format"), ("2026-13-01T10:00:00.1234567", "format")]
)
def test_what_cannot_be_truncated_is_refused(content: Any, reason: str) -> None:
    shorten = build_shortener(Column("c", ("c",), RedshiftType.parse("TIMESTAMP")), r"\N")
    assert shorten is not None
    with pytest.raises(UnfitError) as caught:
        shorten("S", content)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("2026-01-01T10:00:00+01", "2026-01-01 09:00:00"),
        ("2026-01-01T10:00:00+0130", "2026-01-01 08:30:00"),
        ("2026-01-01T10:00:00-00:30", "2026-01-01 10:30:00"),
        ("2026-01-01T10:00+14", "2025-12-31 20:00:00"),
        ("2026-01-01t10:00:00z", None),
        ("2026-01-01 10:00:00 Z", None),
        ("2026-01-01T10:00:00+1:30", None),
    ],
)
def test_offsets(content: str, text: str | None) -> None:
    if text is None:
        assert refusal("TIMESTAMP", "S", content) == "format"
    else:
        assert convert("TIMESTAMP", "S", content) == text


NUMERALS = st.builds(
    lambda digits, exponent: f"{digits}E{exponent}", st.integers(-(10**38) + 1, 10**38 - 1), st.integers(-130, 88)
)


@given(NUMERALS, st.integers(1, 38), st.integers(0, 37))
def test_a_decimal_arrives_with_all_its_digits_or_not_at_all(numeral: str, precision: int, scale: int) -> None:
    scale = min(scale, precision)
    number = Decimal(numeral)
    try:
        text = convert(f"DECIMAL({precision},{scale})", "N", numeral)
    except UnfitError as error:
        if error.reason == "malformed":
            assert number.adjusted() < -130
            return
        unscaled = EXACT.scaleb(number, scale)
        whole = unscaled == EXACT.to_integral_value(unscaled)
        assert not whole or abs(unscaled) >= (2**63 if precision == BIGINT_PRECISION else 10**precision)
    else:
        assert text is not None
        assert Decimal(text) == number
        assert "E" not in text
        assert not text.startswith("-0") or "." in text


@given(NUMERALS)
def test_json_keeps_all_digits(numeral: str) -> None:
    try:
        text = convert("SUPER", "N", numeral)
    except UnfitError as error:
        assert error.reason in {"range", "malformed"}  # noqa: PT017 - both outcomes are right
    else:
        assert text is not None
        assert Decimal(text) == Decimal(numeral)
        assert math.isfinite(orjson.loads(text))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_real_of_six_digits_arrives_and_no_other_is_changed(value: float) -> None:
    shortest = format(value, ".8e")  # nine digits tell every float of 32 bits from its neighbours
    with contextlib.suppress(UnfitError):  # unless fewer digits name it as well
        text = convert("REAL", "N", shortest)
        assert text is not None
        assert struct.unpack("<f", struct.pack("<f", float(text)))[0] == value
    for digits in range(6):
        few = format(value, f".{digits}e")
        if not value or Decimal("1.2E-38") <= abs(Decimal(few)) <= Decimal("3.4E+38"):
            assert Decimal(str(convert("REAL", "N", few))) == Decimal(few)


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: not v or 1e-130 <= abs(v) < 1e126))
def test_every_double_that_dynamodb_holds_arrives(value: float) -> None:
    text = convert("DOUBLE PRECISION", "N", repr(value))
    assert text is not None
    assert float(text) == value


@given(st.text(max_size=30), st.integers(1, 20))
def test_truncation_keeps_whole_characters(text: str, length: int) -> None:
    kept = truncate(text, RedshiftType.parse(f"VARCHAR({length})"))
    assert text.startswith(kept)
    assert len(kept.encode()) <= length
    rest = text[len(kept) :]
    assert not rest or len((kept + rest[0]).encode()) > length


PLAIN = NUMERALS.map(lambda numeral: plain(Decimal(numeral)))


@pytest.mark.parametrize(
    "kind", ["SMALLINT", "INT", "BIGINT", "DECIMAL(1,0)", "DECIMAL(2,2)", "DECIMAL(19,5)", "DECIMAL(38,10)"]
)
@given(numeral=st.one_of(PLAIN, st.from_regex(r"-?[0-9]{1,4}(\.[0-9]{1,3})?", fullmatch=True)))
def test_what_looks_plain_is_its_own_text(kind: str, numeral: str) -> None:
    pattern = build_plain_pattern(RedshiftType.parse(kind))
    if re.fullmatch(pattern, numeral):
        assert convert(kind, "N", numeral) == numeral == plain(parse_number(numeral))


@pytest.mark.parametrize(
    ("kind", "plain_ones", "others"),
    [
        ("SMALLINT", ["0", "-1", "9999"], ["10000", "-0", "01", "1.0", ""]),
        ("BIGINT", ["999999999999999999"], ["9223372036854775807"]),
        ("DECIMAL(5,0)", ["0", "12345", "-12345"], ["123456", "1.5"]),
        ("DECIMAL(5,2)", ["0", "1", "123", "1.5", "123.45", "0.01", "-0.5"], ["1234", "1.50", "0.00", "1.234", "-0"]),
        ("DECIMAL(2,2)", ["0", "0.1", "-0.12"], ["1", "0.123", "0.10"]),
        ("DECIMAL(19,2)", ["1234567890123456.78"], ["12345678901234567.89"]),
        ("DECIMAL(18,2)", ["1234567890123456.78"], ["12345678901234567.8"]),
    ],
)  # fmt: skip
def test_a_numeral_that_fits_is_plain_so_that_it_is_not_looked_at_twice(
    kind: str, plain_ones: list[str], others: list[str]
) -> None:
    pattern = build_plain_pattern(RedshiftType.parse(kind))
    assert [each for each in [*plain_ones, *others] if re.fullmatch(pattern, each)] == plain_ones


MALFORMED: list[tuple[str, Any]] = [
    ("S", None), ("S", 1), ("N", None), ("N", 1), ("N", ["1"]), ("B", None), ("B", False), ("B", 0), ("B", []),
    ("B", {}), ("BOOL", None), ("BOOL", "true"), ("BOOL", 1),
    ("NULL", None), ("NULL", False), ("NULL", "x"), ("NULL", []),
    ("SS", None), ("SS", "ab"), ("SS", {}), ("SS", [None]), ("NS", "12"), ("NS", {}), ("NS", ["x"]), ("NS", [1]),
    ("BS", [None]), ("BS", ""), ("L", {}), ("L", ""), ("L", [None]), ("L", ["x"]), ("M", []), ("M", {"a": None}),
    ("M", {"a": {}}), ("M", {"a": "x"}), ("X", "x"), ("", ""),
]  # fmt: skip
"""Tags with contents that DynamoDB never writes."""


@pytest.mark.parametrize(("tag", "content"), MALFORMED)
def test_a_document_holds_nothing_that_dynamodb_does_not_write(tag: str, content: Any) -> None:
    for value in ({tag: content}, {"L": [{tag: content}]}, {"M": {"a": {tag: content}}}):
        with pytest.raises(UnfitError):
            convert("SUPER", *next(iter(value.items())))


@pytest.mark.parametrize("kind", [kind for kind in RULES if kind != "SUPER"])
@pytest.mark.parametrize(("tag", "content"), MALFORMED)
def test_no_column_takes_what_dynamodb_does_not_write(kind: str, tag: str, content: Any) -> None:
    with pytest.raises(UnfitError):
        convert(kind, tag, content)


@pytest.mark.parametrize("value", [None, {}, [], "x", 0, {"S": "a", "N": "1"}])
def test_an_attribute_without_a_type_is_refused_and_is_not_missing(value: Any) -> None:
    column = Column("c", ("a",), RedshiftType.parse("VARCHAR(9)"))
    inner = Column("c", ("a", "b"), RedshiftType.parse("VARCHAR(9)"))
    for each, item in ((column, {"a": value}), (inner, {"a": {"M": {"b": value}}}), (inner, {"a": value})):
        with pytest.raises(UnfitError):
            build_path_converter(each, r"\N")(item)
    assert build_path_converter(inner, r"\N")({"a": {"NULL": True}}) is None
    assert build_path_converter(inner, r"\N")({"a": {"M": {}}}) is None


def test_an_empty_text_is_no_day() -> None:
    with pytest.raises(UnfitError):
        convert("DATE", "S", "")
