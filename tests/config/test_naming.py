"""Names that Redshift could not tell apart, or does not take, are refused with their place and a remedy."""

from __future__ import annotations

import itertools
import string
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.enrichments import Expression
from fastetl.config.model import TEMPORARY_TABLES, Enrichment, Pipeline, RedshiftTarget
from fastetl.config.naming import MAX_COLUMNS, find_naming_problems
from fastetl.config.reading import parse_config
from fastetl.errors import ConfigError
from fastetl.sql.load import load_sql
from fastetl.sql.staging import Load
from fastetl.sql.tables import ddl_sql

TEXT = RedshiftType.parse("VARCHAR(20)")


def column(name: str, *path: str) -> Column:
    return Column(name, path or (name,), TEXT)


def pipeline(*columns: str, **changes: Any) -> Pipeline:
    known: dict[str, Any] = {"name": "a", "table": "a", "keys": ("id",), "schema": "public", "target": "a"}
    return Pipeline(columns=(column("id"), *map(column, columns)), **(known | changes))


def step(*outputs: str, inputs: tuple[str, ...] = ()) -> Enrichment:
    return Enrichment(Expression("1"), inputs=inputs, outputs=tuple((name, TEXT) for name in outputs))


def told(*pipelines: Pipeline) -> list[str]:
    return [f"{problem.place}: {problem.message}" for problem in find_naming_problems(pipelines) if problem.remedy]


@pytest.mark.parametrize(
    ("problem", "one"),
    [
        ("columns[2].name: 'NAME' cannot be told from 'name'", pipeline("name", "NAME")),
        ("columns[1].name: 'ID' cannot be told from 'id'", pipeline("ID")),
        ("columns[1].name: a name is empty", pipeline("")),
        ("columns[1].name: 'OID' is a column that Redshift has in every table", pipeline("OID")),
        ("columns[1].name: 'xmin' is a column that Redshift has", pipeline("xmin")),
        ("columns[1].name: 'a\\tb' holds a character", pipeline("a\tb")),
        ("columns[1].name: '_mine': names with _ are fastetl's", pipeline("_mine")),
        ("columns[1].name: '_KEY' cannot be told from fastetl's own column '_key'", pipeline("_KEY")),
        ("columns[1].name: '_rank' cannot be told from fastetl's own", pipeline("_rank")),
        ("extra_column: 'name' cannot be told from 'name'", pipeline("name", undeclared="extra", extra_column="name")),
        ("extra_column: 'Name' cannot be told from 'name'", pipeline("name", undeclared="extra", extra_column="Name")),
        ("extra_column: '_Key' cannot be told from fastetl's", pipeline(undeclared="extra", extra_column="_Key")),
        ("extra_column: '_valid_to' cannot be told", pipeline(undeclared="extra", extra_column="_valid_to")),
        ("extra_column: 'ctid' is a column that Redshift", pipeline(undeclared="extra", extra_column="ctid")),
        (
            "enrichments[0].outputs[0].name: 'NAME' cannot be told from 'name'",
            pipeline("name", enrichments=(step("NAME"),)),
        ),
        ("enrichments[0].outputs[0].name: '_Version' cannot be told", pipeline(enrichments=(step("_Version"),))),
        ("enrichments[0].outputs[0].name: '_version' cannot be told", pipeline(enrichments=(step("_version"),))),
        ("enrichments[0].outputs[0].name: '_new': names with _", pipeline(enrichments=(step("_new"),))),
        ("enrichments[0].outputs[0].name: 'id' is of the table's key", pipeline(enrichments=(step("id"),))),
        ("enrichments[0].outputs[0].name: a name is empty", pipeline(enrichments=(step(""),))),
        ("enrichments[0].outputs[1].name: 'B' is an output of this", pipeline(enrichments=(step("b", "B"),))),
        ("enrichments[1].outputs[0].name: 'B' cannot be told", pipeline(enrichments=(step("b"), step("B")))),
        (
            "enrichments[0].outputs[0].name: '_EXTRA' cannot be told from '_extra'",
            pipeline(undeclared="extra", enrichments=(step("_EXTRA"),)),
        ),
        ("enrichments[0].inputs: no column 'nmae' is there", pipeline(enrichments=(step("b", inputs=("nmae",)),))),
        ("enrichments[0].inputs: no column '_extra' is there", pipeline(enrichments=(step("b", inputs=("_extra",)),))),
        ("keys: a table has one or two key attributes", pipeline(keys=("id", "id"))),
        ("keys: a table has one or two key attributes", pipeline(keys=())),
        ("keys: the name of a key attribute is empty", pipeline(keys=("",))),
        ("keys: no column carries the key attribute 'tenant.id'", pipeline(keys=("tenant.id",))),
        ("target: 'fastetl_winners' is a temporary table", pipeline(target="fastetl_winners")),
        ("columns: 1,599 columns", pipeline(*(f"c{n}" for n in range(MAX_COLUMNS - 7)))),
    ],
)
def test_names_of_one_pipeline(problem: str, one: Pipeline) -> None:
    assert [each for each in told(one) if each.startswith(f"pipelines[0].{problem}")], told(one)


