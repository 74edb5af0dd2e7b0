"""Several targets of one pipeline: what a configuration may say of them, and how their rows share files."""

from __future__ import annotations

from typing import Any

import pytest

from fastetl.columns import SYSTEM_COLUMNS, RedshiftType
from fastetl.config import Condition, Pipeline, count_statements, name_question, parse_config
from fastetl.config.model import BESIDE
from fastetl.errors import ConfigError
from fastetl.limits import MAX_STATEMENTS

GOOD = """
bucket = "lake"
ledger_table = "ledger"

[redshift]
workgroup = "w"

[[pipelines]]
name = "shop"
table = "shop"
keys = ["pk", "sk"]
target = "public.shop"

[[pipelines.targets]]
name = "order"
target = "public.orders"
when = [{ attribute = "pk", begins_with = "O#" }, { attribute = "type", one_of = ["order", 7, true] }]
outputs = ["mirror", "log"]
columns = [
    { name = "pk", type = "VARCHAR(16)" },
    { name = "sk", type = "VARCHAR(16)" },
    { name = "name", type = "VARCHAR(16)" },
    { name = "amount", type = "BIGINT" },
]

[[pipelines.targets]]
name = "person"
target = "public.people"
when = [{ attribute = "born", present = true }]
columns = [
    { name = "pk", type = "VARCHAR(16)" },
    { name = "sk", type = "VARCHAR(16)" },
    { name = "called", path = "name", type = "VARCHAR(16)" },
    { name = "born", type = "DATE" },
]
"""


LINES = """
[[pipelines.targets]]
name = "lines"
target = "public.lines"
rows_of = "basket.lines"
columns = [{ name = "pk", type = "VARCHAR(16)" }, { name = "count", type = "BIGINT" }]
"""
WITH_LINES = GOOD.replace('[[pipelines.targets]]\nname = "person"', LINES + '\n[[pipelines.targets]]\nname = "person"')


TARGET = """
[[pipelines.targets]]
name = "{name}"
target = "public.{name}"
when = [{{ attribute = "n", equals = "{name}" }}]
outputs = {outputs}
columns = [{{ name = "pk", type = "BIGINT" }}, {{ name = "sk", type = "BIGINT" }}]
"""


def parse(text: str = GOOD) -> Pipeline:
    (pipeline,) = parse_config(text, {}).pipelines
    return pipeline


def test_targets_have_tables_of_their_own_and_one_bookkeeping() -> None:
    pipeline = parse()
    assert [part.name for part in pipeline.targets] == ["order", "person"]
    assert pipeline.relations == tuple(f"shop{each}" for each in BESIDE)
    assert [part.relations for part in pipeline.parts] == [
        ("orders_log", "orders_history", "orders", "orders_current"), ("people", "people_current"),
    ]  # fmt: skip
    assert pipeline.outputs == {"mirror", "log"}
    assert not pipeline.keys_decide
    assert pipeline.parts[0].when[1] == Condition("type", one_of=("order", 7, True))


def test_columns_of_the_same_attribute_and_type_are_decoded_once() -> None:
    names = [column.name for column in parse().columns]
    assert names == [
        "when pk", "when type", "when born", "order.pk", "order.sk", "order.name", "order.amount", "person.born",
    ]  # fmt: skip


def test_columns_of_one_type_share_places_in_files() -> None:
    layout = parse().layout
    assert layout.columns[len(SYSTEM_COLUMNS) :] == (
        ("_target", RedshiftType("VARCHAR", length=64)), ("varchar_16_1", RedshiftType("VARCHAR", length=16)),
        ("varchar_16_2", RedshiftType("VARCHAR", length=16)), ("varchar_16_3", RedshiftType("VARCHAR", length=16)),
        ("bigint_1", RedshiftType("BIGINT")), ("date_1", RedshiftType("DATE")),
    )  # fmt: skip
    assert dict(layout.targets)["person"] == (
        ("pk", "varchar_16_1"), ("sk", "varchar_16_2"), ("called", "varchar_16_3"), ("born", "date_1"),
    )  # fmt: skip


def test_whether_keys_decide() -> None:
    by_key = GOOD.replace(', { attribute = "type", one_of = ["order", 7, true] }', "")
    assert not parse(by_key).keys_decide
    assert parse(by_key.replace('attribute = "born", present = true', 'attribute = "sk", equals = "P"')).keys_decide


