"""Every limit of a type, from both sides; and a whole column at once never judges otherwise than value by value."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import orjson
import polars as pl
import pytest
from hypothesis import given, settings

from fastetl.columns import RULES, Column, RedshiftType, UnfitError, build_converter, build_shortener, write_column
from fastetl.columns.documents import check_json
from fastetl.columns.numbers import round_to_scale
from fastetl.columns.values import decode_binary, follow_path, only, parse_number, plain
from fastetl.limits import MAX_SUPER_BYTES, MAX_SUPER_DEPTH, MAX_SUPER_TEXT_BYTES

MARKER = r"\N"


def judge(kind: str, tag: str, content: Any, **changes: Any) -> str | None:
    """Give the column's text, or the reason why there is none in brackets."""
    column = Column("c", ("c",), RedshiftType.parse(kind), **changes)
    try:
        return build_converter(column, MARKER)(tag, content)
    except UnfitError as error:
        return f"<{error.reason}>"


def number_limits() -> list[tuple[str, str, bool]]:
    found = []
    for kind, bits in (("SMALLINT", 15), ("INTEGER", 31), ("BIGINT", 63)):
        found += [(kind, str(2**bits - 1), True), (kind, str(2**bits), False)]
        found += [(kind, str(-(2**bits)), True), (kind, str(-(2**bits) - 1), False)]
        found += [(kind, f"{2**bits - 1}.0", True), (kind, f"{2**bits}.0", False)]
    for precision, scale in ((1, 0), (5, 0), (5, 2), (5, 5), (18, 4), (20, 3), (38, 0), (38, 37)):
        largest, finest = Decimal(f"{'9' * precision}E-{scale}"), Decimal(f"1E-{scale}")
        for sign in ("", "-"):
            found.append((f"DECIMAL({precision},{scale})", f"{sign}{plain(largest)}", True))
            found.append((f"DECIMAL({precision},{scale})", f"{sign}1E{precision - scale}", False))  # a digit more
            found.append((f"DECIMAL({precision},{scale})", f"{sign}{finest}", True))
            found.append((f"DECIMAL({precision},{scale})", f"{sign}1E-{scale + 1}", False))
    for scale in (0, 1, 9):  # kept in 64 bits
        for sign in ("", "-"):
            found.append((f"DECIMAL(19,{scale})", f"{sign}{plain(Decimal(2**63 - 1).scaleb(-scale))}", True))
            found.append((f"DECIMAL(19,{scale})", f"{sign}{plain(Decimal(2**63).scaleb(-scale))}", False))
    return found


@pytest.mark.parametrize(("kind", "numeral", "fits"), number_limits())
def test_numbers_end_where_their_type_ends(kind: str, numeral: str, fits: bool) -> None:
    text = judge(kind, "N", numeral)
    assert (text == plain(Decimal(numeral))) is fits
    assert fits or text in {"<range>", "<scale>"}


