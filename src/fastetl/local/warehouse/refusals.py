"""Refuse what Redshift refuses although the engines behind the embedded Data API would take it.

From the Redshift Database Developer Guide: MERGE, COPY, ALTER TABLE, CREATE TABLE, CREATE VIEW, "FROM clause",
"Unsupported PostgreSQL features", TRUNCATE, "Reserved words", and "Names and identifiers"; what comes from elsewhere
says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import sqlglot
from sqlglot import Token, TokenType, exp

from fastetl.identifiers import find_column_problem, find_name_problem
from fastetl.local.warehouse.engine import SqlError
from fastetl.local.warehouse.redshift_names import BEFORE_PARENTHESES, BEFORE_TABLES, FUNCTIONS, RESERVED, TAKING_TIME

_CALLABLE = FUNCTIONS | TAKING_TIME | BEFORE_PARENTHESES

_IN_NO_TRANSACTION = {"VACUUM", "CALL", "UNLOAD"}


def refuse(tree: exp.Expr, sql: str, *, in_batch: bool) -> None:
    """Raise what Redshift would answer to this statement.

    Args:
        tree: the statement, parsed in the Redshift dialect.
        sql: its text, which says what parsing forgets.
        in_batch: whether it is part of a BatchExecuteStatement, which is one transaction.

    Raises:
        SqlError: Redshift does not take it, or (TRUNCATE in a batch) taking it would break the transaction.
    """
    rules = (
        _transaction_control, _merge, _untyped, _alter, _temporary, _full_join, _leader_node, _unsupported, _names,
        _reserved, _late_binding, _derived_tables,
    )  # fmt: skip
    for rule in rules:
        for why in rule(tree):
            raise SqlError(why)
    for why in _functions(sqlglot.tokenize(sql, read="redshift")):
        raise SqlError(why)
    if in_batch:
        for why in _ends_transaction(tree):
            raise SqlError(why)


def _transaction_control(tree: exp.Expr) -> Iterator[str]:
    if isinstance(tree, exp.Transaction | exp.Commit | exp.Rollback):
        yield "transaction control is the Data API's: leave BEGIN, COMMIT and ROLLBACK out"


def _ends_transaction(tree: exp.Expr) -> Iterator[str]:
    if isinstance(tree, exp.Alter) and any(isinstance(action, exp.AlterColumn) for action in tree.args["actions"]):
        yield "ALTER TABLE ALTER COLUMN cannot run inside a transaction block"
    if isinstance(tree, exp.TruncateTable):
        yield "TRUNCATE commits the transaction that it is run in: use DELETE in a batch"
    if isinstance(tree, exp.Command):
        words = f"{tree.this} {tree.expression or ''}".upper().split()
        if words[0] in _IN_NO_TRANSACTION or (words[:2] == ["ALTER", "TABLE"] and "APPEND" in words):
            yield f"{words[0]} cannot run inside a transaction block"


def _merge(tree: exp.Expr) -> Iterator[str]:
    for merge in tree.find_all(exp.Merge):
        target, source, clauses = merge.this, merge.args["using"], merge.args["whens"].expressions
        matched = [clause for clause in clauses if clause.args.get("matched")]
        unmatched = [clause for clause in clauses if not clause.args.get("matched")]
        if tree.args.get("with_"):
            yield "MERGE cannot be used with a WITH clause"
        if target.alias:
            yield f'syntax error at or near "{target.alias}": the target of MERGE takes no alias'
        if any(clause.args.get("condition") for clause in clauses):
            yield 'syntax error at or near "AND": MERGE takes no condition after WHEN MATCHED'
        if any(clause.args.get("source") for clause in clauses):
            yield 'syntax error at or near "BY"'
        if len(matched) != 1 or len(unmatched) != 1:
            yield "MERGE takes exactly one WHEN MATCHED and one WHEN NOT MATCHED clause"
        if not _is_equality(merge.args["on"]):
            yield "MERGE takes equal predicates as its condition, and no others"
        if any(source_table == target for source_table in source.find_all(exp.Table)):
            yield "the target and the source of MERGE cannot be the same table"
        if any(isinstance(column.this, exp.Column) and column.this.table for column in _assignments(matched)):
            yield "columns that MERGE sets are not qualified"


def _names(tree: exp.Expr) -> Iterator[str]:
    if not isinstance(tree, exp.Create | exp.Alter):
        return
    for column in tree.find_all(exp.ColumnDef):
        if problem := find_column_problem(column.name):
            yield f"column name: {problem}"
    for table in tree.find_all(exp.Table):
        for name in filter(None, (table.db, table.name)):
            if problem := find_name_problem(name):
                yield f"table or schema name: {problem}"


def _reserved(tree: exp.Expr) -> Iterator[str]:
    for name in tree.find_all(exp.Identifier):
        if not name.quoted and name.name.upper() in RESERVED:
            yield f'syntax error at or near "{name.name}": it is a reserved word, and a name only in quotes'


def _functions(tokens: list[Token]) -> Iterator[str]:
    """Functions that the engine has and Redshift does not."""
    before = ""
    for token, following in itertools.pairwise(tokens):
        word = token.text.upper()
        is_called = following.token_type == TokenType.L_PAREN and token.token_type != TokenType.IDENTIFIER
        if is_called and word.isidentifier() and word not in _CALLABLE and before not in BEFORE_TABLES:
            yield f"function {token.text.lower()} does not exist"
        before = word


def _late_binding(tree: exp.Expr) -> Iterator[str]:
    if isinstance(tree, exp.Create) and tree.args.get("no_schema_binding"):
        of_query = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
        for table in tree.args["expression"].find_all(exp.Table):
            if not table.db and table.name not in of_query:
                yield f'relation "{table.name}" has to be qualified in a view WITH NO SCHEMA BINDING'


def _derived_tables(tree: exp.Expr) -> Iterator[str]:
    for subquery in tree.find_all(exp.Subquery):
        if isinstance(subquery.parent, exp.From | exp.Join) and not subquery.alias:
            yield "subquery in FROM must have an alias"


def _untyped(tree: exp.Expr) -> Iterator[str]:
    """Find each NULL without a type: PostgreSQL 8.0, from which Redshift descends, leaves it `unknown`."""
    values: list[exp.Expr] = []
    for merge in tree.find_all(exp.Merge):
        for clause in merge.args["whens"].expressions:
            then = clause.args.get("then")
            if isinstance(then, exp.Update):
                values += [item.expression for item in then.expressions if isinstance(item, exp.EQ)]
            elif isinstance(then, exp.Insert) and isinstance(then.expression, exp.Tuple):
                values += then.expression.expressions
    query = tree.args.get("expression") if isinstance(tree, exp.Create) and tree.args["kind"] == "TABLE" else None
    if isinstance(query, exp.Select):
        values += query.selects
    if any(isinstance(value.unalias(), exp.Null) for value in values):
        yield 'column is of type "unknown": cast NULL to the type of its column'


def _alter(tree: exp.Expr) -> Iterator[str]:
    if not isinstance(tree, exp.Alter):
        return
    actions = tree.args["actions"]
    if len(actions) > 1:
        yield 'syntax error at or near ",": ALTER TABLE adds or changes one column at a time'
    for action in actions:
        kind = action.args.get("dtype") if isinstance(action, exp.AlterColumn) else None
        if kind is not None and kind.this != exp.DataType.Type.VARCHAR:
            yield "ALTER COLUMN changes the size of a VARCHAR and no other type"


def _temporary(tree: exp.Expr) -> Iterator[str]:
    if isinstance(tree, exp.Create) and tree.find(exp.TemporaryProperty) and tree.this.find(exp.Table).db:
        yield "cannot create temporary relation in a schema that is not temporary"


def _full_join(tree: exp.Expr) -> Iterator[str]:
    # The message is widely reported; the guide does not have it.
    for join in tree.find_all(exp.Join):
        if str(join.args.get("side") or "").upper() == "FULL" and not _is_equality(join.args.get("on")):
            yield "FULL JOIN is only supported with merge-joinable join conditions"


def _is_equality(condition: exp.Expr | None) -> bool:
    """Tell whether a condition is an equality, or several joined by AND."""
    match condition:
        case exp.Paren() | exp.And():
            return all(_is_equality(part) for part in condition.iter_expressions())
    return isinstance(condition, exp.EQ)


def _leader_node(tree: exp.Expr) -> Iterator[str]:
    """HAS_TABLE_PRIVILEGE and its like run on the leader node alone, and see no table."""
    calls = [node for node in tree.find_all(exp.Anonymous) if node.name.lower().startswith("has_")]
    if calls and tree.find(exp.Table):
        yield f'function "{calls[0].name.lower()}" is not supported on tables: it runs on the leader node only'


def _assignments(clauses: list[exp.Expr]) -> Iterator[exp.EQ]:
    for clause in clauses:
        update = clause.args.get("then")
        if isinstance(update, exp.Update):
            yield from (item for item in update.expressions if isinstance(item, exp.EQ))


def _refused_create(node: exp.Expr) -> str | None:
    refused = {"INDEX", "TRIGGER", "SEQUENCE"}
    return f"CREATE {node.args['kind']} is not supported" if node.args.get("kind") in refused else None


_UNSUPPORTED: dict[type[exp.Expr], Callable[[exp.Expr], str | None]] = {
    exp.OnConflict: lambda _: 'syntax error at or near "ON": Redshift has no INSERT … ON CONFLICT',
    exp.Returning: lambda _: 'syntax error at or near "RETURNING"',
    exp.Lock: lambda _: "SELECT FOR UPDATE is not supported",
    exp.Distinct: lambda node: "SELECT DISTINCT ON is not supported" if node.args.get("on") else None,
    exp.Lateral: lambda _: "LATERAL is not supported",
    exp.Create: _refused_create,
}


def _unsupported(tree: exp.Expr) -> Iterator[str]:
    for node in tree.walk():
        rule = _UNSUPPORTED.get(type(node))
        why = rule(node) if rule else None
        if why:
            yield why
