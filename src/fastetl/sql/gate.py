"""Build what stands at the beginning of every transaction that writes to a target: the gate. Pure."""

from __future__ import annotations

from fastetl.config import Pipeline
from fastetl.sql.text import quote_literal, quote_table


def gate_steps(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Build the steps that make transactions of one target run one after the other.

    LOCK queues attempts; should a snapshot have begun before the lock was granted, the UPDATE conflicts instead of
    letting the gate read what was true before the wait. The mirror itself is never locked: that shuts out readers.
    Without a row the UPDATE would change nothing, and nothing would conflict: `gate_row` fails then.
    """
    gate = quote_table(pipeline, "_gate")
    there = f"SELECT CAST(CASE WHEN COUNT(*) > 0 THEN '0' ELSE 'no row' END AS INTEGER) FROM {gate}"
    return [("lock", f"LOCK {gate}"), ("bump", f'UPDATE {gate} SET "n" = "n" + 1'), ("gate_row", there)]


def refuse(why: str, rows: str) -> str:
    """Build a statement that fails when there is a row: `rows` is what follows FROM.

    It needs no stored procedure: the cast of an aggregate cannot be evaluated early.
    """
    return f"SELECT CAST(CASE WHEN COUNT(*) = 0 THEN '0' ELSE {quote_literal(why)} END AS INTEGER) FROM {rows}"
