"""Enrich the rows of a frame, and reject those that COPY would refuse.

After this every record is either a row of the frame, or a reject that holds the record as it came.
"""

from __future__ import annotations

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

    def apply(self, frame: pl.DataFrame) -> Enriched:
        """Add the outputs of enrichments to a frame.

        Args:
            frame: a row for each change, every column as text.
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
    enriched = enricher.apply(changes.frame)
    frame, rejected = enriched.frame, [(each.row, each.column, each.reason, each.detail) for each in enriched.rejected]
    if too_large := find_too_large(frame, layout):
        kept = [row for row in range(changes.frame.height) if row not in {each.row for each in enriched.rejected}]
        detail = f"a row of at most {MAX_COPY_ROW_BYTES:,} bytes of CSV, more than which COPY does not read"
        rejected += [(kept[row], "", "row_too_long", detail) for row in too_large]
        keeps = pl.Series(values=[row not in too_large for row in range(frame.height)], dtype=pl.Boolean)
        frame = frame.filter(keeps)
    misfits = dict(changes.misfits)
    for what, count in enriched.misfits.items():
        misfits[what] = misfits.get(what, 0) + count
    rejects = changes.rejects + _build_rejects(changes, sorted(rejected), write_records)
    changed = msgspec.structs.replace(changes, frame=frame, misfits=misfits, rejects=rejects)
    return Refined(changed, dict(enriched.counts), dict(enriched.errors))


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
