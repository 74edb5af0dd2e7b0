"""BOOLEAN and VARBYTE.

Limits: Amazon Redshift Database Developer Guide, "Boolean type" and "VARBYTE type".
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from fastetl.columns.rule import Bound, Convert, Look, Rule, UnfitError
from fastetl.columns.values import decode_binary, text_of
from fastetl.limits import MAX_VARBYTE_BYTES

if TYPE_CHECKING:
    from random import Random

    import polars as pl

    from fastetl.columns.types import Column, RedshiftType
else:
    from fastetl.columns.lazy import polars as pl

EXAMPLE_BYTES = 24
"""Size of a made-up binary value, where its column is longer."""


def _convert_boolean(_: Column) -> Convert:
    def convert(tag: str, content: Any) -> str:
        if tag != "BOOL":
            raise UnfitError("type", "BOOL")
        return text_of(tag, content)

    return convert


def _look_at_booleans(_: Column) -> Look:
    return lambda texts: (texts, texts.is_null() | texts.is_not_null())


def _read_boolean(column: pl.Expr) -> pl.Expr:
    return column.str.to_lowercase().replace_strict({"true": True, "false": False}, return_dtype=pl.Boolean)


def _spell_boolean(values: pl.Series, _kind: RedshiftType) -> pl.Series | None:
    return values.cast(pl.String) if values.dtype == pl.Boolean else None


def _convert_varbyte(column: Column) -> Convert:
    length = column.type.length

    def convert(tag: str, content: Any) -> str:
        if tag != "B":
            raise UnfitError("type", "B")
        binary = decode_binary(content)
        if not binary:
            # COPY, EMPTYASNULL: "Empty fields for other data types are always loaded with NULL".
            raise UnfitError("empty", "at least one byte, since COPY reads an empty VARBYTE as NULL")
        if len(binary) > length:
            raise UnfitError("too_long", f"at most {length} bytes")
        return binary.hex()

    return convert


def _spell_varbyte(values: pl.Series, _kind: RedshiftType) -> pl.Series | None:
    return values.bin.encode("base64") if values.dtype == pl.Binary else None


def _example_varbyte(column: Column, chance: Random) -> str:
    return base64.b64encode(chance.randbytes(min(column.type.length, EXAMPLE_BYTES))).decode()


RULES = (
    Rule(
        kind="BOOLEAN",
        encodings=frozenset({"RUNLENGTH"}),
        synonyms=("BOOL",),
        tag="BOOL",
        convert=_convert_boolean,
        look=_look_at_booleans,
        copied="true|false",
        dtype=lambda _: pl.Boolean,
        read=_read_boolean,
        spell=_spell_boolean,
        is_key=True,
        example=lambda _, chance: bool(chance.getrandbits(1)),
    ),
    Rule(
        kind="VARBYTE",
        encodings=frozenset({"LZO"}),
        orders=False,
        synonyms=("BINARY VARYING", "VARBINARY"),
        bounds=(Bound("length", 64_000, 1, MAX_VARBYTE_BYTES),),
        catalog="binary varying",
        tag="B",
        convert=_convert_varbyte,
        copied="(?:[0-9a-f]{2})+",
        dtype=lambda _: pl.Binary,
        read=lambda column: column.str.decode("hex"),
        spell=_spell_varbyte,
        example=_example_varbyte,
    ),
)
"""Their rows in the table of types."""