def test_a_child_table_belongs_to_the_target_before_it_or_to_the_one_that_it_names() -> None:
    pipeline = parse(WITH_LINES)
    _, lines, _ = pipeline.parts
    assert (lines.parent, lines.rows_of, lines.keys) == ("order", ("basket", "lines"), ())
    assert lines.relations == ("lines", "lines_current")
    assert [name for name, _ in lines.layout.columns[len(SYSTEM_COLUMNS) :]] == ["_position", "_name", "pk", "count"]
    assert pipeline.layout.children == ("lines",)
    assert pipeline.lists == (("basket", "lines"),)
    assert [column.name for column in pipeline.columns] == [column.name for column in parse().columns]
    (named,) = parse(
        WITH_LINES
        + LINES.replace('"lines"', '"more"').replace(".lines", ".more").replace("rows_of", 'parent = "person"\nrows_of')
    ).children("person")
    assert named.name == "more"


def test_a_child_table_follows_the_deletes_of_its_parent() -> None:
    kept = WITH_LINES.replace('outputs = ["mirror", "log"]', 'deletes = "keep"')
    assert parse(kept).parts[1].relations == ("lines", "lines_current", "lines_all")


def test_the_items_that_no_target_takes_are_rows_of_the_pipelines_own_target() -> None:
    pipeline = parse(GOOD.replace('target = "public.shop"', 'target = "public.shop"\nunrouted = "extra"'))
    rest = pipeline.parts[-1]
    assert rest.relations == ("shop", "shop_current")
    assert [name for name, _ in rest.layout.columns[len(SYSTEM_COLUMNS) :]] == ["pk", "sk", "_extra"]
    assert pipeline.type_attribute == ("type", False)


def test_the_last_target_may_take_all() -> None:
    pipeline = parse(GOOD.replace('when = [{ attribute = "born", present = true }]', "when = []"))
    assert pipeline.parts[1].when == ()
    assert pipeline.relations[0] == "shop_gate"


@pytest.mark.parametrize(
    ("mirrors", "logs", "children", "fits"),
    [(11, 0, 0, True), (11, 1, 0, False), (12, 0, 0, False), (8, 6, 0, True), (8, 2, 2, True), (8, 3, 2, False)],
)
def test_how_many_targets_fit_one_transaction(mirrors: int, logs: int, children: int, *, fits: bool) -> None:
    targets = [
        TARGET.format(name=f"t{n}", outputs='["mirror", "log"]' if n < logs else '["mirror"]') for n in range(mirrors)
    ]
    targets += [LINES.replace('"lines"', f'"c{n}"').replace(".lines", f".c{n}") for n in range(children)]
    text = GOOD[: GOOD.index("[[pipelines.targets]]")] + "".join(targets)
    if fits:
        assert count_statements(parse(text)) <= MAX_STATEMENTS
        return
    with pytest.raises(ConfigError, match="one transaction of the Data API has at most 40"):
        parse(text)


@pytest.mark.parametrize(
    ("condition", "json", "holds"),
    [
        (Condition("a", begins_with="O#"), '"O#1"', True),
        (Condition("a", begins_with='say "'), '"say \\"so\\""', True),
        (Condition("a", begins_with="O#"), '"P#1"', False),
        (Condition("a", begins_with="1"), "12", False),
        (Condition("a", begins_with="O#"), None, False),
        (Condition("a", one_of=("x", 7, True)), "7", True),
        (Condition("a", one_of=("x", 7, True)), "true", True),
        (Condition("a", one_of=("7",)), "7", False),
        (Condition("a", one_of=("x",)), '"xy"', False),
        (Condition("a", one_of=("x",)), None, False),
        (Condition("a", like="O#*#I#*"), '"O#1#I#2"', True),
        (Condition("a", like="O#*#I#*"), '"O#1"', False),
        (Condition("a", like="*"), '""', True),
        (Condition("a", like="*"), "1", False),
        (Condition("a", like="*.x"), '"a-x"', False),
        (Condition("a", present=True), "[]", True),
        (Condition("a", present=True), None, False),
        (Condition("a", present=False), None, True),
    ],
)
def test_conditions(condition: Condition, json: str | None, holds: bool) -> None:
    assert condition.holds({name_question("a"): json}) is holds