@pytest.mark.parametrize(
    "fine",
    [
        pipeline("É", "é", 'q"uote', "Order Total", "user", "timestamp", "日本語"),
        pipeline("name", enrichments=(step("name"), step("b", inputs=("name",)), step("c", inputs=("b",)))),
        pipeline(undeclared="extra", enrichments=(step("b", inputs=("_extra",)), step("_extra"))),
        pipeline(extra_column="id"),  # of no use, and not used
        pipeline(*(f"c{n}" for n in range(MAX_COLUMNS - 8))),
    ],
)
def test_what_differs_is_fine(fine: Pipeline) -> None:
    assert told(fine) == []


POOL = [
    "name", "NAME", "Name", "name ", " name", "n.ame", 'na"me', 'NA"ME', "é", "É", "e\u0301", "İ", "i", "I", "\u212a",
    "k", "K", "ß", "ẞ", "SS", "ss", "ﬁ", "fi", "日本", "😀", "select", "SELECT", "null", "1", "-", "id_", "ID_",
    "_extra", "_EXTRA",
]  # fmt: skip
"""Names, some of which Redshift cannot tell apart."""

PLACES: dict[str, Any] = {
    "two columns": pipeline,
    "a column and the extra column": lambda one, other: pipeline(one, undeclared="extra", extra_column=other),
    "a column and an output": lambda one, other: pipeline(one, enrichments=(step(other),)),
    "the extra column and an output": lambda one, other: pipeline(
        undeclared="extra", extra_column=one, enrichments=(step(other),)
    ),
    "two outputs": lambda one, other: pipeline(enrichments=(step(one, other),)),
    "outputs of two steps": lambda one, other: pipeline(enrichments=(step(one), step(other))),
}
CHANGED_IN_PLACE = {"a column and an output", "the extra column and an output", "outputs of two steps"}


@pytest.mark.parametrize("place", PLACES)
def test_every_pair_of_names_is_told_apart_exactly_as_redshift_does(place: str) -> None:
    for one, other in itertools.product(POOL, POOL):
        if {one[0], other[0]} & {"_"} and place != "the extra column and an output":
            continue  # refused for themselves
        if place == "the extra column and an output" and (other[0] == "_" and one[0] != "_"):
            continue
        same = one.translate(ASCII_LOWER) == other.translate(ASCII_LOWER)
        expected = same and not (place in CHANGED_IN_PLACE and one == other)
        assert bool(told(PLACES[place](one, other))) is expected, (place, one, other)


ASCII_LOWER = {ord(letter): letter.lower() for letter in string.ascii_uppercase}

BOTH = frozenset({"mirror", "log"})


