"""Put the values of several targets' rows at the places of a file that their columns share. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Places:
    """Which decoded column has the value of each place, by the target of a row."""

    def __init__(self, targets: Sequence[Mapping[str, str]]) -> None:
        """Find the columns of each place.

        Args:
            targets: of each, the decoded column by its place.
        """
        self._places: dict[str, tuple[list[str], tuple[int | None, ...]]] = {}
        for place in dict.fromkeys(place for target in targets for place in target):
            sources = list(dict.fromkeys(target[place] for target in targets if place in target))
            chosen = tuple(sources.index(target[place]) if place in target else None for target in targets)
            self._places[place] = sources, chosen

    def fill(self, rows: pl.DataFrame, routes: pl.Series) -> list[pl.Series]:
        """Give the values at each place.

        Args:
            rows: with the decoded columns.
            routes: the number of each row's target, null where it has none; then it has no values.
        """
        numbers = pl.int_range(rows.height, dtype=pl.UInt32, eager=True)
        found: dict[tuple[int | None, ...], pl.Series] = {}
        values = []
        for place, (sources, chosen) in self._places.items():
            if set(chosen) == {0} and not routes.null_count():
                values.append(rows[sources[0]].alias(place))
                continue
            if chosen not in found:
                # Columns are put behind each other, and one look-up takes each row's value: a choice between columns,
                # row by row, takes many times as long.
                found[chosen] = pl.Series(chosen, dtype=pl.UInt32)[routes] * rows.height + numbers
            stacked = pl.concat([rows[source] for source in sources], rechunk=True)
            values.append(stacked[found[chosen]].alias(place))
        return values