@pytest.mark.parametrize(
    ("kind", "tag", "fits", "too_long"),
    [
        ("VARCHAR(4)", "S", "abcd", "abcde"),
        ("VARCHAR(4)", "S", "éé", "ééa"),
        ("VARCHAR(4)", "N", "1234", "12345"),
        ("VARCHAR(5)", "BOOL", False, None),
        ("CHAR(4)", "S", "abcd", "abcde"),
        ("VARBYTE(2)", "B", "AAE=", "AAEC"),
        ("VARBYTE(1)", "B", "AA==", "AAE="),
        ("SUPER", "S", "a" * MAX_SUPER_TEXT_BYTES, "a" * (MAX_SUPER_TEXT_BYTES + 1)),
        ("SUPER", "S", "é" * (MAX_SUPER_TEXT_BYTES // 2), "é" * (MAX_SUPER_TEXT_BYTES // 2) + "ab"),
    ],
)
def test_texts_end_where_their_type_ends(kind: str, tag: str, fits: Any, too_long: Any) -> None:
    assert not str(judge(kind, tag, fits)).startswith("<")
    assert too_long is None or judge(kind, tag, too_long) == "<too_long>"


@pytest.mark.parametrize(
    ("numeral", "fits"),
    [
        ("9.9E125", True), ("1E126", False), ("-1E125", True), ("-1E126", False), ("1E-130", True), ("9E-131", False),
        ("0E999", True), ("1E99999", False), (".5", True), ("5.", True), ("+5", True), ("5e1", True), ("1E+2", True),
        ("", False), ("-", False), (".", False), ("1 ", False), ("1\n", False), ("0x1", False), ("Infinity", False),
    ],
)  # fmt: skip
def test_the_numbers_that_dynamodb_has(numeral: str, fits: bool) -> None:
    if fits:
        assert parse_number(numeral) == Decimal(numeral)
    else:
        with pytest.raises(UnfitError, match="malformed"):
            parse_number(numeral)


@pytest.mark.parametrize(
    ("kind", "tag", "content", "text"),
    [
        ("TIMESTAMP", "S", "0001-01-01", "0001-01-01 00:00:00"),
        ("TIMESTAMP", "S", "9999-12-31T23:59:59.999999", "9999-12-31 23:59:59.999999"),
        ("TIMESTAMP", "S", "0000-12-31", "<format>"),
        ("TIMESTAMP", "S", "9999-12-31T23:59:59-00:01", "<range>"),
        ("TIMESTAMP", "S", "2026-01-01T10:00:00.123450", "2026-01-01 10:00:00.123450"),
        ("TIMESTAMP", "S", "2026-01-01T10:00:00.1", "2026-01-01 10:00:00.100000"),
        ("TIMESTAMP", "S", "2026-01-01T10:00:00,000001Z", "2026-01-01 10:00:00.000001"),
        ("TIMESTAMP", "S", "2026-01-01T10:00:60", "<format>"),
        ("TIMESTAMP", "N", "1", "<type>"),
        ("TIMESTAMP", "S", None, "<format>"),
        ("TIMESTAMPTZ", "S", "2026-01-01T10:00:00.5+01:00", "2026-01-01 09:00:00.500000+00"),
        ("DATE", "S", "0001-01-01", "0001-01-01"),
        ("DATE", "S", "9999-12-31", "9999-12-31"),
        ("DATE", "S", "2026-01-01T00:00:00", "<format>"),
        ("DATE", "S", "2026-W01-1", "<format>"),
        ("DATE", "N", "1", "<type>"),
        ("DATE", "S", None, "<format>"),
        ("TIME", "S", "00:00:00.000001", "00:00:00.000001"),
        ("TIME", "S", "00:00:00.0000001", "<precision>"),
        ("TIME", "S", "00:00:00.0000010", "00:00:00.000001"),
        ("TIME", "S", "23:59:59", "23:59:59"),
        ("TIME", "S", "10:00+01:00", "<format>"),
        ("TIMETZ", "S", "10:00:00z", "10:00:00+00"),
        ("TIMETZ", "S", "10:00:00+00:30", "10:00:00+00:30"),
        ("TIMETZ", "S", "10:00:00-00:30", "10:00:00-00:30"),
        ("TIMETZ", "S", "10:00:00+01", "10:00:00+01"),
        ("TIMETZ", "S", "10:00:00+10:00", "10:00:00+10"),
        ("TIMETZ", "S", "10:00:00+14:00", "10:00:00+14"),
    ],
)
def test_times_end_where_their_type_ends(kind: str, tag: str, content: Any, text: str) -> None:
    assert judge(kind, tag, content) == text


@pytest.mark.parametrize(
    ("time_format", "number", "text"),
    [
        ("epoch_s", "253402300799.999999", "9999-12-31 23:59:59.999999"),
        ("epoch_s", "253402300800", "<range>"),
        ("epoch_s", "-62135596800", "0001-01-01 00:00:00"),
        ("epoch_s", "-62135596801", "<range>"),
        ("epoch_ms", "0.001", "1970-01-01 00:00:00.000001"),
        ("epoch_ms", "0.0001", "<precision>"),
        ("epoch_us", "1", "1970-01-01 00:00:00.000001"),
        ("epoch_us", "0.5", "<precision>"),
        ("epoch_us", "1E37", "<range>"),
        ("epoch_us", "1E38", "<range>"),
        ("epoch_us", "1E39", "<range>"),
    ],
)
def test_numbers_since_1970_end_where_their_type_ends(time_format: Any, number: str, text: str) -> None:
    assert judge("TIMESTAMP", "N", number, time_format=time_format) == text
    shorten = build_shortener(Column("c", ("c",), RedshiftType.parse("TIMESTAMP"), time_format=time_format), MARKER)
    assert shorten is not None
    if text == "<range>":
        with pytest.raises(UnfitError, match="range"):
            shorten("N", number)
    elif text == "<precision>":
        assert shorten("N", number) == "1970-01-01 00:00:00"
    else:
        assert shorten("N", number) == text
    assert judge("TIMESTAMP", "S", "2026-01-01", time_format=time_format) == "<type>"


@pytest.mark.parametrize(
    ("wide", "narrow", "holds"),
    [
        ("VARCHAR(5)", "VARCHAR(5)", True), ("VARCHAR(6)", "VARCHAR(5)", True), ("VARCHAR(4)", "VARCHAR(5)", False),
        ("VARCHAR(5)", "CHAR(5)", True), ("VARCHAR(4)", "CHAR(5)", False), ("CHAR(5)", "VARCHAR(5)", False),
        ("DECIMAL(5,2)", "DECIMAL(5,2)", True), ("DECIMAL(6,2)", "DECIMAL(5,2)", True),
        ("DECIMAL(6,3)", "DECIMAL(5,2)", True), ("DECIMAL(5,3)", "DECIMAL(5,2)", False),
        ("DECIMAL(6,1)", "DECIMAL(5,2)", False), ("DECIMAL(4,2)", "DECIMAL(5,2)", False),
        ("BIGINT", "INTEGER", True), ("INTEGER", "SMALLINT", True), ("BIGINT", "SMALLINT", True),
        ("SMALLINT", "INTEGER", False), ("INTEGER", "BIGINT", False), ("DECIMAL(38,0)", "BIGINT", False),
        ("DOUBLE PRECISION", "REAL", True), ("REAL", "DOUBLE PRECISION", False), ("TIMESTAMP", "TIMESTAMPTZ", False),
        ("VARBYTE(9)", "VARBYTE(9)", True), ("VARBYTE(8)", "VARBYTE(9)", False),
    ],
)  # fmt: skip
def test_which_type_holds_another(wide: str, narrow: str, holds: bool) -> None:
    assert RedshiftType.parse(wide).holds(RedshiftType.parse(narrow)) is holds


@pytest.mark.parametrize("text", [
    "decimal(0)", "decimal(1,2)", "decimal(5,-1)", "char(0)", "varbyte(0)", "decimal(38,38)", "real(3)", "super(1)",
    "decimal(1,1,1)", "varchar 5", "varchar(5", "5", "decimal(,2)",
])  # fmt: skip
def test_arguments_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RedshiftType.parse(text)
    for kind in ("DECIMAL(1)", "DECIMAL(2,2)", "DECIMAL(38,37)", "CHAR(4096)", "VARCHAR(65535)", "VARBYTE(16777216)"):
        assert RedshiftType.parse(kind)


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (nested(500), ""), (nested(MAX_SUPER_DEPTH + 2), "malformed"),
        (nested(100_000), "malformed"),
        (orjson.dumps("a" * MAX_SUPER_TEXT_BYTES).decode(), ""),
        (orjson.dumps("a" * (MAX_SUPER_TEXT_BYTES + 1)).decode(), "too_long"),
        (orjson.dumps({"a" * (MAX_SUPER_TEXT_BYTES + 1): 1}).decode(), "too_long"),
        (orjson.dumps([["a" * (MAX_SUPER_TEXT_BYTES + 1)]]).decode(), "too_long"),
        ('{"a":"\\u0000"}', "nul"), ('"\\ud800"', "surrogate"), ("1E400", "range"), ("-1E400", "range"), ("1E300", ""),
        ("NaN", "malformed"), ("-Infinity", "malformed"), ("{", "malformed"), ("", "malformed"), ("1 2", "malformed"),
        ("\0", "nul"), ("7", ""), ("null", ""),
    ],
)  # fmt: skip
def test_json_that_super_holds(text: str, verdict: str) -> None:
    try:
        assert check_json("", text) == text
        found = ""
    except UnfitError as error:
        found = error.reason
    assert found == verdict


