"""Columns of text as columns of numbers, times and truth values, for enrichments; and back, checked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from fastetl.columns.rule import DOCUMENT, UnfitError
from fastetl.columns.types import Column
from fastetl.columns.values import check_text
from fastetl.columns.whole import Texts, TypedColumn
from fastetl.errors import EnrichmentError

if TYPE_CHECKING:
    import polars as pl

    from fastetl.columns.types import RedshiftType
else:
    from fastetl.columns.lazy import polars as pl


def natural_dtype(kind: RedshiftType) -> Any:
    """Give the Polars dtype in which an enrichment sees a column of this Redshift type; SUPER stays JSON text."""
    return kind.rule.dtype(kind)


def read_column(name: str, kind: RedshiftType) -> pl.Expr:
    """Build what turns a column's text, as COPY reads it, into its natural dtype; nothing is rounded."""
    read = kind.rule.read
    return read(pl.col(name)) if read else pl.col(name).cast(natural_dtype(kind))


def write_column(values: pl.Series, kind: RedshiftType, null_marker: str) -> tuple[pl.Series, int]:
    """Give an enrichment's output as text for COPY, NULL where a value does not fit; and how many do not.

    Raises:
        EnrichmentError: the dtype is none that this Redshift type can stand for.
    """
    name = values.name
    bad: set[int] = set()
    if values.dtype == pl.Null:
        return pl.Series(name, [None] * len(values), dtype=pl.String), 0
    is_text = values.dtype == pl.String and kind.rule.is_spelled_as_text
    spelled = values if is_text else kind.rule.spell(values, kind)
    if spelled is None:
        raise EnrichmentError(f"column {name}: a Polars {values.dtype} is no {kind}; cast it in the enrichment")
    if kind.rule.tag == DOCUMENT:
        texts = [_check_json(text, number, bad) for number, text in enumerate(spelled)]
        return pl.Series(name, texts, dtype=pl.String), len(bad)
    column = TypedColumn(Column(name, (name,), kind), null_marker)
    return column.write(Texts(column.tag, spelled), bad).alias(name), len(bad)


def _check_json(text: str | None, number: int, bad: set[int]) -> str | None:
    if text is None:
        return None
    try:
        orjson.loads(text)
        if "\\u0000" not in text:
            check_text(text)
            return text
    except (orjson.JSONDecodeError, UnfitError):
        pass
    bad.add(number)
    return None