@pytest.mark.parametrize(
    ("one", "other", "collides"),
    [
        ({"target": "orders"}, {"target": "orders"}, True),
        ({"target": "orders"}, {"target": "ORDERS"}, True),
        ({"target": "orders"}, {"target": "orders", "schema": "PUBLIC"}, True),
        ({"target": "orders"}, {"target": "orders", "schema": "sales"}, False),
        ({"target": "orders", "outputs": BOTH}, {"target": "orders_log"}, True),
        ({"target": "orders"}, {"target": "orders_log"}, False),
        ({"target": "orders"}, {"target": "orders_current"}, True),
        ({"target": "orders"}, {"target": "orders_Gate"}, True),
        ({"target": "orders", "outputs": frozenset({"log"})}, {"target": "orders_history"}, True),
        ({"target": "orders_log"}, {"target": "orders", "outputs": BOTH}, True),
        ({"target": "orders"}, {"target": "orders", "redshift": RedshiftTarget(database="shop")}, False),
        ({"target": "orders"}, {"target": "orders", "redshift": RedshiftTarget(database="DEV")}, True),
        ({"target": "orders"}, {"target": "orders", "redshift": RedshiftTarget(cluster="c")}, False),
        ({"target": "a"}, {"target": "a_load_files"}, True),
        ({"target": "a"}, {"target": "A_FENCES"}, True),
        ({"target": "a"}, {"target": "a_resyncs"}, True),
        ({"target": "a", "outputs": BOTH}, {"target": "a_log_gate"}, False),
        ({"target": "a_log", "outputs": BOTH}, {"target": "a_log_log"}, True),
        ({"target": "a_current"}, {"target": "a", "outputs": frozenset({"log"})}, False),
        ({"target": "É"}, {"target": "é"}, False),
    ],
)
def test_tables_of_two_pipelines(one: dict[str, Any], other: dict[str, Any], collides: bool) -> None:
    second = {"name": "b", "table": "b"} | other
    found = told(pipeline(**one), pipeline(**second))
    assert bool(found) is collides, found
    assert all(each.startswith("pipelines[1].target: ") and "of pipelines[0] already" in each for each in found)


def test_the_names_that_are_kept_apart_are_those_of_the_sql() -> None:
    one = pipeline("name", outputs=BOTH)
    created = [
        each.this.find(exp.Table).name
        for statement in ddl_sql(one)
        for each in [sqlglot.parse_one(statement.sql, read="redshift")]
        if isinstance(each, exp.Create) and each.args["kind"] in {"TABLE", "VIEW"}
    ]
    assert sorted(created) == sorted(one.relations)
    moment = "2026-01-01"
    load = Load("batch", 1, one.layout, "s3://b/m", "checksum", "s3://b/f", moment, moment, moment, "owner")
    temporary = {statement.sql.split('TEMP TABLE "')[1].split('"')[0] for statement in load_sql(one, load)
                 if "TEMP TABLE" in statement.sql}  # fmt: skip
    assert temporary == set(TEMPORARY_TABLES)


CONFIG = """
bucket = "bucket"
ledger_table = "ledger"
redshift = {{ workgroup = "w" }}
[[pipelines]]
name = "a"
table = "tbl"
keys = {keys}
target = "{target}"
outputs = {outputs}
columns = [{columns}]
"""


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"target": "dev.public.orders"}, "pipelines[0].target: no schema and table. Write it like"),
        ({"target": "orders"}, "pipelines[0].target: no schema and table. Write it like"),
        ({"target": "pg_temp.orders"}, "pipelines[0].target: 'pg_temp' is a schema of Redshift's own"),
        ({"target": "public.#orders"}, "pipelines[0].target: '#orders' begins with #"),
        ({"target": "public." + "x" * 120}, "pipelines[0].target: 'xxx"),
        ({"outputs": "[]"}, "pipelines[0].outputs: nothing would be loaded"),
        (
            {"keys": '["tenant.id"]', "columns": '{ name = "t", path = "tenant.id", type = "DATE" }'},
            "no column carries the key attribute 'tenant.id'. Add a column with path = [\"tenant.id\"]",
        ),
        ({"keys": "['a\"b']"}, 'Add a column with path = ["a\\"b"]'),
    ],
)
def test_the_same_in_a_file(changes: dict[str, str], problem: str) -> None:
    good = {
        "keys": '["id"]', "target": "public.a", "outputs": '["mirror"]',
        "columns": '{ name = "id", type = "VARCHAR(9)" }',
    }  # fmt: skip
    assert parse_config(CONFIG.format(**good), {})
    with pytest.raises(ConfigError) as caught:
        parse_config(CONFIG.format(**(good | changes)), {})
    assert problem in str(caught.value)


def test_the_advice_for_a_dotted_key_is_right() -> None:
    columns = '{ name = "tenant_id", path = ["tenant.id"], type = "VARCHAR(20)" }'
    text = CONFIG.format(keys='["tenant.id"]', target="public.a", outputs='["mirror"]', columns=columns)
    assert parse_config(text, {}).pipelines[0].columns[0].path == ("tenant.id",)
