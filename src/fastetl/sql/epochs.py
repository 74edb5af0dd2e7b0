"""Build the statements that keep a pipeline's epochs in the warehouse. Pure.

HEAD has a copy, by which ingest stamps changes. A ledger can be lost or set back; the target outlives it, and so does
what is beside it. `docs/architecture.md`, backfill, says in which order an epoch begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from fastetl.config import Pipeline
from fastetl.sql.gate import gate_steps, refuse
from fastetl.sql.text import BATCH_ID, MOMENT, Statement, build_statements, quote_literal, quote_table
from fastetl.versions import EpochStart, epoch_floor

EpochKind = Literal["announced", "backfill", "resync"]
"""`announced`: its row is written, and no HEAD has it, unless a change that was loaded carries it. `resync`: what was
created before it and is stamped with too early an epoch is in the resync's export."""

_COLUMNS = '"epoch", "floor", "starts_at", "kind"'


def epochs_sql(pipeline: Pipeline, *, reached: bool = False) -> tuple[Statement, ...]:
    """Build the statement that asks for the epochs: rows of `(epoch, starts_at, kind)`, by their numbers.

    Args:
        pipeline: with the target.
        reached: add a row of the kind `reached`, with the latest epoch that the target's rows carry. The gate knows
            that of loaded changes; the mirrors, of which one column is read, that of exports too.
    """
    select = _select(pipeline) + (f" UNION ALL {_reached(pipeline)}" if reached else "")
    return build_statements(pipeline.name, [("epochs", f'{select} ORDER BY "epoch"')])


def write_epochs_sql(
    pipeline: Pipeline,
    owner: str,
    known: Sequence[EpochStart],
    new: EpochStart | None = None,
    *,
    carried: Sequence[EpochStart] = (),
) -> tuple[Statement, ...]:
    """Build the transaction that announces an epoch, and gives the warehouse the epochs that only HEAD or files have.

    An epoch that only files have is written as `announced` where the target has changes that were created at or after
    its T0 and are stamped with an earlier one: the files' rows, which are older, would hide them.

    Its last statement reads all of them, as `epochs_sql` does.

    Args:
        pipeline: with the target.
        owner: of the target, as this stack names itself.
        known: HEAD's epochs.
        new: the epoch to announce; nothing is written where its number, or a later one, is taken.
        carried: epochs that rows of files carry.
    """
    epochs = quote_table(pipeline, "_epochs")
    steps = gate_steps(pipeline, owner)
    if known:
        steps.append(("epochs_known", _insert_missing(epochs, [_values(each, "'backfill'") for each in known])))
    if carried:
        found = [_values(each, _kind_of_carried(pipeline, each)) for each in carried]
        steps.append(("epochs_found", _insert_missing(epochs, found)))
    if new:
        later = f'SELECT COUNT(*) AS "later" FROM {epochs} WHERE "epoch" >= {new.epoch:d}'
        announced = _values(new, "'announced'")
        insert = f'INSERT INTO {epochs} ({_COLUMNS}) SELECT {announced} FROM ({later}) AS "counted"'
        steps.append(("epochs_new", f'{insert} WHERE "later" = 0'))
    steps.append(("epochs", f'{_select(pipeline)} ORDER BY "epoch"'))
    return build_statements(pipeline.name, steps)


def confirm_epoch_sql(pipeline: Pipeline, owner: str, epoch: int, kind: EpochKind) -> tuple[Statement, ...]:
    """Build the transaction that says of an epoch what it is, once HEAD has it.

    Args:
        pipeline: with the target.
        owner: of the target, as this stack names itself.
        epoch: its number.
        kind: what it is.
    """
    epochs = quote_table(pipeline, "_epochs")
    update = f'UPDATE {epochs} SET "kind" = {quote_literal(kind)} WHERE "epoch" = {epoch:d}'
    return build_statements(pipeline.name, [*gate_steps(pipeline, owner), ("epochs_kind", update)])


