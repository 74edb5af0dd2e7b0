"""The SQL is Redshift's, quotes what it is given, and holds to the order that the protocol needs."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest
import sqlfluff
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import expressions

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.conditions import Condition
from fastetl.config.model import Grantee, LoadPolicy, Pipeline, RedshiftTarget
from fastetl.config.naming import count_statements
from fastetl.config.storage import Storage
from fastetl.config.targets import split_pipeline
from fastetl.limits import MAX_STATEMENTS
from fastetl.model import Layout
from fastetl.sql import (
    EVERYBODY,
    Load,
    Statement,
    add_column_sql,
    assume_role_sql,
    create_user_sql,
    ddl_sql,
    load_errors_sql,
    load_grants_sql,
    load_privileges,
    load_sql,
    loaded_files_sql,
    privileges_sql,
    quote_identifier,
    quote_literal,
    read_grants_sql,
    replace_view_sql,
    resolve_sql,
    table_columns_sql,
    tombstone_sql,
    user_sql,
    view_columns_sql,
    view_names,
    view_readers_sql,
)

BATCH = "0123456789abcdef" * 2
SINCE = "2025-12-31 00:00:00"
OWNER = "lake/ledger/flights"


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
        "redshift": RedshiftTarget(
            load_user="IAMR:stack-CoordinatorRole", grant_to=(Grantee("role", "analysts"), Grantee("user", "IAM:alice"))
        ),
    }
    return Pipeline(**(known | changes))


def make_load(layout: Layout) -> Load:
    return Load(
        BATCH, 3, layout, "s3://b/m/manifest.json", "abc", "s3://b/m/files.csv",
        "2026-01-01 00:00:00.000000", "2026-01-02 00:00:00.000000", SINCE, OWNER, latest_epoch=2,
        complete_up_to=1_767_225_600_000,
    )  # fmt: skip


def _of_load_user(pipeline: Pipeline) -> list[Statement]:
    return [
        *create_user_sql(pipeline),
        *load_grants_sql(pipeline, load_privileges(pipeline)),
        *user_sql(pipeline),
        *privileges_sql(pipeline, load_privileges(pipeline)),
        *assume_role_sql(pipeline),
    ]


def every_statement(pipeline: Pipeline) -> list[Statement]:
    return [
        *ddl_sql(pipeline),
        *load_sql(pipeline, make_load(pipeline.layout)),
        *load_sql(pipeline, make_load(msgspec.structs.replace(pipeline.layout, null_marker=r"\N", delimiter="\t"))),
        *resolve_sql(pipeline, OWNER, BATCH, 3, SINCE, "s3://b/m/files.csv"),
        *(tombstone_sql(pipeline, OWNER, 2, 1_800_000_000) if "mirror" in pipeline.outputs else ()),
        *load_errors_sql(17, "s3://b/data/flights/", datetime(2026, 1, 31, 23, 59, tzinfo=UTC)),
        *read_grants_sql(pipeline),
        *(_of_load_user(pipeline) if pipeline.redshift.load_user else ()),
        *view_readers_sql(pipeline),
        *table_columns_sql(pipeline),
        *view_columns_sql(pipeline),
        *(
            each
            for name in view_names(pipeline)
            for each in replace_view_sql(pipeline, name, (Grantee("group", "bi"), EVERYBODY))
        ),
        *loaded_files_sql(pipeline, ("a" * 32, "b" * 32), SINCE),
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
        assert statement.step in {"lock", "user"} or not isinstance(parsed, expressions.Command), statement.sql


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
        "lock", "bump", "gate_row", "gate_batch", "gate_fence", "stage_files", "copy_files", "gate_files", "stage",
        "copy", "count", "stamps", "log", "stage_winners", "winners", "merge", "drop_winners", "load_files", "loads",
        "drop_staged", "drop_files",
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
    assert '"delay" DECIMAL(38,10)' in sql["stage_winners"]
    assert '"delay"' not in sql["winners"]
    assert '"delay" = "fastetl_winners"."delay"' in sql["merge"]
    assert '"delay"' not in sql["copy"]
    assert '"delay"' not in sql["log"]


def test_a_column_that_the_configuration_no_longer_has_is_staged_and_left_there() -> None:
    pipeline = make_pipeline()
    newer = Layout((*pipeline.layout.columns, ("gone", RedshiftType("BIGINT"))), ",", "gzip", r"\N", 1)
    sql = {statement.step: statement.sql for statement in load_sql(pipeline, make_load(newer))}
    assert '"gone"' in sql["copy"]
    assert all('"gone"' not in sql[step] for step in ("log", "stage_winners", "winners", "merge"))


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
    if "\x00" in text or ("\\" in text and text != r"\t"):
        with pytest.raises(ValueError, match="backslash"):
            quote_literal(text)
        return
    quoted = quote_literal(text)
    assert quoted[0] == quoted[-1] == "'"
    assert quoted[1:-1].replace("''", "") == text.replace("'", "")


def test_a_statement_of_many_files_stays_small() -> None:
    longest = max(len(statement.sql) for statement in every_statement(make_pipeline()))
    assert longest < 100_000 // 10


def test_no_literal_holds_a_backslash_but_the_tab() -> None:
    for pipeline in VARIANTS:
        for statement in every_statement(pipeline):
            literals = re.findall(r"'((?:[^']|'')*)'", re.sub(r'"(?:[^"]|"")*"|/\*.*?\*/', "", statement.sql))
            assert {text for text in literals if "\\" in text} <= {r"\t"}, statement.sql


@pytest.mark.parametrize(
    ("marker", "option"), [(r"\N", ""), ("<N>", " NULL AS '<N>'"), ("__null__", " NULL AS '__null__'")]
)
def test_copys_own_marker_is_left_out_and_any_other_named(marker: str, option: str) -> None:
    pipeline = make_pipeline()
    layout = msgspec.structs.replace(pipeline.layout, null_marker=marker)
    (copied,) = [each.sql for each in load_sql(pipeline, make_load(layout)) if each.step == "copy"]
    assert f"DELIMITER ',' GZIP{option} TIMEFORMAT" in copied


def test_every_value_that_a_merge_writes_has_its_columns_type() -> None:
    pipeline = make_pipeline()
    older = Layout(tuple(pair for pair in pipeline.layout.columns if pair[0] != "delay"), ",", "gzip", r"\N", 1)
    for statement in (*load_sql(pipeline, make_load(older)), *tombstone_sql(pipeline, OWNER, 2, 1_800_000_000)):
        assert not re.search(r"CREATE TEMP TABLE \S+ .*\bAS SELECT", statement.sql)
        # A NULL is cast, or chosen by a CASE that is.
        bare = re.sub(r"CAST\(NULL AS |CAST\(CASE WHEN \S+ THEN NULL ELSE \S+ END AS |IS NULL", "", statement.sql)
        assert "NULL" not in bare, statement.sql


def test_a_column_keeps_its_type_when_a_deleted_row_forgets_it() -> None:
    (filled,) = [
        each.sql for each in load_sql(make_pipeline(), make_load(make_pipeline().layout)) if each.step == "winners"
    ]
    assert 'CAST(CASE WHEN "ranked"."_deleted" THEN NULL ELSE "ranked"."delay" END AS DECIMAL(38,10))' in filled
    assert 'CAST(CASE WHEN "ranked"."_deleted" THEN NULL ELSE "ranked"."weather" END AS SUPER)' in filled
    assert '"ranked"."flight",' in filled


def test_a_load_is_granted_what_its_statements_do_and_no_more() -> None:
    """Read from the statements themselves: which rights they take on which of the pipeline's tables."""
    pipeline = make_pipeline()
    needed: set[tuple[str, str]] = set()
    for statement in (
        *load_sql(pipeline, make_load(pipeline.layout)),
        *resolve_sql(pipeline, OWNER, BATCH, 3, SINCE, "s3://b/m/files.csv"),
    ):
        tree = sqlglot.parse_one(statement.sql, dialect="redshift")
        target = tree.find(expressions.Table)
        if statement.step == "lock":
            continue
        rights: dict[type, tuple[str, ...]] = {
            expressions.Insert: ("INSERT",), expressions.Update: ("UPDATE",),
            expressions.Merge: ("SELECT", "INSERT", "UPDATE"),
        }  # fmt: skip
        written = rights.get(type(tree), ())
        for table in tree.find_all(expressions.Table):
            if table.db:
                reads = () if table is target and written else ("SELECT",)
                name = f'"{table.db}"."{table.name}"'
                needed |= {(name, right) for right in (*reads, *(written if table is target else ()))}
    # An UPDATE that reads the column it changes needs SELECT as well.
    needed.add(('"public"."flights_gate"', "SELECT"))
    granted = {(each.object, each.right) for each in load_privileges(pipeline) if each.kind == "table"}
    assert granted == needed


