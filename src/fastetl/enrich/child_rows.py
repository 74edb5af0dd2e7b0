"""The rows of one child table: its elements, decoded and enriched by its own steps. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.config import Pipeline, name_list
from fastetl.decode import ElementDecoder
from fastetl.enrich.enricher import Enricher, RejectedRow
from fastetl.enrich.routed import ROW, TARGET, Routed

if TYPE_CHECKING:
    from collections.abc import Mapping

_JOINED = ["_key", "_version", "_file"]
"""What rows of elements have of their item; the rest is in the item's own row, which the warehouse joins them with."""

_SYSTEM = [name for name, _ in SYSTEM_COLUMNS]


class ChildRows:
    """One child table: how elements are decoded, and their enrichments."""

    def __init__(
        self, child: Pipeline, places: dict[str, str], environ: Mapping[str, str] | None, *, is_native: bool
    ) -> None:
        self.enricher = Enricher(child, environ)
        self.decoded = name_list(child.rows_of)
        self._name = child.name
        self._decoder = ElementDecoder(child, is_native=is_native)
        self._of_item = [ROW, *(_JOINED if self.enricher.is_idle else _SYSTEM)]
        self._placed = [*((name, name) for name in (ROW, *_JOINED)), *places.items()]
        self._target = pl.Series(TARGET, [child.name])

    def take(self, rows: pl.DataFrame, have_lists: pl.Series, work: Routed) -> pl.DataFrame:
        """Give a row for each element of the lists of some rows, with key, version and file of its item.

        Args:
            rows: with their lists.
            have_lists: which of them have elements.
            work: what happens is added to it.
        """
        places = have_lists.arg_true()

        def read_whose(item: int) -> tuple[str, bool]:
            place = places[item]
            return rows["_event_id"][place], rows["_deleted"][place] == "true"

        elements = self._decoder.decode(rows[self.decoded].gather(places), read_whose)
        work.add_elements(self._name, elements.misfits, elements.ignored)
        for unfit in elements.unfit:
            row = rows[ROW][places[unfit.item]]
            work.reject_item(RejectedRow(row, self._place(unfit.column), unfit.reason, unfit.detail))
        items = places.gather(elements.items)
        found = pl.DataFrame([*(rows[name].gather(items) for name in self._of_item), *elements.frame])
        if not self.enricher.is_idle:
            enriched = self.enricher.apply(found)
            work.add_counts(self._name, enriched)
            for each in enriched.rejected:
                row = found[ROW][each.row]
                work.reject_item(RejectedRow(row, self._place(each.column), each.reason, each.detail))
            # A filter makes a row a deletion: an element that it does not keep is no row.
            found = enriched.frame.filter(pl.col("_op") != "LEAVE")
        placed = [found[column].alias(place) for column, place in self._placed]
        return pl.DataFrame([*placed, self._target.new_from_index(0, found.height)])

    def _place(self, column: str) -> str:
        return f"{self._name}.{column}" if column else self._name
