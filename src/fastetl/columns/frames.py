"""Turn columns of text into columns of numbers, times and truth values for enrichments, and back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastetl.columns.convert import Converter, build_converter
from fastetl.columns.documents import check_json
from fastetl.columns.rule import DOCUMENT, UnfitError
from fastetl.columns.types import Column
from fastetl.errors import EnrichmentError

if TYPE_CHECKING:
    import polars as pl

    from fastetl.columns.types import RedshiftType
else:
    from fastetl.columns.lazy import polars as pl


def natural_dtype(kind: RedshiftType) -> Any:
    """Give the Polars dtype in which an enrichment sees a column of this Redshift type; SUPER stays JSON text.

    Args:
        kind: the column's type.
    """
    return kind.rule.dtype(kind)


def read_column(name: str, kind: RedshiftType) -> pl.Expr:
    """Build what turns a column's text, as COPY reads it, into its natural dtype; nothing is rounded.

    Args:
        name: of a column of text.
        kind: its Redshift type.

    Returns:
        An expression of the column's natural dtype; NULL where the text is none of its values.
    """
    read = kind.rule.read
    return read(pl.col(name)) if read else pl.col(name).cast(natural_dtype(kind))


def write_column(values: pl.Series, kind: RedshiftType, null_marker: str) -> tuple[pl.Series, dict[int, str]]:
    """Give an enrichment's output as text for COPY.

    Args:
        values: of the enrichment's output.
        kind: the output's Redshift type.
        null_marker: the text that stands for NULL, which no value may equal.

    Returns:
        The texts, NULL where a value does not fit; and for each of these places the reason, as `UnfitError` has it.

    Raises:
        EnrichmentError: the dtype is none that this Redshift type can stand for.
    """
    name, rule = values.name, kind.rule
    if values.dtype == pl.Null:
        return pl.Series(name, [None] * len(values), dtype=pl.String), {}
    spelled = values if values.dtype == pl.String and rule.is_spelled_as_text else rule.spell(values, kind)
    if spelled is None:
        raise EnrichmentError(f"column {name}: a Polars {values.dtype} is no {kind}; cast it in the enrichment")
    # What could not even be spelled, as a number beyond all columns, is NULL already. It is asked here, because
    # `scatter` writes into its series, which may be this one.
    lost = (spelled.is_null() & values.is_not_null()).arg_true()
    column = Column(name, (name,), kind)
    if rule.look:
        written, fits = rule.look(column)(spelled)
        fits &= written != null_marker
    else:
        written, fits = spelled, spelled.is_null()
    unfit: dict[int, str] = {}
    if not fits.all():
        convert = _build_text_converter(column, null_marker)
        places = (~fits).arg_true()
        texts = [
            _convert(convert, column.tag, text, place, unfit)
            for place, text in zip(places, spelled.gather(places), strict=True)
        ]
        written = written.scatter(places, pl.Series(values=texts, dtype=pl.String))
    return written.alias(name), unfit | dict.fromkeys(lost, "range")


def _build_text_converter(column: Column, null_marker: str) -> Converter:
    """Build what converts a value that is spelled as text."""
    if column.tag == DOCUMENT:
        return check_json
    convert = build_converter(column, null_marker)
    if column.tag == "BOOL":
        return lambda tag, text: convert(tag, text == "true")
    return convert


def _convert(convert: Converter, tag: str, text: str, place: int, unfit: dict[int, str]) -> str | None:
    try:
        return convert(tag, text)
    except UnfitError as error:
        unfit[place] = error.reason
        return None
