"""The parts of every statement: identifiers and literals, quoted, and names of tables. Pure.

Nothing of an item ever becomes SQL: statements hold identifiers from the configuration, quoted, and literals that
fastetl made itself (hashes, times, S3 addresses).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fastetl.columns import RedshiftType
from fastetl.config import Grantee, Pipeline
from fastetl.identifiers import fold

_NOTHING: Mapping[str, str] = {}

FILE_ID = RedshiftType("CHAR", length=32)

BATCH_ID = RedshiftType("VARCHAR", length=64)

COUNT = RedshiftType("BIGINT")

SOURCE = RedshiftType("VARCHAR", length=64)

MOMENT = RedshiftType("TIMESTAMP")

OWNER = RedshiftType("VARCHAR", length=512)
"""A bucket, a table and a pipeline have names of at most 63, 255 and 64 characters."""


class Statement(msgspec.Struct, frozen=True):
    """One SQL statement and the step it takes; the step is also the comment that opens the SQL."""

    step: str
    sql: str


def quote_identifier(name: str) -> str:
    """Quote a name of the configuration for SQL.

    Args:
        name: of a table or a column.

    Raises:
        ValueError: the name holds NUL.
    """
    if "\x00" in name:
        raise ValueError("an identifier holds no NUL")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    r"""Quote a text that fastetl made for SQL.

    Redshift, unlike standard SQL, lets a backslash escape what follows (Redshift Database Developer Guide,
    QUOTE_LITERAL): none is sent, but for the tab, which is the same with and without it: `\t`.

    Args:
        text: made by fastetl, never by an item.

    Raises:
        ValueError: the text holds NUL or a backslash.
    """
    if "\x00" in text or ("\\" in text and text != r"\t"):
        raise ValueError("a literal holds neither NUL nor backslash")
    return "'" + text.replace("'", "''") + "'"


def quote_table(pipeline: Pipeline, suffix: str = "") -> str:
    """Quote the name of the mirror, or of a table or view beside it.

    Args:
        pipeline: its schema and target.
        suffix: of the table beside it, like `_log`.
    """
    return f"{quote_identifier(pipeline.schema)}.{quote_identifier(pipeline.target + suffix)}"


EVERYBODY = Grantee("group", "public")


def name_grantee(grantee: Grantee) -> str:
    """Name somebody in GRANT: `ROLE` a role, `GROUP` a group, a user by the name alone."""
    if grantee == EVERYBODY:
        return "PUBLIC"
    return f"{'' if grantee.kind == 'user' else grantee.kind.upper() + ' '}{quote_identifier(grantee.name)}"


def build_statements(about: str, steps: list[tuple[str, str]]) -> tuple[Statement, ...]:
    """Make statements, each of which begins with a comment that names its step.

    Args:
        about: what they are for, like a pipeline or a batch; it stands in the comment.
        steps: pairs of a step and its SQL.
    """
    return tuple(Statement(step, f"/* fastetl {step} {about} */\n{sql}") for step, sql in steps)


def define_columns(columns: tuple[tuple[str, RedshiftType], ...], encode: Mapping[str, str] = _NOTHING) -> str:
    """Write column definitions for CREATE TABLE.

    Args:
        columns: with their types.
        encode: encodings of columns, by name.
    """
    encodings = {fold(name): f" ENCODE {encoding}" for name, encoding in encode.items()}
    # Redshift compares VARCHAR without trailing blanks and a database may ignore case; keys must not merge.
    exact = {"_key": " COLLATE CASE_SENSITIVE"}
    return ", ".join(
        f"{quote_identifier(name)} {kind}{encodings.get(fold(name), '')}{exact.get(name, '')}" for name, kind in columns
    )


def list_names(names: list[str], *, of: str = "") -> str:
    """Write quoted names with commas between, each with the table `of` before it if that is given."""
    prefix = f"{quote_identifier(of)}." if of else ""
    return ", ".join(f"{prefix}{quote_identifier(name)}" for name in names)
