"""What comes of the rows of all targets: rejected items, and what was counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from fastetl.enrich.enricher import Enriched, RejectedRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

ROW = "_row"
"""The column with the number of a row's change among all; no column of a user begins with `_`."""

TARGET = "_target"
"""The column with the name of a row's target."""


class Routed:
    """What happened to the rows of all targets."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.misfits: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.unrouted: Counter[str] = Counter()
        self.rejected: list[RejectedRow] = []
        self.unfit: set[int] = set()
        """Rows that are rejected because of an element."""

    def add(self, target: str, enriched: Enriched, rows: pl.Series) -> None:
        """Add what a target's enrichments did; `rows` are where its rows are among all."""
        self.add_counts(target, enriched)
        for each in enriched.rejected:
            column = f"{target}.{each.column}" if each.column else ""
            self.rejected.append(msgspec.structs.replace(each, row=rows[each.row], column=column))

    def add_counts(self, target: str, enriched: Enriched) -> None:
        """Add what a target's or a child table's enrichments counted."""
        self.counts.update({f"{target}/{what}": count for what, count in enriched.counts.items()})
        self.add_elements(target, enriched.misfits, {})
        self.errors.update(enriched.errors)

    def add_elements(self, child: str, misfits: Mapping[tuple[str, str], int], ignored: Mapping[str, int]) -> None:
        """Add what did not fit a child table's columns."""
        self.misfits.update({(f"{child}.{column}", reason): count for (column, reason), count in misfits.items()})
        self.ignored.update({f"{child}.{name}": count for name, count in ignored.items()})

    def reject_item(self, rejected: RejectedRow) -> None:
        """Reject an item because of an element, once."""
        if rejected.row not in self.unfit:
            self.unfit.add(rejected.row)
            self.rejected.append(rejected)

    def finish(self, frame: pl.DataFrame, rows: pl.Series) -> Enriched:
        """Give all of it; `rows` are whose the frame's rows are."""
        return Enriched(
            frame=frame,
            counts=dict(self.counts),
            rejected=tuple(sorted(self.rejected, key=lambda each: each.row)),
            misfits=dict(self.misfits),
            errors=dict(self.errors),
            ignored=dict(self.ignored),
            unrouted=dict(self.unrouted),
            sources=rows,
        )
