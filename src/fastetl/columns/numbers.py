"""SMALLINT, INTEGER, BIGINT, DECIMAL, REAL and DOUBLE PRECISION. Numbers arrive with all their digits, or not at all.

Limits: Amazon Redshift Database Developer Guide, "Numeric types".
"""

from __future__ import annotations

import math
import re
import struct
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from fastetl.columns.rule import Bound, Convert, Encoding, Look, Rule, UnfitError
from fastetl.columns.values import plain, take_number
from fastetl.limits import MAX_PRECISION, MAX_SCALE

if TYPE_CHECKING:
    from random import Random

    import polars as pl

    from fastetl.columns.types import Column, RedshiftType
else:
    from fastetl.columns.lazy import polars as pl

_INTEGER_BITS = {"SMALLINT": 15, "INTEGER": 31, "BIGINT": 63}
_FLOAT_CODES = {"REAL": "<f", "DOUBLE PRECISION": "<d"}
_WIDE = Context(prec=400)
_BIGINT_PRECISION = 19
"""A DECIMAL of this precision is kept in 64 bits."""


def build_plain_pattern(kind: RedshiftType) -> str:
    """Give the regular expression of the numerals that a column holds as they are, with no digit to look at twice.

    Every numeral that DynamoDB gives matches if it fits, except in the last digit of an integer's range.
    """
    if bits := _INTEGER_BITS.get(kind.kind):
        digits = len(str(2**bits)) - 1
        return f"0|-?[1-9][0-9]{{0,{digits - 1}}}"
    precision = kind.precision - 1 if kind.precision == _BIGINT_PRECISION else kind.precision
    before, fraction = precision - kind.scale, rf"\.[0-9]{{0,{kind.scale - 1}}}[1-9]" if kind.scale else ""
    alternatives = ["0"]
    if before > 0:
        alternatives.append(
            f"-?[1-9][0-9]{{0,{before - 1}}}(?:{fraction})?" if fraction else f"-?[1-9][0-9]{{0,{before - 1}}}"
        )
    if fraction:
        alternatives.append(f"-?0{fraction}")
    return "|".join(alternatives)


def _convert_integer(column: Column) -> Convert:
    limit = 1 << _INTEGER_BITS[column.type.kind]
    is_plain = re.compile(build_plain_pattern(column.type)).fullmatch

    def convert(tag: str, content: Any) -> str:
        if tag == "N" and isinstance(content, str) and is_plain(content):
            return content
        text = plain(take_number(tag, content))
        if "." in text:
            raise UnfitError("scale", "a whole number")
        if not -limit <= int(text) < limit:
            raise UnfitError("range", f"{-limit} to {limit - 1}")
        return text

    return convert