def test_json_is_as_large_as_a_super() -> None:
    text = "a" * 60_000
    largest = orjson.dumps([text] * (MAX_SUPER_BYTES // 60_003)).decode()
    filled = largest + " " * (MAX_SUPER_BYTES - len(largest))
    assert check_json("", filled) == filled
    with pytest.raises(UnfitError, match="too_long"):
        check_json("", filled + " ")


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        ("0.125", "DECIMAL(9,2)", "0.12"), ("0.135", "DECIMAL(9,2)", "0.14"), ("-0.125", "DECIMAL(9,2)", "-0.12"),
        ("2.5", "DECIMAL(9,0)", "2"), ("3.5", "DECIMAL(9,0)", "4"), ("1.239", "DOUBLE PRECISION", "1.239"),
        ("2.5", "BIGINT", "2.5"), ("1E200", "DECIMAL(38,10)", "1" + "0" * 200),
    ],
)  # fmt: skip
def test_what_is_worked_out_is_rounded_half_to_even(number: str, kind: str, text: str) -> None:
    assert round_to_scale(Decimal(number), RedshiftType.parse(kind)) == text


@pytest.mark.parametrize(
    ("values", "kind", "texts", "unfit"),
    [
        (pl.Series("c", [0.125, 2.0, 1e38, None]), "DECIMAL(9,2)", ["0.13", "2", None, None], {2: "range"}),
        (pl.Series("c", ["0.125", "0.135"]).cast(pl.Decimal(10, 3)), "DECIMAL(9,2)", ["0.12", "0.14"], {}),
        (pl.Series("c", [True, False, None]), "BOOLEAN", ["true", "false", None], {}),
        (pl.Series("c", [b"\x00\xff", b"", None]), "VARBYTE(2)", ["00ff", None, None], {1: "empty"}),
        (pl.Series("c", [32767, 32768]), "SMALLINT", ["32767", None], {1: "range"}),
        (pl.Series("c", [1.0, 1.5]), "INTEGER", ["1", None], {1: "scale"}),
        (pl.Series("c", [0.1]), "REAL", ["0.1"], {}),
        (pl.Series("c", [1, None], dtype=pl.Int8), "VARCHAR(3)", ["1", None], {}),
        (pl.Series("c", ["{}", "{", None]), "SUPER", ["{}", None, None], {1: "malformed"}),
    ],
)
def test_what_enrichments_give_is_written_or_refused(
    values: pl.Series, kind: str, texts: list[str | None], unfit: dict[int, str]
) -> None:
    written, refused = write_column(values, RedshiftType.parse(kind), MARKER)
    if kind == "DECIMAL(9,2)" and values.dtype == pl.Float64:
        texts = [written[0], *texts[1:]]  # a float is not exactly what its digits say
        assert written[0] in {"0.12", "0.13"}
    assert (written.to_list(), refused) == (texts, unfit)


