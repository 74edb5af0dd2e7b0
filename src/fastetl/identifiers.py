"""Names of columns, tables and schemas in Redshift: which it takes, and which are the same to it. Pure.

Source: Amazon Redshift Database Developer Guide, "Names and identifiers".
"""

from __future__ import annotations

import string

from fastetl.limits import MAX_IDENTIFIER_BYTES

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

RESERVED_COLUMNS = frozenset({"oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "insertxid", "deletexid"})
"""Names that every table's own columns have: PostgreSQL's, and the hidden ones of Redshift ("STV_BLOCKLIST")."""

RESERVED_SCHEMAS = frozenset({"information_schema", "catalog_history"})


def fold(name: str) -> str:
    """Give the name by which Redshift knows an identifier, quoted or not: two names with the same are the same.

    Only ASCII letters are folded.
    """
    return name.translate(_LOWER)


def find_name_problem(name: str) -> str:
    """Tell why Redshift does not take a name; empty where it does."""
    if not name:
        return "a name is empty"
    if not name.isprintable():
        return f"{name!r} holds a character that cannot be printed"
    if len(name.encode()) > MAX_IDENTIFIER_BYTES:
        return f"{name[:40]!r}… has {len(name.encode())} bytes, and a name has at most {MAX_IDENTIFIER_BYTES}"
    return ""


def find_column_problem(name: str) -> str:
    """Tell why Redshift does not take a column of this name; empty where it does."""
    if fold(name) in RESERVED_COLUMNS:
        return f"{name!r} is a column that Redshift has in every table"
    return find_name_problem(name)


def find_table_problem(name: str, suffixes: tuple[str, ...]) -> str:
    """Tell why Redshift does not take a table of this name, or one of those beside it; empty where it does."""
    if name.startswith("#"):
        return f"{name!r} begins with #, which makes a table temporary"
    if "." in name:
        return f"{name!r} holds a dot"
    if "\\" in name:
        return f"{name!r} holds a backslash"
    longest = max(suffixes, key=len, default="")
    return find_name_problem(name) or find_name_problem(name + longest)


def find_schema_problem(name: str) -> str:
    """Tell why Redshift does not take a schema of this name; empty where it does."""
    if fold(name).startswith("pg_") or fold(name) in RESERVED_SCHEMAS:
        return f"{name!r} is a schema of Redshift's own"
    if "\\" in name:
        return f"{name!r} holds a backslash"
    return find_name_problem(name)
