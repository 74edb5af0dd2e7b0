"""Who may do what in the warehouse: what a load's database user needs, what readers get, and what is granted. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from fastetl.config import Pipeline
from fastetl.identifiers import fold
from fastetl.sql.tables import BOOKKEEPING, CHILD, TARGETS, view_names
from fastetl.sql.text import (
    Statement,
    build_statements,
    name_grantee,
    quote_identifier,
    quote_literal,
    quote_table,
)


class Privilege(msgspec.Struct, frozen=True):
    """Something that a load has to be allowed."""

    kind: Literal["schema", "table", "database"]
    object: str
    """Quoted, as SQL names it."""
    right: str

    def __str__(self) -> str:
        return f"{self.right} on {self.kind} {self.object}"


def load_privileges(pipeline: Pipeline) -> tuple[Privilege, ...]:
    """List the rights that a load's database user needs, and no more.

    Temporary tables are every user's by membership of PUBLIC (Redshift Database Developer Guide, CREATE TABLE), unless
    that has been revoked.

    Args:
        pipeline: its tables and outputs.
    """
    tables = [
        (quote_table(part, table.suffix), CHILD.rights if part.rows_of else table.rights)
        for part in pipeline.targets
        for output, table in TARGETS.items()
        if output in part.outputs
    ]
    tables += [(quote_table(pipeline, table.suffix), table.rights) for table in BOOKKEEPING]
    schemas = dict.fromkeys(each.schema for each in (pipeline, *pipeline.targets))
    return (
        *(Privilege("schema", quote_identifier(schema), "USAGE") for schema in schemas),
        Privilege("database", quote_identifier(pipeline.redshift.database), "TEMP"),
        *(Privilege("table", table, right) for table, rights in tables for right in rights),
    )


def load_grants_sql(pipeline: Pipeline, privileges: Iterable[Privilege]) -> tuple[Statement, ...]:
    """Build the statements that grant rights to `redshift.load_user`.

    Args:
        pipeline: names the user.
        privileges: some of `load_privileges`.
    """
    rights: dict[tuple[str, str], list[str]] = {}
    for each in privileges:
        rights.setdefault((each.kind, each.object), []).append(each.right)
    user = quote_identifier(pipeline.redshift.load_user)
    steps = [
        ("grant_load", f"GRANT {', '.join(granted)} ON {kind.upper()} {granted_on} TO {user}")
        for (kind, granted_on), granted in rights.items()
    ]
    return build_statements(pipeline.name, steps)


def read_grants_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statements that grant views and log, and their schema, to whom `redshift.grant_to` names.

    Args:
        pipeline: its views and readers.
    """
    readable = [
        quote_table(part, name)
        for part in (pipeline, *pipeline.parts)
        for name in (*view_names(part), *(["_log"] if "log" in part.outputs and not part.parts else []))
    ]
    steps = []
    for reader in pipeline.redshift.grant_to:
        to = name_grantee(reader)
        schemas = dict.fromkeys(part.schema for part in (pipeline, *pipeline.parts))
        steps += [("grant_read", f"GRANT USAGE ON SCHEMA {quote_identifier(schema)} TO {to}") for schema in schemas]
        steps += [("grant_read", f"GRANT SELECT ON {relation} TO {to}") for relation in readable]
    return build_statements(pipeline.name, steps)


def create_user_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that creates `redshift.load_user`, which has no password: IAM says who it is.

    The Data API would create it when the coordinator first connects, and there is nothing to grant to before.

    Args:
        pipeline: names the user.
    """
    user = quote_identifier(pipeline.redshift.load_user)
    return build_statements(pipeline.name, [("user", f"CREATE USER {user} PASSWORD DISABLE")])


def view_readers_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that asks who may read the views.

    Source: Redshift Database Developer Guide, SVV_RELATION_PRIVILEGES.

    Args:
        pipeline: that has the views.
    """
    views = ", ".join(quote_literal(fold(pipeline.target + name)) for name in view_names(pipeline))
    sql = (
        'SELECT "relation_name", "identity_type", "identity_name" FROM "svv_relation_privileges"'
        f' WHERE "namespace_name" = {quote_literal(fold(pipeline.schema))} AND "relation_name" IN ({views})'
        " AND \"privilege_type\" = 'SELECT' ORDER BY 1, 2, 3"
    )
    return build_statements(pipeline.name, [("view_readers", sql)])


def user_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that asks whether `redshift.load_user` is a user of the database: it gives a row if it is.

    Args:
        pipeline: names the user.
    """
    user = quote_literal(pipeline.redshift.load_user)
    sql = f'SELECT "usename" FROM "pg_user" WHERE "usename" = {user}'
    return build_statements(pipeline.name, [("users", sql)])


def privileges_sql(pipeline: Pipeline, privileges: tuple[Privilege, ...]) -> tuple[Statement, ...]:
    """Build the statement that asks which privileges `redshift.load_user` has.

    It gives one row with a column for each, `true` or `false`. HAS_TABLE_PRIVILEGE and its like run on the leader node
    alone, so that the statement reads no table (Redshift Database Developer Guide).

    Args:
        pipeline: names the user.
        privileges: that are asked about.
    """
    user = quote_literal(pipeline.redshift.load_user)
    asked = []
    for number, each in enumerate(privileges):
        # A table is named as in SQL, a schema or a database by its bare name.
        name = each.object if each.kind == "table" else each.object[1:-1].replace('""', '"')
        asked.append(
            f'has_{each.kind}_privilege({user}, {quote_literal(name)}, {quote_literal(each.right)}) AS "p{number}"'
        )
    return build_statements(pipeline.name, [("privileges", f"SELECT {', '.join(asked)}")])


def assume_role_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that asks whether `redshift.load_user` may have COPY take `redshift.iam_role`.

    Source: Redshift Database Developer Guide, HAS_ASSUMEROLE_PRIVILEGE.

    Args:
        pipeline: names user and role.
    """
    user, role = (quote_literal(text) for text in (pipeline.redshift.load_user, pipeline.redshift.iam_role))
    return build_statements(
        pipeline.name, [("assume_role", f"SELECT has_assumerole_privilege({user}, {role}, 'copy')")]
    )
