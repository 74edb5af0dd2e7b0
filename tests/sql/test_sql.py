"""The SQL is Redshift's, quotes what it is given, and holds to the order that the protocol needs."""

from __future__ import annotations

import re

import pytest
import sqlfluff
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import expressions

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import LoadPolicy, Pipeline, RedshiftTarget
from fastetl.config.storage import Storage
from fastetl.model import Layout
from fastetl.sql.load import Load, load_errors_sql, load_sql, loaded_files_sql, resolve_sql
from fastetl.sql.tables import add_column_sql, ddl_sql
from fastetl.sql.text import Statement, quote_identifier, quote_literal

BATCH = "0123456789abcdef" * 2


def make_pipeline(**changes: object) -> Pipeline:
    known: dict[str, object] = {
        "name": "flights",
        "table": "flights",
        "keys": ("day", "flight"),
        "schema": "public",
        "target": "flights",
        "outputs": frozenset({"mirror", "log"}),
        "columns": (
            Column("day", ("day",), RedshiftType.parse("DATE")),
            Column("flight", ("flight",), RedshiftType.parse("VARCHAR(8)")),
            Column("delay", ("delay",), RedshiftType.parse("DECIMAL(38,10)")),
            Column("weather", ("weather",), RedshiftType.parse("SUPER")),
            Column("raw", ("raw",), RedshiftType.parse("VARBYTE(64)")),
            Column("seen", ("seen",), RedshiftType.parse("TIMESTAMPTZ")),
        ),
        "redshift": RedshiftTarget(grant_to=("analysts",)),
    }
    return Pipeline(**(known | changes))


def make_load(layout: Layout) -> Load:
    return Load(
        BATCH, 3, layout, "s3://b/m/manifest.json", "abc", "s3://b/m/files.csv",
        "2026-01-01 00:00:00.000000", "2026-01-02 00:00:00.000000",
    )  # fmt: skip


def every_statement(pipeline: Pipeline) -> list[Statement]:
    return [
        *ddl_sql(pipeline),
        *load_sql(pipeline, make_load(pipeline.layout)),
        *resolve_sql(pipeline, BATCH, 3, "s3://b/m/files.csv"),
        *load_errors_sql(17),
        *loaded_files_sql(pipeline, "2026-01-01", "2026-01-02"),
    ]


VARIANTS = [
    make_pipeline(),
    make_pipeline(outputs=frozenset({"log"})),
    make_pipeline(
        outputs=frozenset({"mirror"}), redshift=RedshiftTarget(iam_role="arn:aws:iam::123456789012:role/copy")
    ),
    make_pipeline(schema='we"ird', target="Select"),
    make_pipeline(
        mirror=Storage(distkey="flight", sortkey=("day", "flight"), encode={"flight": "ZSTD", "_key": "RAW"}),
        log=Storage(diststyle="EVEN"), deletes="keep",
    ),
]  # fmt: skip


def test_tables_are_stored_as_the_pipeline_says() -> None:
    def tails(**changes: object) -> list[str]:
        sql = {statement.step: statement.sql for statement in ddl_sql(make_pipeline(**changes))}
        return [sql[output][sql[output].index(" DISTSTYLE ") + 1 :] for output in ("mirror", "log")]

    assert tails() == [
        'DISTSTYLE KEY DISTKEY ("_key") SORTKEY ("_key")', 'DISTSTYLE KEY DISTKEY ("_key") SORTKEY ("_changed_at")',
    ]  # fmt: skip
    chosen = Storage(distkey="flight", sortkey=("day", "_key"))
    assert tails(mirror=chosen, log=Storage(diststyle="AUTO", sortkey="AUTO")) == [
        'DISTSTYLE KEY DISTKEY ("flight") SORTKEY ("day", "_key")', "DISTSTYLE AUTO SORTKEY AUTO",
    ]  # fmt: skip
    assert tails(mirror=Storage(diststyle="ALL"))[0] == 'DISTSTYLE ALL SORTKEY ("_key")'
    encoded = make_pipeline(log=Storage(encode={"FLIGHT": "ZSTD", "_key": "RAW"}))
    sql = {statement.step: statement.sql for statement in ddl_sql(encoded)}
    assert '"flight" VARCHAR(8) ENCODE ZSTD,' in sql["log"]
    assert '"_key" VARCHAR(6400) ENCODE RAW COLLATE CASE_SENSITIVE,' in sql["log"]
    assert "ENCODE" not in sql["mirror"]
    assert add_column_sql(encoded, "flights_log", "flight", RedshiftType("DATE")).endswith('"flight" DATE ENCODE ZSTD')
    assert add_column_sql(encoded, "flights", "flight", RedshiftType("DATE")).endswith('"flight" DATE')


