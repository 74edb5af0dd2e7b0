"""Every SQL statement that fastetl sends to Redshift, as values built by pure functions."""

from __future__ import annotations

from fastetl.sql.epochs import EpochKind, confirm_epoch_sql, copy_epochs_sql, epochs_sql, write_epochs_sql
from fastetl.sql.gate import owner_sql, take_over_sql
from fastetl.sql.grants import (
    Privilege,
    assume_role_sql,
    create_user_sql,
    load_grants_sql,
    load_privileges,
    privileges_sql,
    read_grants_sql,
    user_sql,
    view_readers_sql,
)
from fastetl.sql.load import copy_probe_sql, load_sql, resolve_sql
from fastetl.sql.questions import ASKED_AT_ONCE, find_since, load_errors_sql, loaded_files_sql
from fastetl.sql.resync import resyncs_sql, tombstone_sql
from fastetl.sql.sizes import find_size_problems
from fastetl.sql.staging import Load
from fastetl.sql.tables import (
    add_column_sql,
    ddl_sql,
    gate_columns_sql,
    replace_view_sql,
    table_columns_sql,
    tables_sql,
    target_names,
    view_columns,
    view_columns_sql,
    view_names,
    view_sql,
    widen_column_sql,
)
from fastetl.sql.text import EVERYBODY, Statement, build_statements, quote_identifier, quote_literal, quote_table
from fastetl.sql.verify import BUCKETS, compare_sql, list_compared, repair_sql

__all__ = [
    "ASKED_AT_ONCE",
    "BUCKETS",
    "EVERYBODY",
    "EpochKind",
    "Load",
    "Privilege",
    "Statement",
    "add_column_sql",
    "assume_role_sql",
    "build_statements",
    "compare_sql",
    "confirm_epoch_sql",
    "copy_epochs_sql",
    "copy_probe_sql",
    "create_user_sql",
    "ddl_sql",
    "epochs_sql",
    "find_since",
    "find_size_problems",
    "gate_columns_sql",
    "list_compared",
    "load_errors_sql",
    "load_grants_sql",
    "load_privileges",
    "load_sql",
    "loaded_files_sql",
    "owner_sql",
    "privileges_sql",
    "quote_identifier",
    "quote_literal",
    "quote_table",
    "read_grants_sql",
    "repair_sql",
    "replace_view_sql",
    "resolve_sql",
    "resyncs_sql",
    "table_columns_sql",
    "tables_sql",
    "take_over_sql",
    "target_names",
    "tombstone_sql",
    "user_sql",
    "view_columns",
    "view_columns_sql",
    "view_names",
    "view_readers_sql",
    "view_sql",
    "widen_column_sql",
    "write_epochs_sql",
]
