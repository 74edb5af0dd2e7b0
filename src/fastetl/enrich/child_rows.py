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
        self._placed = {name: name for name in (ROW, *_JOINED)} | places
        self._target = pl.Series(TARGET, [child.name])

    def take(self, rows: pl.DataFrame, places: pl.Series, work: Routed) -> pl.DataFrame:
        """Give a row for each element of the lists of some rows, with key, version and file of its item.

        Args:
            rows: with their lists, null where an item has none.
            places: of the rows that count.
            work: what happens is added to it.
        """
        # `series[places]`, since a series' `gather` builds and runs a query each time, which takes ten times as long.
        lists = rows[self.decoded][places]
        if lists.null_count():
            has_list = lists.is_not_null()
            places, lists = places.filter(has_list), lists.filter(has_list)

        def read_whose(item: int) -> tuple[str, bool]:
            place = places[item]
            return rows["_event_id"][place], rows["_deleted"][place] == "true"

        elements = self._decoder.decode(lists, read_whose)
        work.add_elements(self._name, elements.misfits, elements.ignored)
        for unfit in elements.unfit:
            row = rows[ROW][places[unfit.item]]
            work.reject_item(RejectedRow(row, self._place(unfit.column), unfit.reason, unfit.detail))
        items = places[elements.items]
        found = [*(rows[name][items] for name in self._of_item), *elements.columns]
        if not self.enricher.is_idle:
            enriched = self.enricher.apply(pl.DataFrame(found))
            work.add_counts(self._name, enriched)
            for each in enriched.rejected:
                row = found[0][each.row]
                work.reject_item(RejectedRow(row, self._place(each.column), each.reason, each.detail))
            # A filter makes a row a deletion: an element that it does not keep is no row.
            found = enriched.frame.filter(pl.col("_op") != "LEAVE").get_columns()
        placed = [column.alias(self._placed[column.name]) for column in found if column.name in self._placed]
        return pl.DataFrame([*placed, self._target.new_from_index(0, len(placed[0]))])

    def _place(self, column: str) -> str:
        return f"{self._name}.{column}" if column else self._name
