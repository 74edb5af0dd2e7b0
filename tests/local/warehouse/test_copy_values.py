"""Fields at the edges of their types."""

from __future__ import annotations

import json

import pytest

from fastetl.columns.types import RedshiftType
from fastetl.local.warehouse.copy_values import FieldError, convert_column

MARKER = "\\N"


def convert(kind: str, field: str) -> str | None:
    (value,) = convert_column(RedshiftType.parse(kind), MARKER, [field])
    return value


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("VARCHAR(4)", "éé", "éé"),
        ("VARCHAR(4)", "", ""),
        ("VARCHAR(4)", MARKER, None),
        ("CHAR(4)", "ab  ", "ab"),
        ("CHAR(4)", "", ""),
        ("INTEGER", "", None),
        ("INTEGER", MARKER, None),
        ("SMALLINT", "-32768", "-32768"),
        ("BIGINT", "+9223372036854775807", "+9223372036854775807"),
        ("DECIMAL(4,2)", "1.239", "1.23"),
        ("DECIMAL(4,2)", "-99.999", "-99.99"),
        ("DECIMAL(4,2)", "007", "7.00"),
        ("DECIMAL(38,37)", "-.1234567890123456789012345678901234567", "-0.1234567890123456789012345678901234567"),
        ("DECIMAL(38,0)", "9" * 38, "9" * 38),
        ("DECIMAL(19,0)", str(2**63 - 1), str(2**63 - 1)),
        ("REAL", "1E10", "1E10"),
        ("DOUBLE PRECISION", "-Infinity", "-Infinity"),
        ("BOOLEAN", "T", "true"),
        ("BOOLEAN", "0", "false"),
        ("DATE", "2012-02-29", "2012-02-29"),
        ("TIMESTAMP", "2013-01-01T05:00:00", "2013-01-01 05:00:00"),
        ("TIMESTAMPTZ", "2013-01-01 05:00:00.000001+02", "2013-01-01 03:00:00.000001+00:00"),
        ("VARBYTE(2)", "00FF", "00ff"),
        ("SUPER", '{"n": 12345678901234567890123456789012345678}', '{"n": 12345678901234567890123456789012345678}'),
        ("SUPER", "null", "null"),
        ("SUPER", MARKER, None),
    ],
)
def test_taken(kind: str, field: str, value: str | None) -> None:
    assert convert(kind, field) == value


@pytest.mark.parametrize(
    ("kind", "field", "code"),
    [
        ("VARCHAR(4)", "ééa", 1204),
        ("VARCHAR(4)", "a\x00", 1218),
        ("CHAR(4)", "é", 1220),
        ("CHAR(1)", "ab", 1204),
        ("SMALLINT", "32768", 1204),
        ("BIGINT", "-9223372036854775809", 1204),
        ("INTEGER", "1.0", 1207),
        ("INTEGER", "1_0", 1207),
        ("INTEGER", "٣", 1207),
        ("INTEGER", " 1", 1207),
        ("DECIMAL(4,2)", "100", 1204),
        ("DECIMAL(4,2)", "1e1", 1207),
        ("DECIMAL(4,2)", ".", 1207),
        ("DECIMAL(38,0)", "1" + "0" * 38, 1204),
        ("DECIMAL(19,0)", str(2**63), 1204),
        ("REAL", "1e39", 1204),
        ("DOUBLE PRECISION", "1e309", 1204),
        ("DOUBLE PRECISION", "x", 1208),
        ("BOOLEAN", "maybe", 1210),
        ("DATE", "2013-02-29", 1205),
        ("DATE", "20130101", 1205),
        ("TIMESTAMP", "2013-01-01 05:00:00.0000001", 1206),
        ("TIMESTAMP", "2013-01-01 25:00:00", 1206),
        ("TIMESTAMPTZ", "yesterday", 1206),
        ("VARBYTE(2)", "0", 1219),
        ("VARBYTE(2)", "zz", 1219),
        ("VARBYTE(2)", "000000", 1204),
        ("SUPER", "{'a': 1}", 1224),
        ("SUPER", '"\\ud800"', 1224),
        ("SUPER", json.dumps({"a": ["é" * 32_768]}, ensure_ascii=False), 1224),
    ],
)
def test_refused(kind: str, field: str, code: int) -> None:
    with pytest.raises(FieldError) as raised:
        convert(kind, field)
    assert raised.value.code == code


def test_a_string_in_super_may_have_65535_bytes() -> None:
    document = json.dumps(["é" * 32_767 + "a"] * 3, ensure_ascii=False)
    assert convert("SUPER", document) == document


def test_the_marker_can_be_anything() -> None:
    assert convert_column(RedshiftType.parse("VARCHAR(9)"), "", ["", "a"]) == [None, "a"]