BAD = [
    ('name = "person"', 'name = "order"', "pipelines[0].targets[1].name: 'order' is at targets[0] already"),
    ('name = "person"', 'name = "per son"', "pipelines[0].targets[1].name: 'per son' is no name of a target"),
    ('when = [{ attribute = "born", present = true }]\n', "", "pipelines[0].targets[1].when: missing"),
    (", present = true", "", "pipelines[0].targets[1].when[0]: say exactly one of"),
    ("present = true", 'present = true, equals = "x"', "pipelines[0].targets[1].when[0]: say exactly one of"),
    (", present = true", ', sql = "born IS NULL"', "pipelines[0].targets[1].when[0]: sql asks columns"),
    ('attribute = "born", present = true', 'sql = "died IS NULL"',
     "pipelines[0].targets[1].when[0]: sql names no column of this target"),
    ('attribute = "born", present = true', "present = true", "pipelines[0].targets[1].when[0]: the attribute has no"),
    ('begins_with = "O#"', 'begin_with = "O#"', "pipelines[0].targets[0].when[0].begin_with: unknown setting"),
    ('target = "public.people"', 'target = "public.orders"', "public.orders is a table or view of pipelines[0]"),
    ('target = "public.people"', 'target = "public.shop_gate"', "public.shop_gate is a table or view of pipelines[0]"),
    ('    { name = "born", type = "DATE" },', '    { name = "BORN", type = "DATE" }, { name = "born", type = "DATE" },',
     "pipelines[0].targets[1].columns[4].name: 'born' cannot be told from 'BORN'"),
    ('target = "public.shop"', 'target = "public.shop"\nunrouted = "extra"\nundeclared = "reject"',
     "pipelines[0].undeclared: it rejects what unrouted is to keep"),
    ('target = "public.people"', 'target = "public.p"\nunrouted = "extra"', "targets[1].unrouted: unknown setting"),
    ('target = "public.shop"', 'target = "public.shop"\nundeclared = "extra"', "pipelines[0].undeclared: with several"),
    ('target = "public.shop"', 'target = "public.shop"\noutputs = ["log"]', "pipelines[0].outputs: unknown setting"),
]  # fmt: skip


BAD_CHILDREN = [
    ('rows_of = "basket.lines"', 'rows_of = "basket.lines"\nparent = "person"',
     "pipelines[0].targets[1].parent: 'person' is no target before this one"),
    ('rows_of = "basket.lines"', 'rows_of = "basket.lines"\nwhen = []', "targets[1].when: unknown setting"),
    ('rows_of = "basket.lines"', 'rows_of = "basket.lines"\noutputs = ["log"]',
     "pipelines[0].targets[1].outputs: unknown setting"),
    ('rows_of = "basket.lines"', 'rows_of = ["basket", 0]', "pipelines[0].targets[1].rows_of: a path of names"),
    ('outputs = ["mirror", "log"]', 'outputs = ["log"]', "pipelines[0].targets[1].parent: 'order' has no mirror"),
    ('{ name = "count"', '{ name = "_Position"', "pipelines[0].targets[1].columns[1].name: '_Position'"),
    ('\n[[pipelines.targets]]\nname = "person"', LINES.replace('"lines"', '"parts"').replace(".lines", ".parts")
     + 'parent = "lines"\n[[pipelines.targets]]\nname = "person"',
     "children have no children. Keep what is in an element in a column of type SUPER"),
    (GOOD[GOOD.index("when = [") : GOOD.index("\noutputs")], "when = []",
     "pipelines[0].targets[2].when: no item comes so far: targets[0] has when = []"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "instead", "told"), BAD_CHILDREN)
def test_a_mistake_in_a_child_table_is_told_with_its_place(said: str, instead: str, told: str) -> None:
    assert said in WITH_LINES
    with pytest.raises(ConfigError) as error:
        parse(WITH_LINES.replace(said, instead, 1))
    assert told in str(error.value)


@pytest.mark.parametrize(("said", "instead", "told"), BAD)
def test_a_mistake_is_told_with_its_place(said: str, instead: str, told: Any) -> None:
    assert said in GOOD
    with pytest.raises(ConfigError) as error:
        parse(GOOD.replace(said, instead, 1))
    assert told in str(error.value)


def test_files_have_no_more_columns_than_the_table_that_they_are_copied_into() -> None:
    def write(kind: str) -> str:
        return "".join(f'    {{ name = "c{n}", type = "{kind}" }},\n' for n in range(900))

    text = GOOD.replace('    { name = "born", type = "DATE" },\n', write("DATE"))
    assert parse(text)
    first = GOOD.index("columns = [\n") + len("columns = [\n")
    with pytest.raises(ConfigError, match=r"pipelines\[0\].targets: files would have 1,8\d\d columns"):
        parse(text[:first] + write("BIGINT") + text[first:])
