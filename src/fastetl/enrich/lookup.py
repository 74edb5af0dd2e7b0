"""Look values up in a small table, CSV or Parquet, that is read once and joined by its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from fastetl.columns import RULES, natural_dtype, read_column, write_column
from fastetl.errors import EnrichmentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastetl.columns import RedshiftType

_FOUND = "found"


class LookupTable:
    """One table in memory: its key columns as the inputs are, its values as text for COPY."""

    def __init__(
        self,
        path: Path,
        keys: Sequence[tuple[str, RedshiftType, str]],
        values: Sequence[tuple[str, RedshiftType, str]],
        null_marker: str,
    ) -> None:
        """`keys` and `values` are the pipeline's column, its type, and the table's column.

        Raises:
            EnrichmentError: the table cannot be read, lacks a column, has a key twice or a value that does not fit.
        """
        if other := [name for name, kind, _ in keys if not kind.rule.is_key]:
            usable = ", ".join(sorted(kind for kind, rule in RULES.items() if rule.is_key))
            raise EnrichmentError(f"{other[0]} cannot be looked up; use one of {usable}")
        table = _read(path)
        if missing := [column for *_, column in [*keys, *values] if column not in table.columns]:
            raise EnrichmentError(f"{path.name} has no column {missing[0]!r}")
        columns = [_as_key(table[column], kind, path.name).alias(f"key {name}") for name, kind, column in keys]
        for name, kind, column in values:
            text, unfit = write_column(_as_value(table[column].alias(name), kind), kind, null_marker)
            if unfit:
                raise EnrichmentError(f"{path.name}: {len(unfit)} values of {column!r} do not fit {name} {kind}")
            columns.append(text.alias(f"value {name}"))
        self._keys = [name for name, *_ in keys]
        self._values = [name for name, *_ in values]
        self._table = pl.DataFrame(columns).with_columns(pl.lit(value=True).alias(_FOUND))
        if self._table.select(f"key {name}" for name in self._keys).is_duplicated().any():
            raise EnrichmentError(f"{path.name} has a key twice, so that a row would have two answers")

    def find(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """Give the values for every row, in its order; and how many rows have a key that is not in the table."""
        keys = frame.select(self._keys)
        joined = keys.join(
            self._table,
            left_on=self._keys,
            right_on=[f"key {name}" for name in self._keys],
            how="left",
            maintain_order="left",
        )
        whole_key = pl.all_horizontal(pl.col(name).is_not_null() for name in self._keys)
        unknown = joined.select((whole_key & pl.col(_FOUND).is_null()).sum()).item()
        values = joined.select(pl.col(f"value {name}").alias(name) for name in self._values)
        return values, {"unknown": unknown} if unknown else {}


def _read(path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        # What is in a CSV is text, until a column's own type says what else.
        return pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise EnrichmentError(f"{path.name} cannot be read as a table: {type(error).__name__}") from error


def _as_key(values: pl.Series, kind: RedshiftType, file: str) -> pl.Series:
    try:
        return _read_texts(values, kind) if values.dtype == pl.String else values.cast(natural_dtype(kind))
    except pl.exceptions.PolarsError as error:
        raise EnrichmentError(f"{file}: {values.name!r} cannot be compared with {kind}") from error


def _as_value(values: pl.Series, kind: RedshiftType) -> pl.Series:
    """Give a CSV's texts the dtype for which text alone would not do."""
    if values.dtype != pl.String or kind.rule.is_spelled_as_text:
        return values
    try:
        return _read_texts(values, kind)
    except pl.exceptions.PolarsError as error:
        raise EnrichmentError(f"{values.name} {kind}: a value is not written as one") from error


def _read_texts(values: pl.Series, kind: RedshiftType) -> pl.Series:
    return values.to_frame().select(read_column(values.name, kind)).to_series()
