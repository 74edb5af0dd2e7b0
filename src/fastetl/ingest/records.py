"""Enrich the rows of a frame, and reject those that COPY would refuse.

After this every record is either a row of the frame, or a reject that holds the record as it came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
import polars as pl

from fastetl.ingest.csv import bound_row, write_csv
from fastetl.limits import MAX_COPY_ROW_BYTES
from fastetl.model import Reject

if TYPE_CHECKING:
    from fastetl.decode import Changes
    from fastetl.enrich import Enriched
    from fastetl.model import Layout

WriteRecords = Callable[[Sequence[int]], list[str]]
"""Takes the positions of records in what was decoded, and gives the records as rejects keep them."""


class Enricher(Protocol):
    """Whatever adds columns to a frame."""

    def apply(self, frame: pl.DataFrame, write_records: WriteRecords) -> Enriched:
        """Add the outputs of enrichments to a frame.

        Args:
            frame: a row for each change, every column as text.
            write_records: gives the records of rows, by their places in the frame.
        """
        ...


class Refined(msgspec.Struct, frozen=True):
    """What was decoded, as it is written."""

    changes: Changes
    """The rows to write; rejects and misfits of decoding and of enrichment together."""
    counts: dict[str, int]
    """What enrichments counted."""
    errors: dict[str, int]
    """What their steps raised and where, and for how many rows."""
    elements: int = 0
    """Rows of child tables, which are among the rows."""


def refine(changes: Changes, enricher: Enricher, layout: Layout, write_records: WriteRecords) -> Refined:
    """Enrich what was decoded, and reject rows that have no value or are too large for COPY.

    Args:
        changes: as decoded.
        enricher: adds the columns of enrichments.
        layout: how the rows are written.
        write_records: gives the records of rows that are rejected.

    Raises:
        EnrichmentError: the batch has to be retried.
    """
    enriched = enricher.apply(
        changes.frame, lambda rows: write_records([changes.row_positions[row] for row in rows]) if rows else []
    )
    frame, rejected = enriched.frame, [(each.row, each.column, each.reason, each.detail) for each in enriched.rejected]
    sources = enriched.sources
    if too_large := find_too_large(frame, layout):
        frame, sources, found = _leave_out(changes, enriched, too_large)
        rejected += found
    misfits = dict(changes.misfits)
    for what, count in enriched.misfits.items():
        misfits[what] = misfits.get(what, 0) + count
    ignored = Counter(changes.ignored)
    ignored.update(enriched.ignored)
    rejects = changes.rejects + _build_rejects(changes, sorted(rejected), write_records)
    changed = msgspec.structs.replace(
        changes,
        frame=frame,
        misfits=misfits,
        rejects=rejects,
        ignored={name: count for name, count in ignored.items() if count > 0},
        unrouted=enriched.unrouted,
    )
    elements = 0 if sources is None else frame.height - sources.n_unique()
    return Refined(changed, dict(enriched.counts), dict(enriched.errors), elements)


def _leave_out(
    changes: Changes, enriched: Enriched, too_large: set[int]
) -> tuple[pl.DataFrame, pl.Series, list[tuple[int, str, str, str]]]:
    """Leave out the rows of records of which a row is too large; give what is left, and the rejected records."""
    sources = enriched.sources
    if sources is None:
        gone = {each.row for each in enriched.rejected}
        sources = pl.Series(values=[row for row in range(changes.frame.height) if row not in gone], dtype=pl.UInt32)
    rows = sorted({sources[row] for row in too_large})
    detail = f"a row of at most {MAX_COPY_ROW_BYTES:,} bytes of CSV, more than which COPY does not read"
    keeps = ~sources.is_in(rows)
    return enriched.frame.filter(keeps), sources.filter(keeps), [(row, "", "row_too_long", detail) for row in rows]


def find_too_large(frame: pl.DataFrame, layout: Layout) -> set[int]:
    """Find the rows that are longer as CSV than COPY reads."""
    names = [name for name, _ in layout.columns]
    if bound_row(frame, layout) <= MAX_COPY_ROW_BYTES:
        return set()
    field_bytes = (2 * pl.col(name).str.len_bytes().fill_null(len(layout.null_marker)) + 3 for name in names)
    at_worst = frame.select(pl.sum_horizontal(*field_bytes).alias("bytes"))["bytes"]
    suspects = (at_worst > MAX_COPY_ROW_BYTES).arg_true()
    return {row for row in suspects if sum(map(len, write_csv(frame[row : row + 1], layout))) > MAX_COPY_ROW_BYTES}


def _build_rejects(
    changes: Changes, rejected: list[tuple[int, str, str, str]], write_records: WriteRecords
) -> tuple[Reject, ...]:
    if not rejected:
        return ()
    positions, event_ids = changes.row_positions, changes.frame["_event_id"]
    records = write_records([positions[row] for row, *_ in rejected])
    return tuple(
        Reject(str(event_ids[row]), reason, column, detail, record)
        for (row, column, reason, detail), record in zip(rejected, records, strict=True)
    )