@pytest.mark.parametrize("pipeline", VARIANTS)
def test_every_statement_parses_as_redshift(pipeline: Pipeline) -> None:
    for statement in every_statement(pipeline):
        errors = [
            found
            for found in sqlfluff.lint(statement.sql + "\n", dialect="redshift", rules=["LT12"])
            if found["code"] == "PRS"
        ]
        assert not errors, (statement.step, errors, statement.sql)
        parsed = sqlglot.parse_one(statement.sql, dialect="redshift")
        assert statement.step == "lock" or not isinstance(parsed, expressions.Command), statement.sql


@pytest.mark.parametrize("pipeline", VARIANTS)
def test_nothing_that_linters_let_pass_and_redshift_refuses(pipeline: Pipeline) -> None:
    for statement in every_statement(pipeline):
        words = re.sub(r"'[^']*'|\"[^\"]*\"|/\*.*?\*/", "", statement.sql).upper()
        assert not re.search(r"WHEN MATCHED AND|TRUNCATE|QUALIFY|ON CONFLICT|RETURNING|BEGIN|COMMIT|;", words), (
            statement.sql
        )


def test_steps_keep_the_order_of_the_protocol() -> None:
    steps = [statement.step for statement in load_sql(make_pipeline(), make_load(make_pipeline().layout))]
    assert steps == [
        "lock", "bump", "gate_batch", "gate_fence", "stage_files", "copy_files", "gate_files", "stage", "copy", "count",
        "log", "winners", "merge", "drop_winners", "load_files", "loads", "drop_staged", "drop_files",
    ]  # fmt: skip


def test_the_users_sql_runs_between_the_copy_and_the_bookkeeping() -> None:
    pipeline = make_pipeline(load=LoadPolicy(pre_sql=("DELETE FROM x",), post_sql=("INSERT INTO y SELECT 1",)))
    steps = [statement.step for statement in load_sql(pipeline, make_load(pipeline.layout))]
    assert steps.index("count") < steps.index("pre_sql") < steps.index("log")
    assert steps.index("merge") < steps.index("post_sql") < steps.index("load_files")


def test_a_column_that_an_older_file_lacks_becomes_null() -> None:
    pipeline = make_pipeline()
    older = Layout(tuple(pair for pair in pipeline.layout.columns if pair[0] != "delay"), ",", "gzip", r"\N", 1)
    sql = {statement.step: statement.sql for statement in load_sql(pipeline, make_load(older))}
    assert '"delay" = NULL' in sql["merge"]
    assert '"delay"' not in sql["copy"]
    assert '"delay"' not in sql["log"]


def test_a_column_that_the_configuration_no_longer_has_is_staged_and_left_there() -> None:
    pipeline = make_pipeline()
    newer = Layout((*pipeline.layout.columns, ("gone", RedshiftType("BIGINT"))), ",", "gzip", r"\N", 1)
    sql = {statement.step: statement.sql for statement in load_sql(pipeline, make_load(newer))}
    assert '"gone"' in sql["copy"]
    assert all('"gone"' not in sql[step] for step in ("log", "winners", "merge"))


@given(st.text(min_size=1, max_size=30))
@settings(max_examples=200)
def test_an_identifier_stays_one_identifier(name: str) -> None:
    if "\x00" in name:
        with pytest.raises(ValueError, match="NUL"):
            quote_identifier(name)
        return
    quoted = quote_identifier(name)
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "") == name.replace('"', "")


@given(st.text(max_size=30))
@settings(max_examples=200)
def test_a_literal_stays_one_literal(text: str) -> None:
    if "\x00" in text or ("\\" in text and text not in {r"\N", r"\t"}):
        with pytest.raises(ValueError, match="backslash"):
            quote_literal(text)
        return
    quoted = quote_literal(text)
    assert quoted[0] == quoted[-1] == "'"
    assert quoted[1:-1].replace("''", "") == text.replace("'", "")


def test_a_statement_of_many_files_stays_small() -> None:
    longest = max(len(statement.sql) for statement in every_statement(make_pipeline()))
    assert longest < 100_000 // 10
