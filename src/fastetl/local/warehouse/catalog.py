"""What Redshift keeps of users, roles, groups, grants and views, for engines that keep less of it.

Tables of `SYSTEM_SCHEMA`: `identities` says who is a user, a role or a group, which only Redshift tells apart, and
`bound_views` which tables an early-bound view holds. Grants are PostgreSQL's own where it is the engine; DuckDB has
none, and `grants` keeps what was granted, without holding anybody to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from sqlglot import exp

from fastetl.identifiers import fold
from fastetl.local.warehouse.engine import SYSTEM_SCHEMA, Dialect, SqlError, Table

IDENTITIES, BOUND_VIEWS, GRANTS = (f"{SYSTEM_SCHEMA}.{name}" for name in ("identities", "bound_views", "grants"))

_TABLES = (
    f"CREATE TABLE IF NOT EXISTS {IDENTITIES} (name TEXT, kind TEXT)",
    f"CREATE TABLE IF NOT EXISTS {BOUND_VIEWS} (view_name TEXT, table_name TEXT)",
)
_ASSUME_ROLE = "has_assumerole_privilege"

INSTALL: dict[Dialect, tuple[str, ...]] = {
    "duckdb": (
        *_TABLES,
        f"CREATE TABLE IF NOT EXISTS {GRANTS}"
        " (object_kind TEXT, object TEXT, privilege TEXT, identity TEXT, identity_kind TEXT)",
        f"CREATE OR REPLACE VIEW {SYSTEM_SCHEMA}.pg_user AS"
        f" SELECT name AS usename FROM {IDENTITIES} WHERE kind = 'user'",
        f"""CREATE OR REPLACE VIEW {SYSTEM_SCHEMA}.svv_relation_privileges AS SELECT
            split_part(object, '"', 2) AS namespace_name, split_part(object, '"', 4) AS relation_name,
            privilege AS privilege_type, identity AS identity_name, identity_kind AS identity_type
            FROM {GRANTS} WHERE object_kind = 'table'""",
        *(
            f"CREATE OR REPLACE MACRO {SYSTEM_SCHEMA}.has_{kind}_privilege(who, what, privileged) AS"
            f" EXISTS (SELECT 1 FROM {GRANTS} WHERE object_kind = '{kind}'"
            " AND replace(object, '\"', '') = replace(what, '\"', '')"
            " AND lower(privilege) = lower(privileged) AND identity = who)"
            for kind in ("table", "schema", "database")
        ),
        f"CREATE OR REPLACE MACRO {SYSTEM_SCHEMA}.{_ASSUME_ROLE}(who, role, command) AS true",
    ),
    "postgres": (
        *_TABLES,
        # A role and a group are both roles that cannot log in; the table says which.
        f"""CREATE OR REPLACE VIEW {SYSTEM_SCHEMA}.svv_relation_privileges AS SELECT
            nspname AS namespace_name, relname AS relation_name, privilege_type, rolname AS identity_name,
            coalesce(kind, 'user') AS identity_type
            FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace, aclexplode(relacl)
            JOIN pg_roles ON pg_roles.oid = grantee LEFT JOIN {IDENTITIES} AS identities ON identities.name = rolname
            WHERE relkind IN ('r', 'v') AND grantee <> relowner""",
        f"CREATE OR REPLACE FUNCTION {SYSTEM_SCHEMA}.{_ASSUME_ROLE}(TEXT, TEXT, TEXT) RETURNS BOOLEAN"
        " LANGUAGE SQL AS 'SELECT true'",
        f"GRANT USAGE ON SCHEMA {SYSTEM_SCHEMA} TO PUBLIC",
        f"GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA {SYSTEM_SCHEMA} TO PUBLIC",
    ),
}
"""The engine's own SQL that runs once, when the database starts."""

_IDENTITY = re.compile(
    r'(?P<verb>CREATE|DROP)\s+(?P<kind>USER|ROLE|GROUP)\s+(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>\w+))(?P<options>.*)',
    re.IGNORECASE | re.DOTALL,
)
_DISABLED = re.compile(r"\s*(?:WITH\s+)?PASSWORD\s+DISABLE\s*;?\s*", re.IGNORECASE)


