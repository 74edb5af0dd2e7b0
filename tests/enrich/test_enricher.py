"""Enrichments on frames as decoding gives them: what is added, what is counted, and what they cannot break."""

from __future__ import annotations

import hashlib
import hmac
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl
import pytest

from fastetl.columns.types import SYSTEM_COLUMNS, Column, RedshiftType
from fastetl.config.enrichments import Options
from fastetl.config.model import Enrichment, Pipeline
from fastetl.enrich.enricher import Enricher
from fastetl.errors import ConfigError, EnrichmentError

TYPES = {
    "id": "BIGINT",
    "amount": "DECIMAL(38,2)",
    "note": "VARCHAR(20)",
    "paid": "BOOLEAN",
    "day": "DATE",
    "at": "TIMESTAMPTZ",
    "blob": "VARBYTE(8)",
}
ROWS = [
    ("1", "123456789012345678901234567890123456.78", "ann", "true", "2026-01-01", "2026-01-01 10:00:00+00", "00ff"),
    ("2", "1.5", "bob", "false", "2026-01-02", "2026-01-01 10:00:00.5+00", None),
    ("3", None, None, None, None, None, None),
]


def make_frame(deleted: tuple[str, ...] = ("false", "false", "true")) -> pl.DataFrame:
    system = {name: ["x"] * 3 for name, _ in SYSTEM_COLUMNS} | {"_deleted": list(deleted)}
    columns = dict(zip(TYPES, map(list, zip(*ROWS, strict=True)), strict=True))
    return pl.DataFrame(system | columns, schema=dict.fromkeys([*system, *columns], pl.String))


def step(kind: str, **changes: Any) -> Enrichment:
    outputs = tuple((name, RedshiftType.parse(type_)) for name, type_ in changes.pop("outputs", {}).items())
    known = {name: changes.pop(name) for name in ("inputs", "on_error") if name in changes}
    options: Options = msgspec.convert({"kind": kind, **changes}, Options)
    return Enrichment(options, outputs=outputs, **known)


def make_pipeline(*enrichments: Enrichment, **changes: Any) -> Pipeline:
    columns = tuple(Column(name, (name,), RedshiftType.parse(kind)) for name, kind in TYPES.items())
    return Pipeline("p", "t", ("id",), "public", "t", columns, enrichments=enrichments, **changes)


def make_enricher(*enrichments: Enrichment, **environ: str) -> Enricher:
    return Enricher(make_pipeline(*enrichments), environ)


def apply(*enrichments: Enrichment, **environ: str) -> Any:
    return make_enricher(*enrichments, **environ).apply(make_frame())


def expression(name: str, kind: str, sql: str, **changes: Any) -> Enrichment:
    return step("expression", outputs={name: kind}, sql=sql, **changes)


# --- functions, named in configurations as tests.enrich.test_enricher:… ---


def see_types(frame: pl.DataFrame) -> pl.DataFrame:
    assert frame.schema == {
        "id": pl.Int64, "amount": pl.Decimal(38, 2), "note": pl.String, "paid": pl.Boolean, "day": pl.Date,
        "at": pl.Datetime("us", "UTC"), "blob": pl.Binary,
    }  # fmt: skip
    return frame.with_columns(
        echo=pl.col("amount"), size=pl.col("blob").bin.size(), later=pl.col("at").dt.offset_by("1d")
    )


