"""Build what stands at the beginning of every transaction that writes to a target: the gate. Pure.

The gate's one row names the owner: the only stack whose transactions may write to the target. The first that writes
becomes the owner, and stays it until an operator takes the target over for another one.
"""

from __future__ import annotations

from fastetl.config import Pipeline
from fastetl.sql.text import Statement, build_statements, quote_literal, quote_table


def gate_steps(pipeline: Pipeline, owner: str) -> list[tuple[str, str]]:
    """Build the steps that make transactions of one target run one after the other, and refuse those of other stacks.

    LOCK queues attempts; should a snapshot have begun before the lock was granted, the UPDATE conflicts instead of
    letting the gate read what was true before the wait. The mirror itself is never locked: that shuts out readers.
    Without a row the UPDATE would change nothing, and nothing would conflict: `gate_row` fails then.

    Args:
        pipeline: with the target.
        owner: of the target, as this stack names itself.
    """
    gate, mine = quote_table(pipeline, "_gate"), quote_literal(owner)
    bump = f'UPDATE {gate} SET "n" = "n" + 1, "owner" = CASE WHEN "owner" = \'\' THEN {mine} ELSE "owner" END'
    is_mine = f'MIN("owner") = {mine} AND MAX("owner") = {mine}'
    row = f"SELECT CAST(CASE WHEN {is_mine} THEN '0' ELSE 'no row, or another owner' END AS INTEGER) FROM {gate}"
    return [("lock", f"LOCK {gate}"), ("bump", bump), ("gate_row", row)]


def owner_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that asks who owns a target.

    Args:
        pipeline: with the target.
    """
    return build_statements(pipeline.name, [("owner", f'SELECT "owner" FROM {quote_table(pipeline, "_gate")}')])


def take_over_sql(pipeline: Pipeline, owner: str) -> tuple[Statement, ...]:
    """Build the transaction that makes a stack the owner of a target: what others begin after it fails at the gate.

    A gate without its row gets one: the UPDATE alone would succeed there and change nothing.

    Args:
        pipeline: with the target.
        owner: the new one, as the stack names itself.
    """
    gate = quote_table(pipeline, "_gate")
    steps = [
        ("lock", f"LOCK {gate}"),
        ("take_over", f'UPDATE {gate} SET "n" = "n" + 1, "owner" = {quote_literal(owner)}'),
        ("gate_written", missing_row_sql(pipeline, owner)),
    ]
    return build_statements(pipeline.name, steps)


def missing_row_sql(pipeline: Pipeline, owner: str) -> str:
    """Build the statement that writes the gate's row where there is none.

    Args:
        pipeline: with the target.
        owner: whom the row names; empty text gives the target to the stack that writes to it next.
    """
    gate = quote_table(pipeline, "_gate")
    return (
        f'INSERT INTO {gate} ("n", "owner", "source", "source_epoch") SELECT 0, {quote_literal(owner)}, \'\', 0'
        f' FROM (SELECT COUNT(*) AS "rows" FROM {gate}) AS "counted" WHERE "rows" = 0'
    )


def refuse(why: str, rows: str) -> str:
    """Build a statement that fails when there is a row: `rows` is what follows FROM.

    It needs no stored procedure: the cast of an aggregate cannot be evaluated early.
    """
    return f"SELECT CAST(CASE WHEN COUNT(*) = 0 THEN '0' ELSE {quote_literal(why)} END AS INTEGER) FROM {rows}"