class Refusal(msgspec.Struct, frozen=True):
    """What Redshift would refuse by what is in its catalog."""

    query: str
    """A query in the engine's SQL; a row means that it is refused."""
    message: str


class Effect(msgspec.Struct, frozen=True):
    """What a statement means for the catalog, beside what the engine does itself."""

    sql: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def translate_identity(statement: str, dialect: Dialect) -> Effect | None:
    """Translate CREATE and DROP of a user, a role or a group; None for any other statement.

    Raises:
        SqlError: Redshift would refuse it.
    """
    match = _IDENTITY.fullmatch(statement)
    if match is None:
        return None
    name, kind, verb = match["quoted"] or match["plain"], match["kind"].lower(), match["verb"].upper()
    if verb == "CREATE" and kind == "user" and not _DISABLED.fullmatch(match["options"]):
        raise SqlError("syntax error: CREATE USER is emulated with PASSWORD DISABLE only")
    exists = f"SELECT 1 FROM {IDENTITIES} WHERE name = {quote(name)} AND kind = '{kind}'"
    if verb == "CREATE":
        engines = f"CREATE ROLE {_name(name)} {'LOGIN' if kind == 'user' else 'NOLOGIN'}"
        known = Refusal(exists, f'{kind} "{name}" already exists')
        change = f"INSERT INTO {IDENTITIES} VALUES ({quote(name)}, '{kind}')"
    else:
        engines = f"DROP ROLE {_name(name)}"
        known = Refusal(f"SELECT 1 WHERE NOT EXISTS ({exists})", f'{kind} "{name}" does not exist')
        change = f"DELETE FROM {IDENTITIES} WHERE name = {quote(name)}"
    return Effect((*((engines,) if dialect == "postgres" else ()), change), (known,))


def translate_grant(tree: exp.Grant | exp.Revoke, dialect: Dialect) -> Effect:
    """Translate GRANT and REVOKE: a user, `ROLE` a role, and `GROUP` a group, each by its own word."""
    refusals: list[Refusal] = []
    changes: list[str] = []
    for principal in tree.args["principals"]:
        kind, name = str(principal.args.get("kind") or "user").lower(), principal.this.name
        if name.upper() != "PUBLIC":
            exists = f"SELECT 1 FROM {IDENTITIES} WHERE name = {quote(name)} AND kind = '{kind}'"
            refusals.append(Refusal(f"SELECT 1 WHERE NOT EXISTS ({exists})", f'{kind} "{name}" does not exist'))
        changes += _keep_grants(tree, name, kind)
        principal.set("kind", None)
    if dialect == "duckdb":
        return Effect(tuple(changes), tuple(refusals))
    for identifier in tree.args["securable"].find_all(exp.Identifier):
        identifier.set("this", fold(identifier.name))
    return Effect((tree.sql("postgres"),), tuple(refusals))


def _keep_grants(tree: exp.Grant | exp.Revoke, identity: str, identity_kind: str) -> Iterator[str]:
    what = str(tree.args.get("kind") or "table").lower()
    securable = tree.args["securable"]
    granted = _full_name(table_of(securable)) if what == "table" else str(Table(securable.name))
    for privilege in tree.args["privileges"]:
        where = {
            "object_kind": what, "object": granted, "privilege": privilege.this.name.upper(), "identity": identity,
        }  # fmt: skip
        matches = " AND ".join(f"{column} = {quote(value)}" for column, value in where.items())
        yield f"DELETE FROM {GRANTS} WHERE {matches}"
        if isinstance(tree, exp.Grant):
            values = ", ".join(map(quote, [*where.values(), identity_kind]))
            yield f"INSERT INTO {GRANTS} VALUES ({values})"


def effect_of(tree: exp.Expr, dialect: Dialect) -> Effect:
    """Tell what a statement on tables or views means for the catalog."""
    if isinstance(tree, exp.Create) and tree.args["kind"] == "VIEW":
        return _create_view(tree)
    if isinstance(tree, exp.Drop) and tree.args["kind"] in {"TABLE", "VIEW", "SCHEMA"}:
        return _drop(tree, dialect)
    if isinstance(tree, exp.Alter):
        return Effect(refusals=tuple(_refuse_alter(tree)))
    return Effect()