def shout(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(loud=pl.col("note").str.to_uppercase(), note=pl.lit("not its own"))


def reverse(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.head(1)


def nothing(frame: pl.DataFrame) -> pl.DataFrame:
    return frame


def fail(_frame: pl.DataFrame) -> pl.DataFrame:
    raise ValueError("secret content")


def function(name: str, **changes: Any) -> Enrichment:
    return step("function", function=f"tests.enrich.test_enricher:{name}", **changes)


def test_without_enrichments_the_frame_is_the_frame() -> None:
    frame = make_frame()
    assert make_enricher().apply(frame).frame is frame


def test_a_function_sees_its_inputs_as_what_they_are_and_nothing_is_rounded() -> None:
    outputs = {"echo": "DECIMAL(38,2)", "size": "SMALLINT", "later": "TIMESTAMPTZ"}
    result = apply(function("see_types", inputs=tuple(TYPES), outputs=outputs)).frame
    assert result["echo"].to_list() == ["123456789012345678901234567890123456.78", "1.5", None]
    assert result["size"].to_list() == ["2", None, None]
    assert result["later"].to_list() == ["2026-01-02 10:00:00+00", "2026-01-02 10:00:00.500000+00", None]
    assert all(dtype == pl.String for dtype in result.dtypes)


def test_only_declared_outputs_are_taken() -> None:
    result = apply(function("shout", inputs=("note",), outputs={"loud": "VARCHAR(20)"})).frame
    assert result["loud"].to_list() == ["ANN", "BOB", None]
    assert result.drop("loud").equals(make_frame())


@pytest.mark.parametrize("name", ["reverse", "nothing", "fail"])
def test_what_breaks_its_promise_fails_the_batch_or_gives_null(name: str) -> None:
    with pytest.raises(EnrichmentError, match="enrichment 0/function: ") as caught:
        apply(function(name, inputs=("id",), outputs={"more": "INT"}))
    assert "secret" not in str(caught.value)
    result = apply(function(name, inputs=("id",), outputs={"more": "INT"}, on_error="null"))
    assert result.frame["more"].to_list() == [None] * 3
    assert result.misfits == {("more", "enrichment"): 3}


def test_expressions_build_on_each_other() -> None:
    result = apply(
        expression("double", "DECIMAL(20,2)", "amount * 2", on_error="null"),
        expression("big", "BOOLEAN", "double > 2"),
        expression("source", "VARCHAR(9)", "'eu'"),
        expression("year", "SMALLINT", "EXTRACT(YEAR FROM day)"),
    )
    assert result.frame["big"].to_list() == [None, "true", None]
    assert result.frame["source"].to_list() == ["eu"] * 3
    assert result.frame["year"].to_list() == ["2026", "2026", None]


def test_what_does_not_fit_its_output_fails_or_is_null_and_counted() -> None:
    too_long = {"outputs": {"twice": "VARCHAR(5)"}, "sql": "note || '12345'"}
    with pytest.raises(EnrichmentError, match="2 rows have no value: too_long; enrichment 0/expression: a value that"):
        apply(step("expression", **too_long, on_error="fail"))
    result = apply(step("expression", **too_long, on_error="null"))
    assert result.frame["twice"].to_list() == [None] * 3
    assert result.misfits == {("twice", "too_long"): 2}


def test_a_filtered_row_becomes_a_tombstone_and_a_delete_stays_one() -> None:
    result = apply(step("filter", sql="note <> 'bob'"))
    assert result.frame["_deleted"].to_list() == ["false", "true", "true"]
    assert result.frame["note"].to_list() == ["ann", None, None]
    assert result.frame["id"].to_list() == ["1", "2", "3"]
    assert result.frame["_op"].to_list() == ["x", "LEAVE", "x"]
    assert result.counts == {"0/filter/filtered": 1}


def test_of_a_deleted_item_that_a_filter_does_not_keep_nothing_stays() -> None:
    deleted = make_frame().with_columns(pl.lit("true").alias("_deleted"), pl.lit("REMOVE").alias("_op"))
    pipeline = make_pipeline(step("filter", sql="note <> 'bob'"), outputs=frozenset({"log"}))
    result = Enricher(pipeline, {}).apply(deleted)
    assert result.frame["note"].to_list() == ["ann", None, None]
    assert result.frame["_op"].to_list() == ["REMOVE", "LEAVE", "LEAVE"]
    assert not result.counts


def test_masks() -> None:
    key = "k" * 16
    outputs = {"note": "VARCHAR(64)"}
    hashed = apply(step("mask", outputs=outputs, method="hash", key_variable="KEY"), KEY=key).frame["note"].to_list()
    assert hashed == [hmac.new(key.encode(), text, hashlib.sha256).hexdigest() for text in (b"ann", b"bob")] + [None]
    assert apply(step("mask", outputs=outputs, method="truncate", characters=1)).frame["note"].to_list() == [
        "a",
        "b",
        None,
    ]
    assert apply(step("mask", outputs=outputs, method="drop")).frame["note"].to_list() == [None] * 3


@pytest.mark.parametrize(
    ("enrichment", "message"),
    [
        (function("missing"), "has no attribute 'missing'"),
        (step("function", function="no.such:thing"), "No module named"),
        (expression("more", "INT", "unknown + 1"), "no column 'unknown'"),
        (expression("more", "INT", "amount +"), ""),
        (step("mask", outputs={"id": "BIGINT"}, method="drop"), "of the key"),
        (step("mask", outputs={"nobody": "VARCHAR(9)"}, method="drop"), "no column 'nobody'"),
        (step("mask", outputs={"note": "VARCHAR(9)"}, method="hash", key_variable="UNSET"), "environment variable"),
        (expression("_version", "VARCHAR(9)", "note"), "stay as they are"),
    ],
)
def test_what_cannot_work_is_told_at_start_with_its_place(enrichment: Enrichment, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_enricher(step("filter", sql="TRUE = TRUE"), enrichment)
    (problem,) = caught.value.problems
    assert problem.place == "pipelines.p.enrichments[1]"
    assert message in problem.message


def test_decimals_of_enrichments_are_exact() -> None:
    result = apply(expression("sum", "DECIMAL(38,2)", "amount + amount", on_error="null")).frame["sum"].to_list()
    assert result[0] is not None
    assert Decimal(result[0]) == Decimal("246913578024691357802469135780246913.56")
