"""SQL expressions over the columns of a frame, in the dialect of Polars, which reaches no file. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from fastetl.columns.frames import read_column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from fastetl.columns.types import Column
else:
    from fastetl.columns.lazy import polars as pl


_HOLDS = "holds"


def build_expression(sql: str, output: str) -> tuple[Callable[[pl.DataFrame], pl.DataFrame], list[str]]:
    """Build what an SQL expression does with a frame whose columns have their natural dtypes.

    Args:
        sql: of the expression.
        output: the name of the column that it gives.

    Returns:
        A function that adds the column, and the names of the columns that the expression reads.
    """
    from polars import selectors  # noqa: PLC0415 - as Polars itself, only where there is an expression

    expression = pl.sql_expr(sql).alias(output)
    # Polars lets whole numbers wrap around where they overflow: in 128 bits, those of a column do not.
    widen = selectors.integer().cast(pl.Int128)
    read = list(dict.fromkeys(expression.meta.root_names()))
    return lambda frame: frame.with_columns(widen).with_columns(expression), read


def ask_row(sql: str, columns: tuple[Column, ...], texts: Mapping[str, str | None]) -> bool:
    """Tell whether a condition in SQL holds of one row; NULL counts as no, and so does a row on which it fails.

    Args:
        sql: of the condition.
        columns: that it may read.
        texts: the row's values by the columns' names, as COPY reads them.
    """
    frame = pl.DataFrame({column.name: [texts[column.name]] for column in columns}, dict.fromkeys(texts, pl.String))
    try:
        return _build_test(sql, columns)(frame).item() is True
    except (Exception, pl.exceptions.PanicException):  # noqa: BLE001 - Polars panics on some values, and raises on others
        return False


@lru_cache(maxsize=256)
def _build_test(sql: str, columns: tuple[Column, ...]) -> Callable[[pl.DataFrame], pl.Series]:
    read = [read_column(column.name, column.type).alias(column.name) for column in columns]
    step, _ = build_expression(sql, _HOLDS)
    return lambda frame: step(frame.select(read))[_HOLDS]