def test_readers_are_granted_by_what_they_are() -> None:
    sql = [each.sql.partition("\n")[2] for each in read_grants_sql(make_pipeline())]
    assert sql == [
        'GRANT USAGE ON SCHEMA "public" TO ROLE "analysts"',
        'GRANT SELECT ON "public"."flights_current" TO ROLE "analysts"',
        'GRANT SELECT ON "public"."flights_history" TO ROLE "analysts"',
        'GRANT SELECT ON "public"."flights_complete" TO ROLE "analysts"',
        'GRANT SELECT ON "public"."flights_log" TO ROLE "analysts"',
        'GRANT USAGE ON SCHEMA "public" TO "IAM:alice"',
        'GRANT SELECT ON "public"."flights_current" TO "IAM:alice"',
        'GRANT SELECT ON "public"."flights_history" TO "IAM:alice"',
        'GRANT SELECT ON "public"."flights_complete" TO "IAM:alice"',
        'GRANT SELECT ON "public"."flights_log" TO "IAM:alice"',
    ]


def test_views_are_late_binding_and_nothing_that_is_there_is_dropped() -> None:
    for statement in ddl_sql(make_pipeline()):
        assert "DROP" not in statement.sql
        assert statement.sql.endswith("WITH NO SCHEMA BINDING") == (" VIEW " in statement.sql)


