"""Values of one column, all at once, as the column's text. Pure.

Looking at a whole column costs a fraction of looking at each value: the common case is that all are their own text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import orjson

from fastetl.columns.convert import build_converter, build_path_converter
from fastetl.columns.rule import UnfitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from fastetl.columns.types import Column
else:
    from fastetl.columns.lazy import polars as pl

PART = "part"
"""In place of a tag: a value that holds what a column takes."""


class Texts(msgspec.Struct, frozen=True):
    """What the values of one attribute say."""

    tag: str
    series: pl.Series
    """The texts, without NUL; null where there is no value, and where it is odd."""
    odd: dict[int, str] = {}
    """By their places, the JSON of values of another type or spelling; empty where even that is not known."""


class TypedColumn:
    """A declared column: from what its values say to its text. `path` leads to the part of each that it takes."""

    def __init__(self, column: Column, null_marker: str, path: tuple[str | int, ...] | None = None) -> None:
        self.tag = column.tag if path is None else PART
        self._null_marker = null_marker
        self._convert = build_converter(column, null_marker)
        self._read_odd = build_path_converter(msgspec.structs.replace(column, path=("", *(path or ()))), null_marker)
        is_spelled_alike = column.tag == column.type.rule.tag
        look = column.type.rule.look
        self._look = look(column) if look and is_spelled_alike else None
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
        written, fits = self._look(texts) if self._look else (texts, texts.is_null())
        return written, fits & (written != self._null_marker)

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
