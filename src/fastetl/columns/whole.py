"""Values of one column, all at once, as the column's text. Pure.

Looking at a whole column costs a fraction of looking at each value: the common case is that all are their own text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import polars as pl

from fastetl.columns.convert import UnfitError, build_converter, build_path_converter, build_plain_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastetl.columns.types import Column

DOCUMENT, PART = "document", "part"
"""In place of a type: any value, for SUPER; and a value that holds what a column takes."""


class Texts(msgspec.Struct, frozen=True):
    """What the values of one attribute say."""

    tag: str
    series: pl.Series
    """The texts, without NUL; null where there is no value, and where it is odd."""
    odd: dict[int, str] = {}
    """By their places, the JSON of values of another type or spelling; empty where even that is not known."""


_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"

_DAY = (
    rf"{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)

_PLAIN_DAY = rf"\A{_DAY}\z"
"""Of a leap year's last day of February each is looked at for itself."""

_PLAIN_TIME = rf"\A{_DAY}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z?\z"
"""Patterns for Polars, whose engine has no look-ahead and is several times as fast as `re`."""

_INTEGERS: dict[str, Any] = {"SMALLINT": pl.Int16, "INTEGER": pl.Int32, "BIGINT": pl.Int64}

_NUMBERS = {*_INTEGERS, "DECIMAL", "REAL", "DOUBLE PRECISION"}

_TIMES = {"DATE", "TIMESTAMP", "TIMESTAMPTZ"}


def expected_tag(column: Column) -> str:
    """The type that a column's values have as a rule."""
    kind = column.type.kind
    if kind == "SUPER":
        return DOCUMENT
    if kind in _NUMBERS or (kind in _TIMES and column.time_format != "iso8601"):
        return "N"
    return {"BOOLEAN": "BOOL", "VARBYTE": "B"}.get(kind, "S")


class TypedColumn:
    """A declared column: from what its values say to its text. `path` leads to the part of each that it takes."""

    def __init__(self, column: Column, null_marker: str, path: tuple[str | int, ...] | None = None) -> None:
        self.tag = expected_tag(column) if path is None else PART
        self._kind = column.type
        self._null_marker = null_marker
        self._is_iso8601 = column.time_format == "iso8601"
        convert = build_converter(column, null_marker)
        # Days and moments repeat; what does not fit is worked out again each time, and is rare.
        self._convert = lru_cache(maxsize=4096)(convert) if column.type.kind in _TIMES else convert
        self._read_odd = build_path_converter(msgspec.structs.replace(column, path=("", *(path or ()))), null_marker)
        if column.type.kind == "DECIMAL":
            self._plain = rf"\A(?:{build_plain_pattern(column.type)})\z"
        self.group = (self.tag, column.type, column.time_format)
        """Columns that have this in common can be looked at together."""

    def write(self, texts: Texts, bad: set[int]) -> pl.Series:
        """Give every row's text as COPY reads it; adds to `bad` the rows whose value does not fit as it is."""
        written, fits = self.look(texts.series)
        if not fits.all():
            places = (~fits).arg_true()
            written = _put(
                written, dict(zip(places, texts.series.gather(places), strict=True)), self._convert_text, bad
            )
        return _put(written, texts.odd, self._convert_json, bad) if texts.odd else written

    def look(self, texts: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Give the texts as COPY reads them, and where that is so; null where there is none."""
        written, fits = self._look(texts)
        return written, fits & (written != self._null_marker)

    def _look(self, texts: pl.Series) -> tuple[pl.Series, pl.Series]:
        kind = self._kind
        match kind.kind:
            case "BOOLEAN" | "SUPER":
                return texts, pl.Series(values=[True]).new_from_index(0, len(texts))
            case "VARCHAR":
                return texts, texts.str.len_bytes() <= kind.length
            case "CHAR":
                size = texts.str.len_bytes()
                is_ascii = size == texts.str.len_chars()
                return texts, (size <= kind.length) & is_ascii & ~texts.str.ends_with(" ")
            case "DECIMAL":
                return texts, texts.str.contains(self._plain)
            case "SMALLINT" | "INTEGER" | "BIGINT":
                return texts, texts.cast(_INTEGERS[kind.kind], strict=False).cast(pl.String).eq_missing(texts)
            case "DATE" | "TIMESTAMP" | "TIMESTAMPTZ" if self._is_iso8601:
                return self._look_at_times(texts)
        return texts, texts.is_null()

    def _look_at_times(self, texts: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Read days, or moments in whole seconds."""
        if self._kind.kind == "DATE":
            return texts, texts.str.contains(_PLAIN_DAY)
        zone = "+00" if self._kind.kind == "TIMESTAMPTZ" else ""
        written = texts.str.slice(0, 19).str.replace("T", " ", literal=True)
        return written + zone if zone else written, texts.str.contains(_PLAIN_TIME)

    def _convert_text(self, text: str) -> str | None:
        return self._convert(self.tag, text == "true" if self.tag == "BOOL" else text)

    def _convert_json(self, text: str) -> str | None:
        return self._read_odd(orjson.loads(text))


def _put(
    written: pl.Series, values: Mapping[int, str], convert: Callable[[str], str | None], bad: set[int]
) -> pl.Series:
    """Put values in their places, converted; adds to `bad` the places of those that cannot be."""
    texts: list[str | None] = []
    for place, value in values.items():
        try:
            texts.append(convert(value))
        except (UnfitError, orjson.JSONDecodeError):
            texts.append(None)
            bad.add(place)
    return written.scatter(list(values), pl.Series(values=texts, dtype=pl.String))
