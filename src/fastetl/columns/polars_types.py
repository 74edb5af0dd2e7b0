"""Columns of text as columns of numbers, times and truth values, for enrichments; and back, checked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from fastetl.columns.convert import UnfitError, check_text
from fastetl.columns.types import Column
from fastetl.columns.whole import Texts, TypedColumn
from fastetl.errors import EnrichmentError
from fastetl.limits import MAX_PRECISION

if TYPE_CHECKING:
    from fastetl.columns.types import RedshiftType

_DTYPES: dict[str, Any] = {
    "SMALLINT": pl.Int16,
    "INTEGER": pl.Int32,
    "BIGINT": pl.Int64,
    "REAL": pl.Float32,
    "DOUBLE PRECISION": pl.Float64,
    "BOOLEAN": pl.Boolean,
    "DATE": pl.Date,
    "TIMESTAMP": pl.Datetime("us"),
    "TIMESTAMPTZ": pl.Datetime("us", "UTC"),
    "VARBYTE": pl.Binary,
}
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S%.f"


def natural_dtype(kind: RedshiftType) -> Any:
    """Give the Polars dtype in which an enrichment sees a column of this Redshift type; SUPER stays JSON text."""
    return pl.Decimal(MAX_PRECISION, kind.scale) if kind.kind == "DECIMAL" else _DTYPES.get(kind.kind, pl.String)


def read_column(name: str, kind: RedshiftType) -> pl.Expr:
    """From the text that COPY would read to the natural dtype; nothing is rounded."""
    column = pl.col(name)
    match kind.kind:
        case "BOOLEAN":
            return column == "true"
        case "DATE":
            return column.str.to_date("%Y-%m-%d")
        case "TIMESTAMP":
            return column.str.to_datetime(_TIME_FORMAT, time_unit="us")
        case "TIMESTAMPTZ":
            naive = column.str.strip_suffix("+00").str.to_datetime(_TIME_FORMAT, time_unit="us")
            return naive.dt.replace_time_zone("UTC")
        case "VARBYTE":
            return column.str.decode("hex")
    return column.cast(natural_dtype(kind))


def write_column(values: pl.Series, kind: RedshiftType, null_marker: str) -> tuple[pl.Series, int]:
    """Give an enrichment's output as text for COPY, NULL where a value does not fit; and how many do not.

    Raises:
        EnrichmentError: the dtype is none that this Redshift type can stand for.
    """
    name = values.name
    bad: set[int] = set()
    if values.dtype == pl.Null:
        return pl.Series(name, [None] * len(values), dtype=pl.String), 0
    spelled = _spell(values, kind)
    if kind.kind == "SUPER":
        texts = [_check_json(text, number, bad) for number, text in enumerate(spelled)]
        return pl.Series(name, texts, dtype=pl.String), len(bad)
    column = TypedColumn(Column(name, (name,), kind), null_marker)
    return column.write(Texts(column.tag, spelled), bad).alias(name), len(bad)


def _spell(values: pl.Series, kind: RedshiftType) -> pl.Series:
    """Values as DynamoDB would spell them, so that one set of rules decides what fits."""
    dtype = values.dtype
    match kind.kind:
        case "BOOLEAN" if dtype == pl.Boolean:
            return values.cast(pl.String)
        case "VARBYTE" if dtype == pl.Binary:
            return values.bin.encode("base64")
        case "DECIMAL" if dtype.is_float():
            # A float has no scale of its own: the column's is what was meant.
            return values.cast(pl.Decimal(MAX_PRECISION, kind.scale)).cast(pl.String)
        case "SMALLINT" | "INTEGER" | "BIGINT" | "DECIMAL" | "REAL" | "DOUBLE PRECISION" if dtype.is_numeric():
            return values.cast(natural_dtype(kind) if dtype.is_float() and kind.kind == "REAL" else dtype).cast(
                pl.String
            )
        case "DATE" if dtype == pl.Date:
            return values.dt.strftime("%Y-%m-%d")
        case "TIMESTAMP" | "TIMESTAMPTZ" if isinstance(dtype, pl.Datetime):
            utc = values.dt.convert_time_zone("UTC") if dtype.time_zone else values
            return utc.dt.strftime("%Y-%m-%d %H:%M:%S%.6f")
        case "VARCHAR" | "CHAR" if (
            dtype.is_numeric() or dtype == pl.Boolean or isinstance(dtype, pl.Categorical | pl.Enum)
        ):
            return values.cast(pl.String)
    if dtype == pl.String and kind.kind not in {"BOOLEAN", "VARBYTE"}:
        return values
    raise EnrichmentError(f"column {values.name}: a Polars {dtype} is no {kind}; cast it in the enrichment")


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
