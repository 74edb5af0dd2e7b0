"""Redshift's types are read as people write them, and refused where Redshift would refuse them."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl
import pytest

from fastetl.columns.types import SYSTEM_COLUMNS, Column, RedshiftType


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("varchar(max)", "VARCHAR(65535)"),
        ("TEXT", "VARCHAR(256)"),
        ("character varying(12)", "VARCHAR(12)"),
        ("char", "CHAR(1)"),
        ("numeric(38, 37)", "DECIMAL(38,37)"),
        ("DECIMAL", "DECIMAL(18,0)"),
        ("decimal(5)", "DECIMAL(5,0)"),
        ("decimal(5, 0)", "DECIMAL(5,0)"),
        ("int8", "BIGINT"),
        ("double  precision", "DOUBLE PRECISION"),
        ("timestamp with time zone", "TIMESTAMPTZ"),
        ("super", "SUPER"),
        ("varbyte(16777216)", "VARBYTE(16777216)"),
    ],
)
def test_types_are_read_as_people_write_them(text: str, canonical: str) -> None:
    parsed = RedshiftType.parse(text)
    assert str(parsed) == canonical
    assert RedshiftType.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("SMALLINT", "INT2"), ("INTEGER", "INT,INT4"), ("BIGINT", "INT8"), ("DECIMAL(18,0)", "NUMERIC"),
        ("REAL", "FLOAT4"), ("DOUBLE PRECISION", "FLOAT8,FLOAT,DOUBLE"), ("CHAR(1)", "CHARACTER,NCHAR"),
        ("VARCHAR(256)", "CHARACTER VARYING,NVARCHAR,TEXT"), ("BOOLEAN", "BOOL"),
        ("VARBYTE(64000)", "BINARY VARYING,VARBINARY"), ("TIMESTAMP", "TIMESTAMP WITHOUT TIME ZONE"),
        ("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"), ("TIME", "TIME WITHOUT TIME ZONE"),
        ("TIMETZ", "TIME WITH TIME ZONE"),
    ],
)  # fmt: skip
def test_redshifts_other_names_of_a_type(kind: str, names: str) -> None:
    """Amazon Redshift Database Developer Guide, "Data types"."""
    assert {str(RedshiftType.parse(name)) for name in names.split(",")} == {kind}


@pytest.mark.parametrize(
    "text",
    ["", "foo", "decimal(39)", "decimal(10,11)", "decimal(38,38)", "int(3)", "varchar(0)", "varchar(65536)",
     "char(4097)", "varbyte(16777217)", "varchar(1,2)", "varchar(-1)", "varchar(1); drop table x"],
)  # fmt: skip
def test_what_redshift_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RedshiftType.parse(text)


def test_system_columns_have_types_that_redshift_knows() -> None:
    assert all(RedshiftType.parse(str(kind)) == kind for _, kind in SYSTEM_COLUMNS)


@pytest.mark.parametrize("policy", ["reject", "null", "truncate", "fail"])
def test_a_column_says_what_becomes_of_a_value_that_does_not_fit(policy: str) -> None:
    declared = {"name": "n", "path": ["n"], "type": {"kind": "INTEGER"}, "on_misfit": policy}
    assert msgspec.convert(declared, Column).on_misfit == policy
    assert Column("n", ("n",), RedshiftType("INTEGER")).on_misfit == "reject"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(declared | {"on_misfit": "perhaps"}, Column)


WHOLE = {"SMALLINT", "INTEGER", "BIGINT"}
POINTS_IN_TIME = {"DATE", "TIMESTAMP", "TIMESTAMPTZ"}


@pytest.mark.parametrize(
    ("encoding", "kinds"),
    [
        ("AZ64", WHOLE | POINTS_IN_TIME | {"DECIMAL"}),
        ("BYTEDICT", WHOLE | POINTS_IN_TIME | {"DECIMAL", "REAL", "DOUBLE PRECISION", "CHAR", "VARCHAR"}),
        ("DELTA", WHOLE | {"DECIMAL", "DATE", "TIMESTAMP"}),
        ("DELTA32K", {"INTEGER", "BIGINT", "DECIMAL", "DATE", "TIMESTAMP"}),
        ("LZO", WHOLE | POINTS_IN_TIME | {"DECIMAL", "CHAR", "VARCHAR", "SUPER"}),
        ("MOSTLY8", WHOLE | {"DECIMAL"}),
        ("MOSTLY16", {"INTEGER", "BIGINT", "DECIMAL"}),
        ("MOSTLY32", {"BIGINT", "DECIMAL"}),
        ("RUNLENGTH", WHOLE | POINTS_IN_TIME
            | {"DECIMAL", "REAL", "DOUBLE PRECISION", "BOOLEAN", "CHAR", "VARCHAR"}),
        ("TEXT255", {"VARCHAR"}),
        ("TEXT32K", {"VARCHAR"}),
    ],
)  # fmt: skip
def test_what_an_encoding_compresses(encoding: Any, kinds: set[str]) -> None:
    """Amazon Redshift Database Developer Guide, "Compression encodings", which names no TIME, TIMETZ and VARBYTE."""
    named = WHOLE | POINTS_IN_TIME | {
        "DECIMAL", "REAL", "DOUBLE PRECISION", "BOOLEAN", "CHAR", "VARCHAR", "SUPER",
    }  # fmt: skip
    assert {kind for kind in named if RedshiftType.parse(kind).rule.is_compressed_by(encoding)} == kinds
    assert all(RedshiftType.parse(kind).rule.is_compressed_by(any_) for kind in named for any_ in ("RAW", "ZSTD"))


def test_a_type_without_arguments_has_none() -> None:
    plain = RedshiftType("INTEGER")
    assert (plain.length, plain.precision, plain.scale) == (0, 0, 0)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pl.Series([True, None, False]), ["true", None, "false"]),
        (pl.Series([12, None]), ["12", None]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])), ["a", "b"]),
        (pl.Series([[1]]), None),
    ],
)
def test_what_a_users_function_gives_for_a_text(values: pl.Series, texts: list[str | None] | None) -> None:
    kind = RedshiftType.parse("VARCHAR(20)")
    spelled = kind.rule.spell(values, kind)
    assert (None if spelled is None else spelled.to_list()) == texts