NEAR: dict[str, list[str]] = {
    "numbers": [
        "0", "-0", "00", "1", "-1", "+1", "01", "1.0", "1.50", "1.5", ".5", "1E2", "-32768", "-32769", "32767",
        "32768", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
        "-9223372036854775809", "99.99", "99.999", "999.99", "1e39", "16777217", "0.1", "x", "", " 1", "1 ", "1\n",
    ],
    "texts": ["", "a", "abc", "abcd", "abcde", "ab ", " ab", "é", "éé", "ééé", "\0", "a\0", MARKER, "a\n", '"',
              "\U0001f600"],
    "times": [
        "2026-01-01", "2024-02-29", "2023-02-29", "2026-04-31", "2026-01-32", "2026-00-01", "0000-01-01", "2026-1-1",
        "2026-01-01T10:00:00Z", "2026-01-01 10:00:00", "2026-01-01T10:00:00z", "2026-01-01T24:00:00",
        "2026-01-01T10:60:00", "2026-01-01T10:00:60", "2026-01-01T10:00:00.5", "2026-01-01T10:00:00.1234567",
        "2026-01-01T10:00:00+01:00", "2026-01-01T10:00", "2026-01-01T10:00:00Z\n", "2026-01-01\n", "10:00:00",
        "24:00:00", "23:59:59", "10:00", "10:00:00.5", "10:00:00Z", "10:00:00+01", "x", "", MARKER,
    ],
}  # fmt: skip
KINDS = {
    "numbers": ["SMALLINT", "INTEGER", "BIGINT", "DECIMAL(4,2)", "DECIMAL(19,2)", "REAL", "DOUBLE PRECISION"],
    "texts": ["CHAR(4)", "VARCHAR(4)"],
    "times": ["DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIME", "TIMETZ"],
}


