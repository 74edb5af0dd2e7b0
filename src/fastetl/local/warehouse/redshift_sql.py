"""Redshift's SQL, made to run on DuckDB or PostgreSQL.

What is rewritten, for both engines (`tests/local/warehouse/test_redshift_sql.py` has one case for each):

- ASCII letters of names are folded to lower case, quoted or not, as Redshift does by default;
- DISTSTYLE, DISTKEY, SORTKEY, ENCODE, BACKUP, COLLATE and WITH NO SCHEMA BINDING are dropped;
- PRIMARY KEY, UNIQUE and REFERENCES are dropped: Redshift does not enforce them;
- CHAR(n) and VARCHAR(n) columns become text with a check on the length in bytes;
- SUPER becomes JSON text, VARBYTE the engine's binary type; JSON_PARSE becomes a cast, and so does JSON_SERIALIZE,
  which fails on what is longer than a VARCHAR; JSON_SERIALIZE_TO_VARBYTE gives that text's bytes;
- TO_HEX becomes the engine's function;
- GETDATE() is the statement's time in UTC without a zone, SYSDATE the transaction's;
- each declared type is kept as the column's comment, which COPY reads;
- LOCK takes an exclusive lock on PostgreSQL and only looks the table up on DuckDB, where the server queues writers;
- literals pass through Redshift's escapes first (`literals`);
- users, roles, groups, GRANT, REVOKE and early-bound views are kept in a catalog (`catalog`).

Everything else goes through sqlglot as it is. Known differences that stay: CAST to VARCHAR(n) does not cut by bytes,
blanks at the end of a VARCHAR count in comparisons, and on DuckDB dividing by zero gives NULL or infinity.
"""

from __future__ import annotations

import functools
import hashlib
import re

import msgspec
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from fastetl.columns import RedshiftType
from fastetl.identifiers import fold
from fastetl.limits import MAX_VARCHAR_BYTES
from fastetl.local.warehouse.catalog import Refusal, effect_of, table_of, translate_grant, translate_identity
from fastetl.local.warehouse.engine import Dialect, SqlError, Table
from fastetl.local.warehouse.literals import resolve_escapes
from fastetl.local.warehouse.refusals import refuse

_DROPPED_PROPERTIES = (
    exp.DistStyleProperty, exp.DistKeyProperty, exp.SortKeyProperty, exp.BackupProperty, exp.CollateProperty,
)  # fmt: skip
_DROPPED_CONSTRAINTS = (
    exp.CollateColumnConstraint, exp.EncodeColumnConstraint, exp.PrimaryKeyColumnConstraint,
    exp.UniqueColumnConstraint, exp.Reference,
)  # fmt: skip
_DROPPED_TABLE_CONSTRAINTS = (exp.PrimaryKey, exp.UniqueColumnConstraint, exp.ForeignKey, exp.Constraint)

_TYPES: dict[Dialect, dict[str, str]] = {
    "duckdb": {"SUPER": "JSON", "VARBYTE": "BLOB", "CHAR": "VARCHAR", "VARCHAR": "VARCHAR"},
    "postgres": {"SUPER": "json", "VARBYTE": "bytea", "CHAR": "varchar", "VARCHAR": "varchar"},
}
_BYTES_OF: dict[Dialect, str] = {"duckdb": "strlen", "postgres": "octet_length"}
_SERIALIZE = (
    "CASE WHEN {measure}({{0}}) <= {limit} THEN {{0}}"
    " ELSE CAST(CAST('JSON_SERIALIZE: over {limit} bytes' || LEFT({{0}}, 0) AS INTEGER) AS TEXT) END"
)
_SERIALIZED: dict[Dialect, dict[str, str]] = {
    "duckdb": {
        "JSON_SERIALIZE": _SERIALIZE.format(measure=_BYTES_OF["duckdb"], limit=MAX_VARCHAR_BYTES),
        "JSON_SERIALIZE_TO_VARBYTE": "encode({0})",
    },
    "postgres": {
        "JSON_SERIALIZE": _SERIALIZE.format(measure=_BYTES_OF["postgres"], limit=MAX_VARCHAR_BYTES),
        "JSON_SERIALIZE_TO_VARBYTE": "convert_to({0}, 'UTF8')",
    },
}
"""Amazon Redshift Database Developer Guide, "JSON_SERIALIZE function": an error above the limit of VARCHAR."""
_STATEMENT_TIME: dict[Dialect, str] = {
    "duckdb": "date_trunc('second', CAST(get_current_timestamp() AS TIMESTAMP))",
    "postgres": "date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC')",
}
_TRANSACTION_TIME: dict[Dialect, str] = {
    "duckdb": "CAST(get_current_timestamp() AS TIMESTAMP)",
    "postgres": "(transaction_timestamp() AT TIME ZONE 'UTC')",
}

_LEADING_COMMENTS = re.compile(r"\A(?:\s+|/\*.*?\*/|--[^\n]*(?:\n|\Z))*", re.DOTALL)
_SORTKEY_AUTO = re.compile(r"\s+SORTKEY\s+AUTO\s*;?\s*\Z", re.IGNORECASE)
"""What may end CREATE TABLE and sqlglot does not know there."""
_LOCK = re.compile(r"LOCK\s+(?:TABLE\s+)?(?P<tables>[^;]+?)\s*;?\s*", re.IGNORECASE)


