"""Values of several targets' rows at the places that their columns share, against one row after the other."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from fastetl.enrich.places import Places

COLUMNS = ["a", "b", "c"]
PLACES = ["p", "q"]
TARGETS = st.lists(st.dictionaries(st.sampled_from(PLACES), st.sampled_from(COLUMNS)), min_size=1, max_size=4)


@given(data=st.data(), targets=TARGETS)
def test_each_row_has_the_values_of_its_own_target(data: st.DataObject, targets: list[dict[str, str]]) -> None:
    routes = data.draw(st.lists(st.none() | st.integers(0, len(targets) - 1), max_size=6))
    values = {name: [f"{name}{row}" if row % 3 else None for row in range(len(routes))] for name in COLUMNS}
    rows = pl.DataFrame(values, schema=dict.fromkeys(COLUMNS, pl.String))
    found = Places(targets).fill(rows, pl.Series(routes, dtype=pl.UInt16))
    expected = {
        place: [
            values[targets[route][place]][row] if route is not None and place in targets[route] else None
            for row, route in enumerate(routes)
        ]
        for place in PLACES
        if any(place in target for target in targets)
    }
    assert {series.name: series.to_list() for series in found} == expected
