"""CHAR and VARCHAR. Texts are measured in bytes of UTF-8.

Limits: Amazon Redshift Database Developer Guide, "Character types".
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from fastetl.columns.rule import Bound, Convert, Look, Rule, UnfitError
from fastetl.columns.values import check_text, text_of
from fastetl.limits import MAX_CHAR_BYTES, MAX_VARCHAR_BYTES

if TYPE_CHECKING:
    from random import Random

    import polars as pl

    from fastetl.columns.types import Column, RedshiftType
else:
    from fastetl.columns.lazy import polars as pl

EXAMPLE_CHARACTERS = 24
"""Length of a made-up text, where its column is longer."""


def _convert_varchar(column: Column) -> Convert:
    length = column.type.length

    def convert(tag: str, content: Any) -> str:
        text = text_of(tag, content)
        if len(check_text(text)) > length:
            raise UnfitError("too_long", f"at most {length} bytes of UTF-8")
        return text

    return convert


def _look_at_varchars(column: Column) -> Look:
    length = column.type.length
    return lambda texts: (texts, (texts.str.len_bytes() <= length) & ~_hold_nul(texts))


def _hold_nul(texts: pl.Series) -> pl.Series:
    return texts.str.contains("\0", literal=True)


def _convert_char(column: Column) -> Convert:
    length = column.type.length

    def convert(tag: str, content: Any) -> str:
        text = text_of(tag, content)
        check_text(text)
        if not text.isascii():
            raise UnfitError("not_ascii", "CHAR holds ASCII; VARCHAR holds all characters")
        if len(text) > length:
            raise UnfitError("too_long", f"at most {length} characters")
        if text.endswith(" "):
            raise UnfitError("trailing_blanks", "CHAR drops blanks at the end; VARCHAR keeps them")
        return text

    return convert


def _look_at_chars(column: Column) -> Look:
    length = column.type.length

    def look(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
        size = texts.str.len_bytes()
        is_ascii = size == texts.str.len_chars()
        return texts, (size <= length) & is_ascii & ~texts.str.ends_with(" ") & ~_hold_nul(texts)

    return look


def truncate(text: str, kind: RedshiftType) -> str:
    """Give as many whole characters of a text as fit its column; CHAR loses blanks at the end."""
    kept = text.encode()[: kind.length].decode(errors="ignore")
    return kept.rstrip(" ") if kind.kind == "CHAR" else kept


def _shorten(column: Column) -> Convert:
    convert = column.type.rule.convert(column)
    return lambda tag, content: convert("S", truncate(text_of(tag, content), column.type))


def _spell(values: pl.Series, _kind: RedshiftType) -> pl.Series | None:
    dtype = values.dtype
    # The types of an instance and of a class are equal, but their hashes are not.
    is_written_plainly = dtype.is_numeric() or dtype in (pl.Boolean, pl.Categorical, pl.Enum)
    return values.cast(pl.String) if is_written_plainly else None


def _example(column: Column, chance: Random) -> str:
    characters = chance.choices(string.ascii_lowercase + "  ", k=min(column.type.length, EXAMPLE_CHARACTERS))
    return "".join(characters).strip() or "a"


RULES = (
    Rule(
        kind="CHAR",
        synonyms=("CHARACTER", "NCHAR"),
        bounds=(Bound("length", 1, 1, MAX_CHAR_BYTES),),
        catalog="character",
        encodings=frozenset({"BYTEDICT", "LZO", "RUNLENGTH"}),
        wider=("VARCHAR",),
        tag="S",
        convert=_convert_char,
        shorten=_shorten,
        look=_look_at_chars,
        copied=r"(?:[\x01-\x7f]*[\x01-\x1f\x21-\x7f])?",
        dtype=lambda _: pl.String,
        spell=_spell,
        is_text=True,
        is_key=True,
        example=_example,
    ),
    Rule(
        kind="VARCHAR",
        synonyms=("CHARACTER VARYING", "NVARCHAR", "TEXT"),
        bounds=(Bound("length", 256, 1, MAX_VARCHAR_BYTES),),
        catalog="character varying",
        encodings=frozenset({"BYTEDICT", "LZO", "RUNLENGTH", "TEXT255", "TEXT32K"}),
        lengthens=True,
        tag="S",
        convert=_convert_varchar,
        shorten=_shorten,
        look=_look_at_varchars,
        copied=r"[^\x00]*",
        dtype=lambda _: pl.String,
        spell=_spell,
        is_text=True,
        is_key=True,
        example=_example,
    ),
)
"""Their rows in the table of types."""