class Translated(msgspec.Struct, frozen=True):
    """One Redshift statement as the engine runs it."""

    sql: tuple[str, ...]
    """The engine's statements in order; the answer of the last one counts. Empty where there is nothing to do."""
    has_rows: bool
    """Whether it is a query."""
    counts: bool = False
    """Whether it says how many rows it touched."""
    unless_exists: Table | None = None
    """The table whose existence makes CREATE … IF NOT EXISTS do nothing."""
    refusals: tuple[Refusal, ...] = ()
    """What Redshift would refuse, to be asked first."""
    altered: tuple[tuple[Table, str, RedshiftType], ...] = ()
    """Columns that are added or lengthened by building the table again, where the engine cannot alter it."""


def strip_comments(sql: str) -> str:
    """Remove the comments and blanks before a statement."""
    return sql[_LEADING_COMMENTS.match(sql).end() :]  # type: ignore[union-attr]


@functools.lru_cache(maxsize=1000)
def translate(sql: str, dialect: Dialect, *, in_batch: bool = False) -> Translated:
    """Translate any statement but COPY. Parsing one takes milliseconds, and many come again and again.

    Raises:
        SqlError: it does not parse, or Redshift would refuse it.
    """
    statement = strip_comments(sql)
    if lock := _LOCK.fullmatch(statement):
        return _translate_lock(lock["tables"], dialect)
    if identity := translate_identity(statement, dialect):
        return Translated(identity.sql, has_rows=False, refusals=identity.refusals)
    # sqlglot reads a backslash as an escape as well.
    resolved = resolve_escapes(sql, backslash=r"\\")
    tree = _parse(resolved)
    refuse(tree, resolved, in_batch=in_batch)
    if isinstance(tree, exp.Grant | exp.Revoke):
        granted = translate_grant(tree, dialect)
        return Translated(granted.sql, has_rows=False, refusals=granted.refusals)
    effect = effect_of(tree, dialect)
    if isinstance(tree, exp.Alter) and (altered := _altered_columns(tree)):
        return _translate_alter(altered, dialect, effect.refusals)
    declared = _declared_columns(tree)
    tree = _rewrite(tree, dialect)
    created = tree.this.find(exp.Table) if isinstance(tree, exp.Create) and tree.args.get("exists") else None
    statements = [each.sql(dialect, comments=False) for each in _split_drop(tree, dialect)]
    statements += [_comment(table, column, kind) for table, column, kind in declared]
    return Translated(
        (*statements, *effect.sql),
        refusals=effect.refusals,
        has_rows=isinstance(tree, exp.Query),
        counts=isinstance(tree, exp.Insert | exp.Update | exp.Delete | exp.Merge),
        unless_exists=table_of(created) if created is not None and tree.args["kind"] == "TABLE" else None,
    )


def parse_tables(names: str) -> tuple[Table, ...]:
    """Read a list of table names, quoted or not."""
    return tuple(table_of(table) for table in _parse(f"SELECT 1 FROM {names}").find_all(exp.Table))


def _translate_lock(names: str, dialect: Dialect) -> Translated:
    tables = parse_tables(names)
    if dialect == "postgres":
        return Translated((f"LOCK TABLE {', '.join(map(str, tables))} IN ACCESS EXCLUSIVE MODE",), has_rows=False)
    return Translated(tuple(f"DELETE FROM {table} WHERE FALSE" for table in tables), has_rows=False)


def _altered_columns(tree: exp.Alter) -> tuple[tuple[Table, str, RedshiftType], ...]:
    """Find the columns that ALTER TABLE adds, or whose VARCHAR it lengthens."""
    table, found = table_of(tree.this), []
    for action in tree.args["actions"]:
        kind = _redshift_type(action.args.get("kind" if isinstance(action, exp.ColumnDef) else "dtype"))
        if isinstance(action, exp.ColumnDef | exp.AlterColumn) and kind:
            found.append((table, fold(action.name), kind))
    return tuple(found)


def _translate_alter(
    altered: tuple[tuple[Table, str, RedshiftType], ...], dialect: Dialect, refusals: tuple[Refusal, ...]
) -> Translated:
    if dialect == "duckdb":
        return Translated((), has_rows=False, refusals=refusals, altered=altered)
    sql = [statement for table, column, kind in altered for statement in _alter_postgres(table, column, kind)]
    return Translated(tuple(sql), has_rows=False, refusals=refusals)