def _look_at_integers(column: Column) -> Look:
    dtype = column.type.rule.dtype(column.type)

    def look(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
        return texts, texts.cast(dtype, strict=False).cast(pl.String).eq_missing(texts)

    return look


def _convert_decimal(column: Column) -> Convert:
    kind = column.type
    is_plain = re.compile(build_plain_pattern(kind)).fullmatch

    def convert(tag: str, content: Any) -> str:
        if tag == "N" and isinstance(content, str) and is_plain(content):
            return content
        text = plain(take_number(tag, content))
        before, _, after = text.lstrip("-").partition(".")
        if len(after) > kind.scale:
            raise UnfitError("scale", f"at most {kind.scale} digits after the point")
        if before != "0" and len(before) > kind.precision - kind.scale:
            raise UnfitError("range", f"at most {kind.precision - kind.scale} digits before the point")
        if kind.precision == _BIGINT_PRECISION and abs(int(before + after.ljust(kind.scale, "0"))) >= 1 << 63:
            raise UnfitError("range", f"at most {(1 << 63) - 1} without its point; a precision of 20 holds more")
        return text

    return convert


def _look_at_decimals(column: Column) -> Look:
    pattern = rf"\A(?:{build_plain_pattern(column.type)})\z"
    return lambda texts: (texts, texts.str.contains(pattern))


def _convert_float(column: Column) -> Convert:
    code = _FLOAT_CODES[column.type.kind]

    def convert(tag: str, content: Any) -> str:
        number = take_number(tag, content)
        nearest = _nearest(float(number), code)
        if math.isinf(nearest) or (number and not nearest):
            raise UnfitError("range", f"what {column.type} can hold")
        if Decimal(_shortest(nearest, code)) != number:
            raise UnfitError("precision", f"no more digits than {column.type} keeps; DECIMAL keeps 38")
        return plain(number)

    return convert


def _shortest(nearest: float, code: str) -> str:
    """Write the fewest digits that mean this float and no other of its size."""
    if code == "<d":
        return repr(nearest)
    spellings = (format(nearest, f".{digits}e") for digits in range(9))
    return next(text for text in spellings if _nearest(float(text), code) == nearest)


def _nearest(value: float, code: str) -> float:
    try:
        return float(struct.unpack(code, struct.pack(code, value))[0])
    except OverflowError:
        return math.inf


def round_to_scale(number: Decimal, kind: RedshiftType) -> str:
    """Write a number with as many digits after the point as a DECIMAL column has, half to even; others as it is.

    Args:
        number: any finite number.
        kind: the column's type.
    """
    if kind.kind == "DECIMAL":
        number = number.quantize(Decimal((0, (1,), -kind.scale)), ROUND_HALF_EVEN, _WIDE)
    return plain(number)


def _spell_number(values: pl.Series, _kind: RedshiftType) -> pl.Series | None:
    return values.cast(pl.String) if values.dtype.is_numeric() else None


def _spell_decimal(values: pl.Series, kind: RedshiftType) -> pl.Series | None:
    """Round to the column's scale, half to even: what is worked out has no scale of its own."""
    if values.dtype.is_float():
        return values.cast(pl.Decimal(MAX_PRECISION, kind.scale), strict=False).cast(pl.String)
    if values.dtype.is_decimal():
        return values.round(kind.scale, mode="half_to_even").cast(pl.String)
    return _spell_number(values, kind)


def _spell_real(values: pl.Series, kind: RedshiftType) -> pl.Series | None:
    return _spell_number(values.cast(pl.Float32) if values.dtype.is_float() else values, kind)


def _example_integer(column: Column, chance: Random) -> str:
    return str(chance.getrandbits(_INTEGER_BITS[column.type.kind]))


def _example_decimal(column: Column, chance: Random) -> str:
    kind = column.type
    digits = "".join(chance.choices("123456789", k=max(1, kind.precision * 2 // 3)))
    return f"{digits[kind.scale :] or 0}.{digits[: kind.scale]}" if kind.scale else digits


def _example_float(_column: Column, chance: Random) -> str:
    return str(chance.randrange(10**6) / 8)


_PLAIN_FRACTION = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?"

_WIDE_WHOLE: frozenset[Encoding] = frozenset(
    {"AZ64", "BYTEDICT", "DELTA", "DELTA32K", "LZO", "MOSTLY8", "MOSTLY16", "MOSTLY32", "RUNLENGTH"}
)

_integer = partial(
    Rule,
    tag="N",
    convert=_convert_integer,
    look=_look_at_integers,
    copied=r"0|-?[1-9][0-9]*",
    spell=_spell_number,
    is_key=True,
    example=_example_integer,
)
_float = partial(
    Rule,
    tag="N",
    encodings=frozenset({"BYTEDICT", "RUNLENGTH"}),
    convert=_convert_float,
    copied=_PLAIN_FRACTION,
    example=_example_float,
)

RULES = (
    _integer(
        kind="SMALLINT",
        synonyms=("INT2",),
        wider=("INTEGER", "BIGINT"),
        encodings=frozenset({"AZ64", "BYTEDICT", "DELTA", "LZO", "MOSTLY8", "RUNLENGTH"}),
        dtype=lambda _: pl.Int16,
    ),
    _integer(
        kind="INTEGER",
        synonyms=("INT", "INT4"),
        wider=("BIGINT",),
        encodings=_WIDE_WHOLE - {"MOSTLY32"},
        dtype=lambda _: pl.Int32,
    ),
    _integer(kind="BIGINT", synonyms=("INT8",), encodings=_WIDE_WHOLE, dtype=lambda _: pl.Int64),
    Rule(
        kind="DECIMAL",
        synonyms=("NUMERIC",),
        bounds=(Bound("precision", 18, 1, MAX_PRECISION), Bound("scale", 0, 0, MAX_SCALE)),
        catalog="numeric",
        encodings=_WIDE_WHOLE,
        tag="N",
        convert=_convert_decimal,
        look=_look_at_decimals,
        copied=_PLAIN_FRACTION,
        dtype=lambda kind: pl.Decimal(MAX_PRECISION, kind.scale),
        spell=_spell_decimal,
        example=_example_decimal,
    ),
    _float(
        kind="REAL",
        synonyms=("FLOAT4",),
        wider=("DOUBLE PRECISION",),
        dtype=lambda _: pl.Float32,
        spell=_spell_real,
    ),
    _float(
        kind="DOUBLE PRECISION",
        synonyms=("FLOAT8", "FLOAT", "DOUBLE"),
        dtype=lambda _: pl.Float64,
        spell=_spell_number,
    ),
)
"""Their rows in the table of types."""
