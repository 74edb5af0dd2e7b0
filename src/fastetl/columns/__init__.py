"""Which text a column takes: Redshift's types with their limits, one value at a time, whole columns, and frames.

`table.py` has one rule for each type. Importing this package does not import Polars: the coordinator starts without it.
"""

from __future__ import annotations

from fastetl.columns.convert import Converter, build_converter, build_path_converter, build_shortener, make_example
from fastetl.columns.documents import build_json
from fastetl.columns.expressions import ask_row, build_expression
from fastetl.columns.frames import natural_dtype, read_column, write_column
from fastetl.columns.numbers import round_to_scale
from fastetl.columns.rule import DOCUMENT, Encoding, Rule, UnfitError
from fastetl.columns.table import KINDS, RULES
from fastetl.columns.types import KEY_TYPE, SYSTEM_COLUMNS, Column, Misfit, RedshiftType, TimeFormat
from fastetl.columns.values import check_text, follow_path, only, parse_number, plain

__all__ = [
    "DOCUMENT",
    "KEY_TYPE",
    "KINDS",
    "RULES",
    "SYSTEM_COLUMNS",
    "Column",
    "Converter",
    "Encoding",
    "Misfit",
    "RedshiftType",
    "Rule",
    "TimeFormat",
    "UnfitError",
    "ask_row",
    "build_converter",
    "build_expression",
    "build_json",
    "build_path_converter",
    "build_shortener",
    "check_text",
    "follow_path",
    "make_example",
    "natural_dtype",
    "only",
    "parse_number",
    "plain",
    "read_column",
    "round_to_scale",
    "write_column",
]
