"""The statements by which a resync deletes what a full export no longer has. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from fastetl.config import Pipeline
from fastetl.model import LoadedBatch
from fastetl.sql.gate import gate_steps, refuse
from fastetl.sql.mirror import key_columns
from fastetl.sql.questions import missing_load
from fastetl.sql.text import Statement, build_statements, list_names, quote_identifier, quote_literal, quote_table
from fastetl.versions import EXPORT_LABEL, build_version, epoch_floor


def tombstone_sql(
    pipeline: Pipeline,
    owner: str,
    epoch: int,
    exported_at: int,
    former_columns: tuple[tuple[str, tuple[str, ...]], ...] = (),
    *,
    follows: LoadedBatch | None = None,
) -> tuple[Statement, ...]:
    """Build the transaction that deletes rows of older epochs, which an epoch's full export no longer has.

    Args:
        pipeline: with a mirror.
        owner: as this stack names itself.
        epoch: the export's.
        exported_at: Unix seconds of the state that the export holds.
        former_columns: by target, columns of its mirror that loads no longer write.
        follows: the last batch that was loaded when the whole export was: without it the warehouse may lack rows of
            the export, since it was set back.
    """
    former, missing = dict(former_columns), missing_load(pipeline, follows)
    deletes = (
        step
        for part in pipeline.targets
        if "mirror" in part.outputs and not part.rows_of
        for step in _delete_unseen(pipeline, part, epoch, exported_at, former.get(part.name, ()))
    )
    steps = [
        *gate_steps(pipeline, owner),
        *([("set_back", refuse("set back", f'({missing}) AS "missing"'))] if missing else []),
        *deletes,
        (
            "resyncs",
            f'INSERT INTO {quote_table(pipeline, "_resyncs")} ("epoch", "floor", "resynced_at")'
            f" SELECT {epoch:d}, {quote_literal(epoch_floor(epoch))}, GETDATE()",
        ),
    ]
    return build_statements(f"{pipeline.name}/{epoch}", steps)


def resyncs_sql(pipeline: Pipeline) -> tuple[Statement, ...]:
    """Build the statement that asks which resyncs have ended: rows of `(epoch,)`.

    Args:
        pipeline: with the target.
    """
    return build_statements(
        pipeline.name, [("resyncs_ended", f'SELECT "epoch" FROM {quote_table(pipeline, "_resyncs")}')]
    )


def _delete_unseen(
    pipeline: Pipeline, part: Pipeline, epoch: int, exported_at: int, former_columns: tuple[str, ...]
) -> list[tuple[str, str]]:
    mirror, names = quote_table(part), [name for name, _ in part.layout.columns]
    moment = datetime.fromtimestamp(exported_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    gone = f'"_version" < {quote_literal(epoch_floor(epoch))} AND NOT "_deleted"'
    tombstone = {
        "_version": quote_literal(build_version(epoch, EXPORT_LABEL, "0")),
        "_op": "'REMOVE'",
        "_event_id": f'{quote_literal(f"resync:{epoch:d}:")} || MD5("_key")',
        "_changed_at": f"CAST({quote_literal(moment)} AS TIMESTAMP)",
        "_deleted": "TRUE",
    }
    kept = {"_key", "_file", *(column.name for column in key_columns(part))}
    if "REMOVE" in part.kept_deletes:
        kept.update(names)
    types = dict(part.layout.columns)
    forgotten = tombstone | {name: f"CAST(NULL AS {types[name]})" for name in names if name not in {*tombstone, *kept}}
    logged = ", ".join(tombstone.get(name, quote_identifier(name)) for name in names)
    emptied = forgotten | dict.fromkeys(former_columns, "NULL")
    changes = ", ".join(f"{quote_identifier(name)} = {value}" for name, value in emptied.items())
    into_log = (
        f"INSERT INTO {quote_table(part, '_log')} ({list_names(names)}) SELECT {logged} FROM {mirror} WHERE {gone}"
    )
    children = [
        (
            "elements_gone",
            _delete_elements(part, child, f'"_key" IN (SELECT "_key" FROM {mirror} WHERE {gone})', tombstone),
        )
        for child in pipeline.children(part.name)
    ]
    return [
        *([("log", into_log)] if "log" in part.outputs else []),
        *children,
        ("tombstones", f"UPDATE {mirror} SET {changes} WHERE {gone}"),
    ]


def _delete_elements(part: Pipeline, child: Pipeline, where: str, tombstone: Mapping[str, str]) -> str:
    """Build the statement that does with a child table's rows what becomes of their items' rows."""
    if "REMOVE" not in part.kept_deletes:
        return f"DELETE FROM {quote_table(child)} WHERE {where}"
    changes = ", ".join(f"{quote_identifier(name)} = {value}" for name, value in tombstone.items())
    return f"UPDATE {quote_table(child)} SET {changes} WHERE {where}"
