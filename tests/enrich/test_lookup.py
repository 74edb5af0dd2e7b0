"""Lookups in CSV and Parquet, as an enrichment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Pipeline
from fastetl.enrich.enricher import Enricher
from fastetl.errors import ConfigError
from tests.enrich.test_enricher import TYPES, make_frame, step

LOOKUP: dict[str, Any] = {
    "inputs": ("id", "note"),
    "on": ["number", "name"],
    "outputs": {"price": "DECIMAL(38,2)", "open": "BOOLEAN", "raw": "VARBYTE(4)"},
    "columns": {"open": "is_open"},
    "source": "table.csv",
}


def make(path: Path | None, **changes: Any) -> Enricher:
    columns = tuple(Column(name, (name,), RedshiftType.parse(kind)) for name, kind in TYPES.items())
    pipeline = Pipeline("p", "t", ("id",), "public", "t", columns, enrichments=(step("lookup", **(LOOKUP | changes)),))
    return Enricher(pipeline, {}, {"table.csv": path} if path else {})


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


TABLE = """number,name,price,is_open,raw,unused
1,ann,123456789012345678901234567890123456.78,TRUE,00ff,x
3,cid,5,false,,x
2,eve,7,,,x
"""


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_find_their_values_by_a_key_of_two_columns(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / "table.csv", TABLE)
    if suffix == ".parquet":
        table = pl.read_csv(path, infer_schema=False)
        path = tmp_path / "table.parquet"
        table.write_parquet(path)
    enriched = make(path).apply(make_frame())
    assert enriched.frame.select("price", "open", "raw").rows() == [
        ("123456789012345678901234567890123456.78", "true", "00ff"),
        (None, None, None),
        (None, None, None),
    ]
    # The third row's key has a NULL: there is nothing to look for.
    assert enriched.counts == {"0/lookup/unknown": 1}


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("", {}, "cannot be read as a table"),
        ("number,name,price,raw\n", {}, "has no column 'is_open'"),
        (TABLE + "1,ann,5,true,,x\n", {}, "has a key twice"),
        (TABLE.replace(",5,", ",5.001,"), {}, "1 values of 'price' do not fit price"),
        (TABLE.replace("false", "perhaps"), {}, "open BOOLEAN: a value is not written as one"),
        (TABLE.replace("3,cid", "x,cid"), {}, "'number' cannot be compared with BIGINT"),
        (TABLE, {"inputs": ("amount", "note")}, "amount cannot be looked up"),
        (None, {}, "table.csv is not there"),
    ],
)
def test_what_cannot_work_is_told_at_start(tmp_path: Path, text: str | None, changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(write(tmp_path / "table.csv", text) if text is not None else None, **changes)


def test_a_table_that_is_bad_later_leaves_the_old_one(tmp_path: Path) -> None:
    path = write(tmp_path / "table.csv", TABLE)
    enricher = make(path)
    with pytest.raises(ConfigError):
        enricher.open({"table.csv": write(tmp_path / "other.csv", "no")})
    assert enricher.apply(make_frame()).frame["open"][0] == "true"
    changed = write(tmp_path / "changed.csv", TABLE.replace("TRUE", "FALSE"))
    enricher.open({"table.csv": changed})
    assert enricher.apply(make_frame()).frame["open"][0] == "false"
