"""What a load stages in its session, and how its rows are read. Pure."""

from __future__ import annotations

import msgspec

from fastetl.config import Pipeline
from fastetl.model import Layout
from fastetl.sql.text import list_names, quote_identifier

STAGED = '"fastetl_staged"'
FILES = '"fastetl_files"'
WINNERS = '"fastetl_winners"'


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
    former_columns: tuple[str, ...] = ()
    """Columns of the mirror that loads wrote once and no longer write: NULL in every row that this one writes."""


def rank(names: list[str], *, partition: str, order: str) -> str:
    """Build the query that numbers the staged rows within each group, from 1, as `_rank`.

    Args:
        names: the columns that it gives.
        partition: the column whose values make groups.
        order: by which rows of a group are numbered.
    """
    window = f"PARTITION BY {quote_identifier(partition)} ORDER BY {order}"
    return f'SELECT {list_names(names)}, ROW_NUMBER() OVER ({window}) AS "_rank" FROM {STAGED}'


def share(pipeline: Pipeline, layout: Layout) -> list[str]:
    """Give the columns that both the files and today's configuration have.

    Args:
        pipeline: as it is configured today.
        layout: of the files.
    """
    today = {name for name, _ in pipeline.layout.columns}
    return [name for name, _ in layout.columns if name in today]