def _alter_postgres(table: Table, column: str, kind: RedshiftType) -> list[str]:
    limited = kind.kind in {"CHAR", "VARCHAR"}
    native = (
        "text"
        if limited
        else exp.DataType.build(_TYPES["postgres"].get(kind.kind, str(kind)), "postgres").sql("postgres")
    )
    # A column that is there has its type already: VARCHAR's limit is a check.
    sql = [f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {_quoted(column)} {native}"]
    if limited:
        name = _constraint(column)
        sql.append(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
        sql.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({_limit(column, kind, 'postgres')})")
    return [*sql, _comment(table, column, kind)]


def _limit(column: str, kind: RedshiftType, dialect: Dialect) -> str:
    return f"{_BYTES_OF[dialect]}({_quoted(column)}) <= {kind.length}"


def _constraint(column: str) -> str:
    return "bytes_" + hashlib.blake2b(column.encode(), digest_size=8).hexdigest()


def _comment(table: Table, column: str, kind: RedshiftType) -> str:
    return f"COMMENT ON COLUMN {table}.{_quoted(column)} IS '{kind}'"


def _parse(sql: str) -> exp.Expr:
    try:
        trees = [tree for tree in sqlglot.parse(_SORTKEY_AUTO.sub("", sql), read="redshift") if tree is not None]
    except SqlglotError as error:
        raise SqlError(f"syntax error: {str(error).splitlines()[0]}") from error
    if len(trees) != 1:
        raise SqlError("exactly one SQL statement is expected")
    return trees[0]


def _split_drop(tree: exp.Expr, dialect: Dialect) -> list[exp.Expr]:
    """Part a DROP TABLE of several tables, of which DuckDB takes one at a time."""
    tables = tree.args.get("tables") or [] if isinstance(tree, exp.Drop) else []
    if dialect != "duckdb" or len(tables) < 2:
        return [tree]
    parted = [tree.copy() for _ in tables]
    for each, table in zip(parted, tables, strict=True):
        each.set("tables", [table.copy()])
    return parted


def _rewrite(tree: exp.Expr, dialect: Dialect) -> exp.Expr:
    for properties in list(tree.find_all(exp.Properties)):
        kept = [item for item in properties.expressions if not isinstance(item, _DROPPED_PROPERTIES)]
        properties.set("expressions", kept)
    if tree.args.get("no_schema_binding"):
        tree.set("no_schema_binding", False)
    for schema in list(tree.find_all(exp.Schema)):
        kept = [item for item in schema.expressions if not isinstance(item, _DROPPED_TABLE_CONSTRAINTS)]
        schema.set("expressions", kept)
    for column in list(tree.find_all(exp.ColumnDef)):
        _rewrite_column(column, dialect, checked=isinstance(tree, exp.Create))
    return tree.transform(lambda node: _rewrite_node(node, dialect))


def _rewrite_column(column: exp.ColumnDef, dialect: Dialect, *, checked: bool) -> None:
    kept = [item for item in column.args.get("constraints") or [] if not isinstance(item.kind, _DROPPED_CONSTRAINTS)]
    kind = _redshift_type(column.args.get("kind"))
    if kind and kind.kind in {"CHAR", "VARCHAR"} and checked:
        name = fold(column.name)
        check = exp.CheckColumnConstraint(this=exp.Var(this=_limit(name, kind, dialect)))
        named = exp.to_identifier(_constraint(name)) if dialect == "postgres" else None
        kept.append(exp.ColumnConstraint(this=named, kind=check))
        column.set("kind", exp.DataType.build("text", dialect="postgres"))
    column.set("constraints", kept)


def _rewrite_node(node: exp.Expr, dialect: Dialect) -> exp.Expr:
    if isinstance(node, exp.Identifier):
        return exp.to_identifier(fold(node.name), quoted=node.quoted)
    if isinstance(node, exp.DataType):
        kind = _redshift_type(node)
        if kind and kind.kind in {"SUPER", "VARBYTE"}:
            return exp.DataType.build(_TYPES[dialect][kind.kind], dialect=dialect)
    if isinstance(node, exp.CurrentTimestamp):
        times = _TRANSACTION_TIME if node.args.get("sysdate") else _STATEMENT_TIME
        return exp.Var(this=times[dialect])
    if isinstance(node, exp.ParseJSON):
        return exp.cast(node.this, "json", dialect=dialect)
    if isinstance(node, exp.LowerHex):
        hexadecimal = {"duckdb": "lower(hex({}))", "postgres": "encode({}, 'hex')"}
        return exp.Var(this=hexadecimal[dialect].format(node.this.sql(dialect)))
    if isinstance(node, exp.Anonymous) and node.name.upper() in _SERIALIZED[dialect]:
        written = exp.cast(node.expressions[0], "text", dialect="postgres").sql(dialect)
        return exp.Var(this=_SERIALIZED[dialect][node.name.upper()].format(written))
    return node


def _declared_columns(tree: exp.Expr) -> list[tuple[Table, str, RedshiftType]]:
    """List the columns that the statement declares, with the types that no engine keeps."""
    if not isinstance(tree, exp.Create | exp.Alter):
        return []
    table = tree.this.find(exp.Table)
    return [
        (table_of(table), fold(column.name), kind)
        for column in tree.find_all(exp.ColumnDef)
        if (kind := _redshift_type(column.args.get("kind"))) and table is not None
    ]


def _redshift_type(node: exp.Expr | None) -> RedshiftType | None:
    try:
        return RedshiftType.parse(node.sql("redshift")) if node is not None else None
    except ValueError:
        return None


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql()
