"""Every SQL statement that fastetl sends to Redshift, as values built by pure functions."""

from __future__ import annotations

from fastetl.sql.load import (
    Load,
    copy_probe_sql,
    load_errors_sql,
    load_sql,
    loaded_files_sql,
    resolve_sql,
    tombstone_sql,
)
from fastetl.sql.tables import add_column_sql, ddl_sql, table_columns_sql, target_names, widen_column_sql
from fastetl.sql.text import Statement, quote_identifier, quote_literal, quote_table

__all__ = [
    "Load",
    "Statement",
    "add_column_sql",
    "copy_probe_sql",
    "ddl_sql",
    "load_errors_sql",
    "load_sql",
    "loaded_files_sql",
    "quote_identifier",
    "quote_literal",
    "quote_table",
    "resolve_sql",
    "table_columns_sql",
    "target_names",
    "tombstone_sql",
    "widen_column_sql",
]
