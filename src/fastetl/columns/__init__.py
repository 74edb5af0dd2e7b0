"""Which text a column takes: Redshift's types with their limits, and one value at a time as a column's text.

Nothing here needs Polars. What does (whole columns at once, columns as numbers and times for enrichments) has a door of
its own, `fastetl.columns.polars_types`, so that the coordinator starts without Polars.
"""

from __future__ import annotations

from fastetl.columns.convert import (
    Converter,
    UnfitError,
    build_converter,
    build_json,
    build_path_converter,
    check_text,
    follow_path,
    only,
    parse_number,
    plain,
    text_of,
    truncate,
)
from fastetl.columns.types import (
    KEY_TYPE,
    SYSTEM_COLUMNS,
    Column,
    Kind,
    Misfit,
    RedshiftType,
    TimeFormat,
)

__all__ = [
    "KEY_TYPE",
    "SYSTEM_COLUMNS",
    "Column",
    "Converter",
    "Kind",
    "Misfit",
    "RedshiftType",
    "TimeFormat",
    "UnfitError",
    "build_converter",
    "build_json",
    "build_path_converter",
    "check_text",
    "follow_path",
    "only",
    "parse_number",
    "plain",
    "text_of",
    "truncate",
]