def _refuse_alter(tree: exp.Alter) -> Iterator[Refusal]:
    table, actions = table_of(tree.this), tree.args["actions"]
    if any(isinstance(action, exp.AlterColumn | exp.Drop | exp.RenameColumn) for action in actions):
        yield _held_by_view(table)
    for action in actions:
        if isinstance(action, exp.ColumnDef | exp.AlterColumn):
            name = fold(action.name)
            exists = (
                f"SELECT 1 FROM {SYSTEM_SCHEMA}.svv_columns WHERE table_schema = {quote(table.schema or 'public')}"
                f" AND table_name = {quote(table.name)} AND column_name = {quote(name)}"
            )
            what = f'column "{name}" of relation "{table.name}"'
            if isinstance(action, exp.ColumnDef):
                yield Refusal(exists, f"{what} already exists")
            else:
                yield Refusal(f"SELECT 1 WHERE NOT EXISTS ({exists})", f"{what} does not exist")


def _create_view(tree: exp.Create) -> Effect:
    view, query = table_of(tree.this), tree.args["expression"]
    changes = [f"DELETE FROM {BOUND_VIEWS} WHERE view_name = {quote(_full_name(view))}"]
    if not tree.args.get("no_schema_binding"):
        tables = sorted({_full_name(table_of(table)) for table in query.find_all(exp.Table)})
        changes += [f"INSERT INTO {BOUND_VIEWS} VALUES ({quote(_full_name(view))}, {quote(table)})" for table in tables]
    names = ",".join(fold(name) for name in query.named_selects)
    # Redshift Database Developer Guide, CREATE VIEW: only with the identical set of columns, the same names and types.
    other = (
        f"SELECT 1 FROM {SYSTEM_SCHEMA}.svv_columns WHERE table_schema = {quote(view.schema or 'public')}"
        f" AND table_name = {quote(view.name)}"
        f" HAVING string_agg(column_name, ',' ORDER BY ordinal_position) <> {quote(names)}"
    )
    return Effect(tuple(changes), (Refusal(other, f'cannot change the columns of view "{view.name}"'),))


def _drop(tree: exp.Drop, dialect: Dialect) -> Effect:
    cascades = bool(tree.args.get("cascade"))
    if tree.args["kind"] == "SCHEMA":
        (schema,) = (str(Table(fold(table.db))) for table in tree.args["tables"])
        matches, held = "{} LIKE " + quote(f"{schema}.%"), []
    else:
        dropped = [table_of(table) for table in tree.args["tables"]]
        matches = "{} IN (" + ", ".join(quote(_full_name(table)) for table in dropped) + ")"
        held = [] if cascades else [_held_by_view(table) for table in dropped]
    changes = [f"DELETE FROM {BOUND_VIEWS} WHERE {matches.format('view_name')} OR {matches.format('table_name')}"]
    if dialect == "duckdb":
        changes.append(f"DELETE FROM {GRANTS} WHERE object_kind = 'table' AND {matches.format('object')}")
    return Effect(tuple(changes), tuple(held))


def _held_by_view(table: Table) -> Refusal:
    query = f"SELECT 1 FROM {BOUND_VIEWS} WHERE table_name = {quote(_full_name(table))}"
    return Refusal(query, f'cannot drop or alter what is in table "{table.name}" because a view depends on it')


def table_of(node: exp.Expr) -> Table:
    """Read the name of the table that a statement names first, with its case folded as Redshift folds it."""
    table = node.find(exp.Table)
    assert table is not None  # noqa: S101 - sqlglot has parsed it as one
    return Table(fold(table.name), fold(table.db))


def _full_name(table: Table) -> str:
    return str(Table(table.name, table.schema or "public"))


def quote(text: str) -> str:
    """Write a text as a literal of standard SQL, which both engines read."""
    return "'" + text.replace("'", "''") + "'"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
