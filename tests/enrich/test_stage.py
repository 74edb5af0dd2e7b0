"""What becomes of a value that an enrichment cannot take: it is found, and no other row notices."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastetl.columns.types import SYSTEM_COLUMNS, Column, RedshiftType
from fastetl.config.model import Enrichment, Pipeline
from fastetl.enrich.enricher import Enriched, Enricher
from fastetl.enrich.stage import SAMPLED_ROWS
from fastetl.errors import ConfigError, EnrichmentError
from tests.enrich.test_enricher import step

TYPES = {"id": "BIGINT", "amount": "DECIMAL(38,2)", "note": "VARCHAR(40)", "ip": "VARCHAR(60)"}
HUGE = "9" * 36 + ".99"
RUNS: list[int] = []


def make_frame(amounts: list[str | None], notes: list[str | None] | None = None, deleted: int | None = None) -> Any:
    count = len(amounts)
    system = {name: ["x"] * count for name, _ in SYSTEM_COLUMNS}
    system["_deleted"] = ["true" if row == deleted else "false" for row in range(count)]
    columns = {
        "id": [str(row) for row in range(count)], "amount": amounts, "note": notes or [None] * count,
        "ip": [None] * count,
    }  # fmt: skip
    return pl.DataFrame(system | columns, schema=dict.fromkeys([*system, *columns], pl.String))


def make_enricher(*enrichments: Enrichment, **changes: Any) -> Enricher:
    columns = tuple(Column(name, (name,), RedshiftType.parse(kind)) for name, kind in TYPES.items())
    return Enricher(Pipeline("p", "t", ("id",), "public", "t", columns, enrichments=enrichments, **changes))


def cents(**changes: Any) -> Enrichment:
    return step("expression", outputs={"cents": "DECIMAL(38,0)"}, sql="amount * 100", **changes)


def function(name: str, outputs: dict[str, str], inputs: tuple[str, ...] = ("note",), **changes: Any) -> Enrichment:
    return step("function", function=f"tests.enrich.test_stage:{name}", inputs=inputs, outputs=outputs, **changes)


@pytest.mark.parametrize(
    ("sql", "kind", "values", "expected"),
    [
        ("small * 100", "INTEGER", ["30000", "-32768", None], ["3000000", "-3276800", None]),
        ("whole * 4", "BIGINT", ["4611686018427387904", "3", None], [None, "12", None]),
        ("whole * 4", "DECIMAL(38,0)", ["4611686018427387904", "3"], ["18446744073709551616", "12"]),
        ("0 - whole - 2", "BIGINT", ["9223372036854775807", "1"], [None, "-3"]),
        ("POW(small, 2)", "BIGINT", ["30000", "2"], ["900000000", "4"]),
        ("CASE WHEN whole * 2 > whole THEN 1 ELSE 0 END", "SMALLINT", ["9223372036854775807"], ["1"]),
    ],
)
def test_whole_numbers_do_not_wrap_around(sql: str, kind: str, values: list[Any], expected: list[Any]) -> None:
    columns = (
        Column("id", ("id",), RedshiftType.parse("BIGINT")),
        Column("small", ("small",), RedshiftType.parse("SMALLINT")),
        Column("whole", ("whole",), RedshiftType.parse("BIGINT")),
    )  # fmt: skip
    name = "small" if "small" in sql else "whole"
    system = {each: ["false" if each == "_deleted" else "x"] * len(values) for each, _ in SYSTEM_COLUMNS}
    named = {"id": ["1"] * len(values), "small": [None] * len(values), "whole": [None] * len(values), name: values}
    frame = pl.DataFrame(system | named, schema=dict.fromkeys([*system, *named], pl.String))
    steps = (step("expression", outputs={"made": kind}, sql=sql, on_error="null"),)
    enriched = Enricher(Pipeline("p", "t", ("id",), "public", "t", columns, enrichments=steps)).apply(frame)
    assert enriched.frame["made"].to_list() == expected
    lost = sum(value is not None and made is None for made, value in zip(expected, values, strict=True))
    wanted = {("made", "range"): lost} if lost else {}
    assert enriched.misfits == wanted


def test_a_panic_of_polars_costs_its_row_alone() -> None:
    enriched = make_enricher(function("panic", {"year": "SMALLINT"})).apply(make_frame(["1"] * 3, ["1", "9" * 18, "3"]))
    assert [each.row for each in enriched.rejected] == [1]
    assert enriched.frame["year"].to_list() == ["1970", "1970"]


def test_a_function_that_exits_costs_its_row_alone() -> None:
    enriched = make_enricher(function("leave", {"length": "INT"})).apply(make_frame(["1"] * 3, ["a", "exit", "b"]))
    assert [each.row for each in enriched.rejected] == [1]
    (raised,) = enriched.errors
    assert "SystemExit at " in raised


# --- functions, named in configurations as tests.enrich.test_stage:… ---


def parse_number(frame: pl.DataFrame) -> pl.DataFrame:
    """Fail on text that is no number: on made-up text as well."""
    RUNS.append(frame.height)
    return frame.select(number=pl.col("note").cast(pl.Int64))


def panic(frame: pl.DataFrame) -> pl.DataFrame:
    moments = frame["note"].cast(pl.Int64, strict=False).cast(pl.Datetime("ms"))
    return pl.DataFrame({"year": moments.dt.strftime("%Y").cast(pl.Int16, strict=False)})


def leave(frame: pl.DataFrame) -> pl.DataFrame:
    if (frame["note"] == "exit").any():
        sys.exit("no")
    return frame.select(length=pl.col("note").str.len_bytes())


def dislike(frame: pl.DataFrame) -> pl.DataFrame:
    if (frame["note"] == "bad").any():
        raise ValueError("secret content")
    return frame.select(length=pl.col("note").str.len_chars())


def drop_bad(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("note").ne_missing("bad")).select(length=pl.col("note").str.len_chars())


def fail_always(_frame: pl.DataFrame) -> pl.DataFrame:
    raise KeyError("secret content")


def give_a_list(_frame: pl.DataFrame) -> Any:
    return [1]


def share(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(share=pl.col("amount").cast(pl.Float64) / pl.col("amount").cast(pl.Float64).sum())


def count_up(frame: pl.DataFrame) -> pl.DataFrame:
    RUNS.append(0)
    return frame.select(number=pl.lit(len(RUNS), dtype=pl.Int64).repeat_by(1).explode().first().over(pl.lit(1)))


def test_one_order_that_overflows_is_rejected_and_its_neighbours_keep_their_values() -> None:
    enriched = make_enricher(cents()).apply(make_frame(["1.50", HUGE, None, "2"]))
    assert enriched.frame["cents"].to_list() == ["150", None, "200"]
    assert enriched.frame["id"].to_list() == ["0", "2", "3"]
    (rejected,) = enriched.rejected
    assert (rejected.row, rejected.column, rejected.reason) == (1, "cents", "enrichment")
    assert rejected.detail == "enrichment 0/expression: ComputeError"
    assert enriched.errors == {rejected.detail: 1}


def test_null_counts_the_value_and_keeps_the_row() -> None:
    enriched = make_enricher(cents(on_error="null")).apply(make_frame(["1.50", HUGE, "2"]))
    assert enriched.frame["cents"].to_list() == ["150", None, "200"]
    assert (enriched.rejected, enriched.misfits) == ((), {("cents", "enrichment"): 1})


def test_fail_says_how_many_and_why() -> None:
    with pytest.raises(EnrichmentError, match=r"^1 rows have no value: enrichment; enrichment 0/expression: Comp"):
        make_enricher(cents(on_error="fail")).apply(make_frame(["1.50", HUGE, "2"]))


def test_a_value_that_does_not_fit_is_like_one_that_cannot_be_worked_out() -> None:
    long = step("expression", outputs={"twice": "VARCHAR(5)"}, sql="note || note")
    enriched = make_enricher(long).apply(make_frame(["1"] * 3, ["ab", "abc", None]))
    assert enriched.frame["twice"].to_list() == ["abab", None]
    assert [(each.row, each.column, each.reason) for each in enriched.rejected] == [(1, "twice", "too_long")]
    assert "VARCHAR(5)" in enriched.rejected[0].detail


def test_a_deletion_reaches_the_mirror_whatever_fails() -> None:
    frame = make_frame(["1", HUGE, HUGE], deleted=1)
    for policy in ("reject", "fail"):
        alone = make_enricher(cents(on_error=policy)).apply(frame[:2])
        assert (alone.frame["cents"].to_list(), alone.rejected) == (["100", None], ())
        assert alone.misfits == {("cents", "enrichment"): 1}
    assert [each.row for each in make_enricher(cents()).apply(frame).rejected] == [2]


def test_later_steps_see_the_rows_that_are_left_and_rows_keep_their_numbers() -> None:
    enricher = make_enricher(
        cents(),
        function("dislike", {"length": "SMALLINT"}),
        step("filter", sql="note <> 'draft'"),
        step("expression", outputs={"twice": "DECIMAL(38,0)"}, sql="cents * 2"),
    )
    frame = make_frame(["1", HUGE, "2", "3", "4"], ["a", "b", "bad", "draft", "c"])
    enriched = enricher.apply(frame)
    assert [(each.row, each.column) for each in enriched.rejected] == [(1, "cents"), (2, "length")]
    assert enriched.frame["id"].to_list() == ["0", "3", "4"]
    assert enriched.frame["_deleted"].to_list() == ["false", "true", "false"]
    assert enriched.frame["twice"].to_list() == ["200", None, "800"]


def test_a_filter_that_fails_rejects_or_deletes_the_row() -> None:
    sql = "amount * 100 > 100"
    frame = make_frame(["5", HUGE, "0.5"])
    rejecting = make_enricher(step("filter", sql=sql)).apply(frame)
    assert [(each.row, each.column) for each in rejecting.rejected] == [(1, "")]
    assert rejecting.frame["_deleted"].to_list() == ["false", "true"]
    deleting = make_enricher(step("filter", sql=sql, on_error="null")).apply(frame)
    assert deleting.frame["_deleted"].to_list() == ["false", "true", "true"]
    assert deleting.misfits == {("", "enrichment"): 1}


def test_a_function_says_at_which_line_it_failed_and_nothing_of_the_item() -> None:
    enriched = make_enricher(function("dislike", {"length": "SMALLINT"})).apply(make_frame(["1"] * 2, ["bad", "ok"]))
    (rejected,) = enriched.rejected
    line = Path(__file__).read_text().splitlines().index('        raise ValueError("secret content")') + 1
    assert f"ValueError at {__file__}:{line} in dislike" in rejected.detail
    assert "secret" not in rejected.detail
    assert enriched.frame["length"].to_list() == ["2"]


def test_a_function_that_gives_too_few_rows_for_one_value_is_told_the_row() -> None:
    enriched = make_enricher(function("drop_bad", {"length": "SMALLINT"})).apply(
        make_frame(["1"] * 5, ["a", "bb", "bad", None, "c"])
    )
    assert [each.row for each in enriched.rejected] == [2]
    assert enriched.frame["length"].to_list() == ["1", "2", None, "1"]


@pytest.mark.parametrize("notes", [["1", "x", "3"], ["x"] * 40 + ["1"] + ["x"] * 5, ["x", None, "7"]])
def test_text_that_a_function_cannot_parse_is_the_datas_fault_while_it_parses_other(notes: list[str | None]) -> None:
    enriched = make_enricher(function("parse_number", {"number": "BIGINT"})).apply(
        make_frame(["1"] * len(notes), notes)
    )
    assert [each.row for each in enriched.rejected] == [row for row, note in enumerate(notes) if note == "x"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("fail_always", r"KeyError at .*test_stage\.py:\d+ in fail_always"), ("give_a_list", "DataFrame")],
)
def test_a_broken_function_has_the_batch_retried(name: str, told: str) -> None:
    frame = make_frame(["1"] * 100, ["a"] * 100)
    with pytest.raises(EnrichmentError, match=f"enrichment 0/function: .*{told}") as caught:
        make_enricher(function(name, {"length": "INT"})).apply(frame)
    assert "secret" not in str(caught.value)
    lenient = make_enricher(function(name, {"length": "INT"}, on_error="null")).apply(frame)
    assert lenient.frame["length"].null_count() == 100
    assert lenient.misfits == {("length", "enrichment"): 100}


def test_a_broken_step_is_not_run_for_every_row() -> None:
    RUNS.clear()
    with pytest.raises(EnrichmentError):
        make_enricher(function("parse_number", {"number": "BIGINT"})).apply(make_frame(["1"] * 5000, ["x"] * 5000))
    assert len(RUNS) <= 2 * SAMPLED_ROWS + 3


@given(st.integers(1, 300), st.data())
@settings(max_examples=30)
def test_the_failing_rows_are_found_in_few_runs(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=3))
    frame = make_frame(["1"] * count, ["x" if row in bad else "1" for row in range(count)])
    enricher = make_enricher(function("parse_number", {"number": "BIGINT"}))
    RUNS.clear()
    if len(bad) == count:
        return
    enriched = enricher.apply(frame)
    assert {each.row for each in enriched.rejected} == bad
    assert len(RUNS) <= 1 + 2 * SAMPLED_ROWS + 2 + len(bad) * (2 * math.ceil(math.log2(count) + 1) + 1)


def test_an_event_without_rows_runs_nothing() -> None:
    enriched = make_enricher(function("fail_always", {"length": "INT"})).apply(make_frame([]))
    assert enriched.frame["length"].to_list() == []


@pytest.mark.parametrize(
    ("enrichment", "told"),
    [
        (function("fail_always", {"length": "INT"}), "fails on made-up values"),
        (function("parse_number", {"number": "BIGINT"}), "fails on made-up values of its inputs' types"),
        (function("dislike", {"length": "DATE"}), "a Polars UInt32 is no DATE"),
        (function("dislike", {"size": "INT"}), "it gave no column size"),
        (function("share", {"share": "DOUBLE PRECISION"}, inputs=("amount",)), "it has to be row-wise"),
    ],
)
def test_check_tries_every_step_on_made_up_values(enrichment: Enrichment, told: str) -> None:
    (problem,) = make_enricher(cents(), enrichment).try_out()
    assert problem.place == "pipelines.p.enrichments[1]"
    assert told in problem.message


def test_check_finds_nothing_where_nothing_is() -> None:
    assert make_enricher(cents(), function("dislike", {"length": "INT"})).try_out() == ()


@pytest.mark.parametrize(("line", "error"), [("raise RuntimeError()", "RuntimeError"), ("exit(1)", "SystemExit")])
def test_a_module_that_cannot_be_imported_is_a_problem_whatever_it_raises(
    line: str, error: str, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / f"broken_{error}.py").write_text(line + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = step("function", function=f"broken_{error}:f", inputs=("note",), outputs={"a": "INT"})
    with pytest.raises(ConfigError, match=rf"enrichments\[0\]: {error}"):
        make_enricher(broken)


def test_what_is_undeclared_can_be_read() -> None:
    enricher = make_enricher(step("expression", outputs={"size": "INT"}, sql="LENGTH(_extra)"), undeclared="extra")
    frame = make_frame(["1"]).with_columns(_extra=pl.lit('{"a":1}'))
    assert enricher.apply(frame).frame["size"].to_list() == ["7"]


@pytest.mark.parametrize(
    ("sql", "kind", "value"),
    [
        ("amount / 3", "DECIMAL(18,6)", "3.333333"),
        ("amount * 0.125", "DECIMAL(18,2)", "1.25"),
        ("amount * 0.0125", "DECIMAL(18,2)", "0.12"),  # half to even
        ("amount * 0.0135", "DECIMAL(18,2)", "0.14"),
        ("CAST(amount AS DOUBLE) / 3", "DECIMAL(18,6)", "3.333333"),
        ("CAST(0.125 AS DOUBLE)", "DECIMAL(18,2)", "0.12"),
        ("amount", "INTEGER", "10"),
    ],
)
def test_decimals_are_rounded_to_the_columns_scale(sql: str, kind: str, value: str) -> None:
    enriched = make_enricher(step("expression", outputs={"out": kind}, sql=sql)).apply(make_frame(["10.00"]))
    assert enriched.frame["out"].to_list() == [value]


@pytest.mark.parametrize("value", ["1e40", "inf", "-inf", "nan"])
def test_a_float_beyond_its_column_costs_its_row_alone(value: str) -> None:
    sql = f"CASE WHEN note = 'x' THEN CAST('{value}' AS DOUBLE) ELSE 1.5 END"
    enriched = make_enricher(step("expression", outputs={"out": "DECIMAL(10,2)"}, sql=sql)).apply(
        make_frame(["1", "1"], ["x", "y"])
    )
    assert [(each.row, each.reason) for each in enriched.rejected] == [(0, "range")]
    assert enriched.frame["out"].to_list() == ["1.5"]


AMOUNTS = st.lists(
    st.one_of(st.none(), st.just(HUGE), st.decimals(-1000, 1000, places=2).map(str)), min_size=1, max_size=12
)


@given(AMOUNTS, st.data())
@settings(max_examples=60)
def test_taking_a_row_out_changes_no_other_row(amounts: list[str | None], data: st.DataObject) -> None:
    enricher = make_enricher(cents(), step("filter", sql="amount > 0"), function("dislike", {"length": "INT"}))
    notes = [data.draw(st.sampled_from(["bad", "good", None])) for _ in amounts]
    frame = make_frame(amounts, notes)

    def outcome(enriched: Enriched, numbers: list[int]) -> dict[int, Any]:
        rows = {int(row["id"]): row for row in enriched.frame.to_dicts()}
        return rows | {numbers[each.row]: (each.column, each.reason) for each in enriched.rejected}

    every = list(range(frame.height))
    whole = outcome(enricher.apply(frame), every)
    assert sorted(whole) == every
    out = data.draw(st.sampled_from(every))
    kept = [row for row in every if row != out]
    assert outcome(enricher.apply(frame[kept]), kept) == {row: whole[row] for row in kept}
