"""What would not fit the Data API is found before anything is deployed."""

from __future__ import annotations

import msgspec
import pytest
import sqlglot

from fastetl.columns.types import Column, RedshiftType
from fastetl.config import parse_config
from fastetl.config.model import Config, LoadPolicy, Output
from fastetl.config.targets import split_pipeline
from fastetl.limits import MAX_SQL_BYTES, MAX_STATEMENTS, MAX_TABLE_COLUMNS
from fastetl.sql import (
    Load,
    Statement,
    compare_sql,
    ddl_sql,
    find_size_problems,
    list_compared,
    load_sql,
    repair_sql,
    tombstone_sql,
)
from tests.config.test_targets import WITH_LINES
from tests.sql.test_sql import make_pipeline

ID = "0" * 32


def wide(columns: int, *outputs: Output, name_bytes: int = 40) -> Config:
    """A configuration with columns of long names, the last pipeline's of which the first has one only."""
    named = [f"column_{n:04d}".ljust(name_bytes, "x") for n in range(columns)]
    many = tuple(Column(name, (name,), RedshiftType.parse("DECIMAL(38,10)")) for name in named)
    one = make_pipeline(outputs=frozenset(outputs))
    pipelines = (msgspec.structs.replace(one, name="narrow"), msgspec.structs.replace(one, columns=many))
    return Config("bucket-" + "b" * 56, "ledger", pipelines, "a/prefix/")


def longest(config: Config) -> int:
    """The longest statement of any pipeline, of those that deploying, loading, a resync and a comparison send."""
    sizes = []
    for pipeline in config.pipelines:
        url = f"s3://{config.bucket}/{config.prefix}manifests/{pipeline.name}/{ID}"
        moment = "2026-01-01 00:00:00.000000"
        load = Load(ID, 1, pipeline.layout, url, ID, url, moment, moment, moment, "o")
        every: list[Statement] = [*ddl_sql(pipeline), *load_sql(pipeline, load)]
        if "mirror" in pipeline.outputs:
            every += tombstone_sql(pipeline, "o", 1, 0)
            every += compare_sql(pipeline, (pipeline,), pipeline.layout, url, below=1)
            every += repair_sql(pipeline, "o", pipeline.layout, url, ())
        sizes += [len(each.sql.encode()) for each in every]
    return max(sizes)


@pytest.mark.parametrize("outputs", [("mirror",), ("log",), ("mirror", "log")])
def test_a_pipeline_is_refused_exactly_where_one_of_its_statements_is_too_long(outputs: tuple[Output, ...]) -> None:
    fits, too_many = 10, 1600
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (fits, middle) if find_size_problems(wide(middle, *outputs)) else (middle, too_many)
    # The addresses that are put in have other lengths here, by some dozens of bytes.
    assert longest(wide(fits, *outputs)) <= MAX_SQL_BYTES
    assert longest(wide(too_many + 2, *outputs)) > MAX_SQL_BYTES
    (problem,) = find_size_problems(wide(too_many, *outputs))
    assert problem.place == "pipelines[1].columns"
    assert f"and the Data API takes {MAX_SQL_BYTES:,}" in problem.message
    assert problem.remedy.startswith(f"Shorten the names of its {len(wide(too_many).pipelines[1].layout.columns):,} ")


def test_a_statement_of_the_users_own_is_named_with_its_place() -> None:
    config = wide(1, "mirror")
    load = LoadPolicy(pre_sql=("SELECT 1",), post_sql=("SELECT 2", f"SELECT '{'é' * 50_000}'"))
    pipelines = (config.pipelines[0], msgspec.structs.replace(config.pipelines[1], load=load))
    (problem,) = find_size_problems(msgspec.structs.replace(config, pipelines=pipelines))
    assert problem.place == "pipelines[1].load.post_sql[1]"
    assert "flights: it has 100,009 bytes" in problem.message


def test_a_comparison_of_any_table_fits() -> None:
    pipeline = wide(MAX_TABLE_COLUMNS, "mirror", name_bytes=127).pipelines[1]
    (parts,) = list_compared(pipeline)
    sql = compare_sql(pipeline, parts, pipeline.layout, "s3://bucket/manifest", below=1)
    compared = [each for each in sql if each.step.startswith("compare")]
    assert max(len(each.sql.encode()) for each in compared) < MAX_SQL_BYTES
    assert len(sql) <= MAX_STATEMENTS


def test_what_everybody_writes_fits() -> None:
    assert find_size_problems(wide(300, "mirror", "log", name_bytes=20)) == []


def test_of_several_targets_and_child_tables_every_statement_is_looked_at() -> None:
    assert find_size_problems(parse_config(WITH_LINES, {})) == []
    (pipeline,) = parse_config(WITH_LINES, {}).pipelines
    (parts,) = list_compared(pipeline)
    compared = compare_sql(pipeline, parts, pipeline.layout, "s3://bucket/manifest", below=None)
    repaired = repair_sql(pipeline, "o", pipeline.layout, "s3://bucket/manifest", (("order", ("gone",)),))
    assert {each.step.partition("@")[2] for each in compared} == {"", "order", "lines", "person"}
    assert not [each for each in repaired if each.step == "log"]
    for each in (*compared, *repaired):
        sqlglot.parse_one(each.sql, dialect="redshift")


def test_what_one_transaction_does_not_compare_another_does() -> None:
    parts = wide(MAX_TABLE_COLUMNS, "mirror", name_bytes=8).pipelines[1]
    several = split_pipeline(parts, [msgspec.structs.replace(parts, name=f"t{n}", part_of="p") for n in range(3)])
    groups = list_compared(several)
    assert [[part.name for part in group] for group in groups] == [["t0"], ["t1"], ["t2"]]
    for group in groups:
        sql = compare_sql(several, group, several.layout, "s3://bucket/manifest", below=1)
        assert len(sql) <= MAX_STATEMENTS
