"""What a load stages in its session, and how a target sees it. Pure."""

from __future__ import annotations

import msgspec

from fastetl.columns import SYSTEM_COLUMNS, RedshiftType
from fastetl.config import Pipeline
from fastetl.model import Layout, LoadedBatch
from fastetl.sql.text import list_names, quote_identifier, quote_literal

STAGED = '"fastetl_staged"'
FILES = '"fastetl_files"'
WINNERS = '"fastetl_winners"'


FormerColumnsByTarget = tuple[tuple[str, tuple[str, ...]], ...]
"""Columns of mirrors that loads wrote once and no longer write, by the names of the targets that have some."""


class Load(msgspec.Struct, frozen=True):
    """What one attempt loads, and from where."""

    batch_id: str
    attempt: int
    layout: Layout
    manifest_url: str
    manifest_checksum: str
    files_url: str
    """A CSV of `file_id,row_count`, one line a file: ids inline would pass the 100 KB limit of a statement."""
    changed_min: str
    changed_max: str
    """Bounds of `_changed_at`, so that the log's sort key prunes."""
    since: str
    """ISO 8601, UTC: before this time nothing of the batch was loaded, so that the bookkeeping's sort keys prune."""
    owner: str
    """Of the target, as this stack names itself."""
    source: str = ""
    """What numbers the changes, as `versions.name_source` says; empty where all of them are an export's."""
    source_epoch: int = 0
    """The latest epoch that a change of the source is of."""
    latest_epoch: int = 0
    """The latest epoch that HEAD knew when the attempt began: whatever is of an earlier one is older than that epoch's
    export. 0 where it knew none."""
    carried_epoch: int = 0
    """The latest epoch that a row is of."""
    foreign_epoch: int = 0
    """The same, if HEAD did not know it when the attempt began; otherwise 0."""
    follows: LoadedBatch = LoadedBatch()
    """The last batch that the ledger knows as loaded."""
    complete_up_to: int = 0
    """Unix milliseconds: once it is loaded, so is every change that the table made before; 0 where that is unknown."""
    former_columns: FormerColumnsByTarget = ()
    """They are NULL in every row that this one writes."""


class Staged(msgspec.Struct, frozen=True):
    """The staged rows as one target sees them."""

    rows: str
    """What stands behind FROM."""
    names: list[str]
    """Their columns, which the target has as well."""
    types: dict[str, RedshiftType]
    """Of the columns, as the files have them."""


def see_all(pipeline: Pipeline, layout: Layout) -> Staged:
    """Give the staged rows as the only target of a pipeline sees them: as they are.

    Args:
        pipeline: with one target.
        layout: of the files.
    """
    types = dict(layout.columns)
    return Staged(STAGED, _share(pipeline, list(types)), types)


def see_own(pipeline: Pipeline, part: Pipeline, layout: Layout, rows: str = STAGED, alias: str = "staged") -> Staged:
    """Give staged rows as one of several targets sees them.

    What is another target's is a tombstone here, with the change's version: whether this target had the item before
    is not always known, and a file with an older change of it may still come. Where keys alone decide, no item moves.

    Args:
        pipeline: with several targets.
        part: one of them, which is no child table.
        layout: of the files.
        rows: the staged rows, or those of them that win.
        alias: by which they are known behind FROM.
    """
    located, names, types = locate(part, layout)
    is_own = f'"_target" = {quote_literal(part.name)}'
    # A row of no target has no `_target` at all, so that no comparison with it is true.
    seen = {
        "_op": f"CASE WHEN {is_own} THEN \"_op\" ELSE 'LEAVE' END",
        "_deleted": f'CASE WHEN {is_own} THEN "_deleted" ELSE TRUE END',
    }
    values = {name: f"CASE WHEN {is_own} THEN {quote_identifier(place)} END" for name, place in located.items()}
    columns = ", ".join(
        f"{(seen | values).get(name, quote_identifier(name))} AS {quote_identifier(name)}" for name in names
    )
    only = is_own if pipeline.keys_decide else "" if rows != STAGED else leave_out_elements(layout)
    return Staged(
        f"(SELECT {columns} FROM {rows}{only and f' WHERE {only}'}) AS {quote_identifier(alias)}", names, types
    )


def locate(part: Pipeline, layout: Layout) -> tuple[dict[str, str], list[str], dict[str, RedshiftType]]:
    """Find the columns of one of several targets in files.

    Args:
        part: the target.
        layout: of the files.

    Returns:
        The file's column for each of the target's own; the columns that files and target both have, the system
        columns among them; and the types that the files' columns have.
    """
    located = dict(dict(layout.targets).get(part.name, ()))
    kinds = dict(layout.columns)
    types = {**dict(SYSTEM_COLUMNS), **{name: kinds[place] for name, place in located.items()}}
    return located, _share(part, list(types)), types


def leave_out_elements(layout: Layout) -> str:
    """Build the condition that leaves out rows of child tables; empty where files have none.

    Args:
        layout: of the files.
    """
    children = ", ".join(map(quote_literal, layout.children))
    return f'("_target" IS NULL OR "_target" NOT IN ({children}))' if children else ""


def rank(names: list[str], rows: str, *, partition: str, order: str) -> str:
    """Build the query that numbers rows within each group, from 1, as `_rank`.

    Args:
        names: the columns that it gives.
        rows: what stands behind FROM.
        partition: the column whose values make groups.
        order: by which rows of a group are numbered.
    """
    window = f"PARTITION BY {quote_identifier(partition)} ORDER BY {order}"
    return f'SELECT {list_names(names)}, ROW_NUMBER() OVER ({window}) AS "_rank" FROM {rows}'


def _share(part: Pipeline, names: list[str]) -> list[str]:
    """Keep the columns that today's configuration has as well."""
    today = {name for name, _ in part.layout.columns}
    return [name for name in names if name in today]
