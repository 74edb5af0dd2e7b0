"""How tables are stored: what Redshift does not take is refused, and what it will refuse later is warned of."""

from __future__ import annotations

from typing import Any

import pytest

from fastetl.columns import Column, RedshiftType
from fastetl.config import Pipeline, Storage, find_storage_warnings
from fastetl.config.naming import find_naming_problems
from fastetl.config.storage import parse_sortkey

TYPES = {
    "id": "VARCHAR(16)",
    "note": "VARCHAR(99)",
    "count": "BIGINT",
    "flag": "BOOLEAN",
    "doc": "SUPER",
    "raw": "VARBYTE",
}


def make_pipeline(**changes: Any) -> Pipeline:
    columns = tuple(Column(name, (name,), RedshiftType.parse(kind)) for name, kind in TYPES.items())
    return Pipeline("p", "t", ("id",), "public", "t", columns, **changes)


@pytest.mark.parametrize(
    ("storage", "problem"),
    [
        (Storage(), ""),
        (Storage(distkey="note", sortkey=("_changed_at", "count"), encode={"NOTE": "ZSTD", "doc": "ZSTD"}), ""),
        (Storage(diststyle="AUTO", sortkey="AUTO"), ""),
        (Storage(diststyle="EVEN"), ""),
        (Storage(diststyle="ALL", distkey="id"), "mirror.distkey: rows have no key with diststyle ALL"),
        (Storage(distkey="other"), "mirror.distkey: there is no column 'other'"),
        (Storage(distkey="doc"), "mirror.distkey: 'doc' is SUPER"),
        (Storage(sortkey=("id", "raw")), "mirror.sortkey: 'raw' is VARBYTE"),
        (Storage(sortkey=("id", "ID")), "mirror.sortkey: a column is named twice"),
        (Storage(sortkey=tuple(f"c{n}" for n in range(401))), "mirror.sortkey: a sort key has at most 400 columns"),
        (Storage(encode={"other": "ZSTD"}), "mirror.encode.other: there is no column 'other'"),
        (Storage(encode={"flag": "AZ64"}), "mirror.encode.flag: AZ64 compresses no BOOLEAN"),
        (Storage(encode={"count": "TEXT255"}), "mirror.encode.count: TEXT255 compresses no BIGINT"),
    ],
)
def test_what_redshift_does_not_take_is_refused(storage: Storage, problem: str) -> None:
    found = [f"{each.place}: {each.message}" for each in find_naming_problems([make_pipeline(mirror=storage)])]
    assert bool(found) is bool(problem)
    assert not problem or found[0].startswith(f"pipelines[0].{problem}")


def test_of_an_output_that_is_not_there_nothing_is_said() -> None:
    (found,) = find_naming_problems([make_pipeline(log=Storage(diststyle="EVEN"))])
    assert (found.place, found.remedy) == ("pipelines[0].log", 'Add "log" to outputs, or leave it out')


def test_what_alter_table_will_refuse_is_warned_of() -> None:
    mirror = Storage(distkey="id", sortkey=("_changed_at", "count"), encode={"note": "BYTEDICT", "count": "RUNLENGTH"})
    pipeline = make_pipeline(mirror=mirror, log=Storage(distkey="id"))
    found = [(each.place, each.message) for each in find_storage_warnings([make_pipeline(), pipeline])]
    stays = "Redshift drops no column of a key: {} stays in the table as long as this key does"
    assert found == [
        ("pipelines[1].mirror.distkey", stays.format("'id'")),
        ("pipelines[1].mirror.sortkey", stays.format("'count'")),
        (
            "pipelines[1].mirror.encode.note",
            "Redshift lengthens no VARCHAR with encoding BYTEDICT: 'note' keeps its length",
        ),
    ]


@pytest.mark.parametrize("value", [[], "auto", [1], {}])
def test_what_is_no_sort_key_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match='a list of columns, or "AUTO"'):
        parse_sortkey(value)