def test_the_names_that_a_configuration_reserves_are_those_of_the_tables() -> None:
    made = {
        sqlglot.parse_one(each.sql, dialect="redshift").find(expressions.Table).name
        for each in ddl_sql(make_pipeline())
        if each.step != "schema"
    }
    assert made == set(make_pipeline().relations)


@pytest.mark.parametrize(("targets", "logs", "children"), [(1, 1, 0), (8, 2, 2), (11, 0, 0)])
def test_the_statements_of_a_load_are_as_many_as_the_configuration_counts(
    targets: int, logs: int, children: int
) -> None:
    parts = [
        make_pipeline(name=f"t{n}", target=f"t{n}", part_of="p", when=(Condition("day", begins_with=str(n)),),
                      outputs=frozenset({"mirror", "log"} if n < logs else {"mirror"}))
        for n in range(targets)
    ]  # fmt: skip
    parts += [
        make_pipeline(name=f"c{n}", target=f"c{n}", part_of="p", rows_of=("lines",), parent="t0", keys=(),
                      outputs=frozenset({"mirror"}))
        for n in range(children)
    ]  # fmt: skip
    pipeline = split_pipeline(make_pipeline(columns=()), parts)
    former = tuple((part.name, ("gone",)) for part in parts)
    load = msgspec.structs.replace(make_load(pipeline.layout), former_columns=former, source="s", source_epoch=2)
    assert len(load_sql(pipeline, load)) == count_statements(pipeline) <= MAX_STATEMENTS
    for statement in (*ddl_sql(pipeline), *load_sql(pipeline, load), *tombstone_sql(pipeline, OWNER, 1, 0)):
        sqlglot.parse_one(statement.sql, dialect="redshift")