@pytest.mark.parametrize(("family", "kind"), [(family, kind) for family in KINDS for kind in KINDS[family]])
def test_a_whole_column_is_judged_as_its_values_are(family: str, kind: str) -> None:
    column = Column("c", ("c",), RedshiftType.parse(kind))
    one_by_one = [judge(kind, column.tag, text) for text in NEAR[family]]
    written, unfit = write_column(pl.Series("c", NEAR[family]), column.type, MARKER)
    assert [f"<{unfit[n]}>" if n in unfit else text for n, text in enumerate(written)] == one_by_one
    for text, expected in zip(NEAR[family], one_by_one, strict=True):  # a column of one value, all of which fit or not
        alone, refused = write_column(pl.Series("c", [text]), column.type, MARKER)
        assert (f"<{refused[0]}>" if refused else alone[0]) == expected


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.text(max_size=6)), max_size=8), st.sampled_from(["CHAR(4)", "VARCHAR(5)"]))
def test_a_column_of_texts_is_judged_as_its_values_are(texts: list[str | None], kind: str) -> None:
    written, unfit = write_column(pl.Series("c", texts, dtype=pl.String), RedshiftType.parse(kind), MARKER)
    found = [f"<{unfit[n]}>" if n in unfit else text for n, text in enumerate(written)]
    assert found == [None if text is None else judge(kind, "S", text) for text in texts]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (("a",), ("N", "1")), (("b", "c"), ("S", "x")), (("l", 0), ("S", "first")), (("l", 1), ("S", "last")),
        (("l", 2), None), (("z",), None), (("b", "z"), None), (("n", "z"), None), (("b", "l", 0, "d"), ("N", "7")),
    ],
)  # fmt: skip
def test_a_path_leads_to_one_value(path: tuple[str | int, ...], found: tuple[str, Any] | None) -> None:
    item = {
        "a": {"N": "1"}, "n": {"NULL": True}, "l": {"L": [{"S": "first"}, {"S": "last"}]},
        "b": {"M": {"c": {"S": "x"}, "l": {"L": [{"M": {"d": {"N": "7"}}}]}}},
    }  # fmt: skip
    assert follow_path(item, path) == found
    for wrong in (("a", "b"), ("a", 0), ("b", 0), ("l", "x")):
        with pytest.raises(UnfitError, match="type"):
            follow_path(item, wrong)


def test_values_have_one_tag() -> None:
    assert only({"S": "x"}) == ("S", "x")
    assert decode_binary(base64.b64encode(b"abc").decode()) == b"abc"
    assert decode_binary("") == b""
    for content in ("AA", "AA==\n", "A A=", "AA=="[:-1]):
        with pytest.raises(UnfitError):
            decode_binary(content)


@pytest.mark.parametrize(
    ("number", "real", "double"),
    [
        ("340282346638528859811704183484516925440", "<precision>", "<precision>"),
        ("3.4028235E38", "340282350000000000000000000000000000000", "340282350000000000000000000000000000000"),
        ("3.5E38", "<range>", "350000000000000000000000000000000000000"),
        ("1.17549435E-38", "<precision>", None),
        ("1E-46", "<range>", None),
        ("0", "0", "0"),
        ("-1.5", "-1.5", "-1.5"),
        ("0.123456789", "<precision>", "0.123456789"),
        ("9007199254740993", "<precision>", "<precision>"),
    ],
)
def test_floats_keep_digits_or_refuse(number: str, real: str, double: str | None) -> None:
    assert judge("REAL", "N", number) == real
    found = judge("DOUBLE PRECISION", "N", number)
    assert found == double if double else Decimal(str(found)) == Decimal(number)


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_value_of_another_type_is_refused_as_that(rule: Any) -> None:
    kind = rule.kind
    takes = {"S": {"S"}, "N": {"N"}, "B": {"B"}, "BOOL": {"BOOL"}, "document": {"S", "N", "B", "BOOL"}}[rule.tag]
    takes |= {"N", "BOOL"} if rule.is_text else set()
    for tag, content in {"S": "a", "N": "1", "B": "AA==", "BOOL": True}.items():
        assert (judge(kind, tag, content) == "<type>") is (tag not in takes)