def copy_epochs_sql(source: Pipeline, target: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that gives a table which is built beside a target the target's epochs.

    Args:
        source: the pipeline with its own target.
        target: the pipeline with the table that is built.
    """
    theirs, own = quote_table(source, "_epochs"), quote_table(target, "_epochs")
    names = ", ".join(f'"theirs".{name}' for name in _COLUMNS.split(", "))
    sql = (
        f'INSERT INTO {own} ({_COLUMNS}) SELECT {names} FROM {theirs} AS "theirs" LEFT JOIN {own} AS "own"'
        ' ON "own"."epoch" = "theirs"."epoch" WHERE "own"."epoch" IS NULL'
    )
    return build_statements(source.name, [("epochs_copy", sql)])


def refuse_early_stamps(pipeline: Pipeline, staged: str, latest: int, missing: str = "", *, foreign: int = 0) -> str:
    """Build the statement that fails where a change was created at or after a later epoch's T0 than it is stamped with.

    The mirror would take such a change for an old one, and ignore it. It fails as well where the warehouse has lost
    epochs that HEAD knows, or that the changes carry: then it cannot tell. What was created before a resync began is in
    that resync's export.

    An epoch that was only announced may be in the HEAD of another stack, as after a take-over. The changes that this
    stack has read meanwhile, and may have loaded, are stamped without it: until a resync nothing of it is loaded.

    Args:
        pipeline: with the target.
        staged: the temporary table with the changes, quoted.
        latest: the number of the latest epoch that HEAD knows, or that the changes carry; 0 where there is none.
        missing: a query with a row where the warehouse lacks something else that the ledger knows; empty for none.
        foreign: the number of an epoch that the changes carry, and HEAD does not know; 0 for none.
    """
    epochs, gate = quote_table(pipeline, "_epochs"), quote_table(pipeline, "_gate")
    rows = (
        f'SELECT "epochs"."epoch" FROM {staged} AS "staged" INNER JOIN {epochs} AS "epochs"'
        ' ON "staged"."_changed_at" >= "epochs"."starts_at" AND "staged"."_version" < "epochs"."floor"'
        f' WHERE ("epochs"."kind" <> \'announced\' OR "epochs"."epoch" = ({_carried(gate)}))'
        f' AND "epochs"."epoch" >= ({latest_resync(pipeline)})'
    )
    if latest:
        there = f'SELECT COALESCE(MAX("epoch"), 0) AS "latest" FROM {epochs}'
        rows += f' UNION ALL SELECT "latest" FROM ({there}) AS "there" WHERE "latest" < {latest:d}'
    if foreign:
        is_begun = f'"epoch" = {foreign:d} AND ("kind" <> \'announced\' OR "epoch" = ({_carried(gate)}))'
        counted = f'(SELECT COUNT(*) AS "begun" FROM {epochs} WHERE {is_begun}) AS "foreign"'
        is_neither = f'"begun" = 0 AND ({latest_resync(pipeline)}) <= {foreign:d}'
        rows += f' UNION ALL SELECT "begun" FROM {counted} WHERE {is_neither}'
    rows += f" UNION ALL {missing}" if missing else ""
    return refuse("stamped too early", f'({rows}) AS "wrong"')


def latest_resync(pipeline: Pipeline) -> str:
    """Build the query for the latest epoch of a resync that has begun and was not given up; 0 where there is none.

    Args:
        pipeline: with the target.
    """
    return f'SELECT COALESCE(MAX("epoch"), 0) FROM {quote_table(pipeline, "_epochs")} WHERE "kind" = \'resync\''


def _select(pipeline: Pipeline) -> str:
    starts_at = 'CAST("starts_at" AS VARCHAR(32)) AS "starts_at"'
    is_carried = f'"kind" = \'announced\' AND "epoch" = ({_carried(quote_table(pipeline, "_gate"))})'
    kind = f'CASE WHEN {is_carried} THEN \'backfill\' ELSE "kind" END AS "kind"'
    return f'SELECT "epoch", {starts_at}, {kind} FROM {quote_table(pipeline, "_epochs")}'


def _reached(pipeline: Pipeline) -> str:
    each = [f'SELECT MAX("source_epoch") AS "latest" FROM {quote_table(pipeline, "_gate")}']
    each += [
        f'SELECT CAST(SUBSTRING(MAX("_version"), 1, 4) AS INTEGER) AS "latest" FROM {mirror}'
        for mirror in _mirrors(pipeline)
    ]
    latest = 'COALESCE(MAX("latest"), 0) AS "epoch"'
    return f'SELECT {latest}, \'\' AS "starts_at", \'reached\' AS "kind" FROM ({" UNION ALL ".join(each)}) AS "each"'


def _mirrors(pipeline: Pipeline) -> list[str]:
    """List the mirrors whose rows have versions of their own: those of child tables have their parents'."""
    return [quote_table(part) for part in pipeline.targets if "mirror" in part.outputs and not part.rows_of]


def _insert_missing(epochs: str, rows: Sequence[str]) -> str:
    listed = " UNION ALL ".join(f"SELECT {row}" for row in rows)
    lost = f'({listed}) AS "known" LEFT JOIN {epochs} AS "there" ON "there"."epoch" = "known"."epoch"'
    names = ", ".join(f'"known".{name}' for name in _COLUMNS.split(", "))
    return f'INSERT INTO {epochs} ({_COLUMNS}) SELECT {names} FROM {lost} WHERE "there"."epoch" IS NULL'


def _kind_of_carried(pipeline: Pipeline, start: EpochStart) -> str:
    floor, starts_at = _bounds(start)
    hidden = f'"_changed_at" >= {starts_at} AND "_version" < {floor}'
    counts = [f"(SELECT COUNT(*) FROM {mirror} WHERE {hidden})" for mirror in _mirrors(pipeline)]
    return f"CASE WHEN {' + '.join(counts)} = 0 THEN 'backfill' ELSE 'announced' END" if counts else "'backfill'"


def _carried(gate: str) -> str:
    """Build the query for the latest epoch that a loaded change carries: it was in a HEAD, whoever lost that HEAD."""
    return f'SELECT MAX("source_epoch") FROM {gate}'


def _values(start: EpochStart, kind: str) -> str:
    """Build the columns of an epoch's row; its kind is an expression."""
    floor, starts_at = _bounds(start)
    named = f'CAST({kind} AS {BATCH_ID}) AS "kind"'
    return f'{start.epoch:d} AS "epoch", {floor} AS "floor", {starts_at} AS "starts_at", {named}'


def _bounds(start: EpochStart) -> tuple[str, str]:
    """Build the least version of an epoch, and its T0."""
    moment = datetime.fromtimestamp(start.starts_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    floor, starts_at = quote_literal(epoch_floor(start.epoch)), quote_literal(moment)
    return f"CAST({floor} AS {BATCH_ID})", f"CAST({starts_at} AS {MOMENT})"
