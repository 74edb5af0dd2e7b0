"""`fastetl init`: whatever the sample holds, what it writes passes `fastetl check`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from examples.single_table import DESIGNS

from fastetl.cli.init import init
from fastetl.config import MAX_COLUMNS, Config, parse_config
from fastetl.decode import TargetFinder

NAMES = [
    'q"uote', "back\\slash", "tab\t", "line\nfeed", "\x01", "\x7f", "\x85", "\u2028",
    " ", "  a  ", ".", "a.b", "a..b", "[0]",
    "😀", "İ", "ß", "\u202eltr", "\ufeff", "Status", "status", "STATUS", "_key", "_Version", "_extra", "ctid", "OID",
    "select", "null", "{}", '{"S":"x"}', "#", "'", "''", "$1", "%s", "n" * 65_535,
    "é" * 300, "١٢", "1st", "-", "a-b", "a b",
    "_rank", "Item", "S", "M",
]  # fmt: skip
"""Names of attributes that DynamoDB takes."""


def run_init(folder: Path, items: list[Any], *keys: str, options: Sequence[str] = ()) -> Config:
    sample = folder / "items.jsonl"
    sample.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    out = folder / "made.toml"
    named = [argument for key in keys for argument in ("--keys", key)]
    done = CliRunner().invoke(init, ["--table", "orders", "--items", str(sample), "--out", str(out), *named, *options])
    if done.exception:
        raise done.exception
    return parse_config(out.read_text(encoding="utf-8"), {"FASTETL_REDSHIFT_WORKGROUP": "w"})


def test_every_name_gets_a_column_of_its_own(tmp_path: Path) -> None:
    items = [{"id": {"S": "1"}, **{name: {"S": "x"} for name in NAMES}, "\ud800": {"S": "x"}}]
    (pipeline,) = run_init(tmp_path, items, "id").pipelines
    assert [column.path for column in pipeline.columns] == [("id",), *((name,) for name in NAMES)]


@pytest.mark.parametrize("key", [name for name in NAMES if len(name.encode()) <= 255])
def test_every_name_may_be_a_key(tmp_path: Path, key: str) -> None:
    (pipeline,) = run_init(tmp_path, [{key: {"S": "1"}}], key).pipelines
    assert (pipeline.keys, pipeline.columns[0].path) == ((key,), (key,))


def test_more_attributes_than_a_table_has_columns_leave_out_those_that_are_seen_least(tmp_path: Path) -> None:
    rare, common = ({f"{kind}{n}": {"S": "x"} for n in range(1000)} for kind in ("rare", "common"))
    items = [{"id": {"S": "1"}, **rare, **common}, {"id": {"S": "2"}, **common}]
    (pipeline,) = run_init(tmp_path, items, "id").pipelines
    names = [column.name for column in pipeline.columns]
    assert len(pipeline.layout.columns) == MAX_COLUMNS
    assert names[0] == "id"
    assert {f"common{n}" for n in range(1000)} <= set(names)


@pytest.mark.parametrize(
    ("line", "attributes"),
    [
        ({"Item": {"id": {"S": "1"}, "a": {"S": "x"}}}, {"id", "a"}),
        ({"id": {"S": "1"}, "Item": {"S": "a book"}}, {"id", "Item"}),
        ({"id": {"S": "1"}, "Item": {"M": {"a": {"S": "x"}}}}, {"id", "Item"}),
    ],
)
def test_an_attribute_may_be_called_item(tmp_path: Path, line: dict[str, Any], attributes: set[str]) -> None:
    (pipeline,) = run_init(tmp_path, [line], "id").pipelines
    assert {column.path[0] for column in pipeline.columns} == attributes


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("seed", range(2))
def test_the_items_of_public_designs_are_in_the_right_target(tmp_path: Path, name: str, seed: int) -> None:
    pairs = DESIGNS[name].build_items(seed)
    (pipeline,) = run_init(tmp_path, [item for _, item in pairs], *DESIGNS[name].keys).pipelines
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, item in pairs:
        found[kind][TargetFinder(pipeline).find(item)[0]] += 1
    most = {kind: counts.most_common(1)[0] for kind, counts in found.items()}
    assert len({target for target, _ in most.values()}) == len(most)
    assert sum(times for _, times in most.values()) >= 0.95 * len(pairs)


def test_the_kinds_of_a_single_table_have_targets_and_their_lists_child_tables(tmp_path: Path) -> None:
    design = DESIGNS["electrodb"]
    items = [item for _, item in design.build_items()]
    items += [{**items[0], "__edb_e__": {"S": "line\nfeed"}}]
    (pipeline,) = run_init(tmp_path, items, *design.keys).pipelines
    assert {part.name: part.parent for part in pipeline.parts} == {
        "employee": "", "office": "", "task": "", "task_comments": "task", "line_feed": "", "_rest": "",
    }  # fmt: skip
    (comments,) = pipeline.children("task")
    assert (comments.rows_of, [column.name for column in comments.columns]) == (("comments",), ["user", "body"])
    (task,) = (part for part in pipeline.parts if part.name == "task")
    assert ("comments",) not in {column.path for column in task.columns}


def test_kinds_that_one_transaction_does_not_load_are_told_and_kept(tmp_path: Path) -> None:
    kinds = [f"t{number}" for number in range(14) for _ in range(30 - number)]
    items = [{"id": {"S": str(n)}, "__typename": {"S": kind}} for n, kind in enumerate(kinds)]
    (pipeline,) = run_init(tmp_path, items, "id").pipelines
    assert [part.name for part in pipeline.parts if part.name != "_rest"] == [f"t{kind}" for kind in range(10)]
    assert pipeline.unrouted == "extra"
    assert "#   without one of its own: t13\n" in (tmp_path / "made.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["loads", "gate", "current", "order", "a" * 200, "1", "Ünïcode", "_", "x_log"])
def test_a_kind_of_any_name_has_a_target(tmp_path: Path, kind: str) -> None:
    items = [{"id": {"S": f"{n}"}, "__typename": {"S": (kind, "x")[n % 2]}, "l": {"L": [{"M": {"a": {"S": "b"}}}]}}
             for n in range(20)]  # fmt: skip
    (pipeline,) = run_init(tmp_path, items, "id").pipelines
    assert len(pipeline.parts) == 5
    assert {TargetFinder(pipeline).find(item)[0] for item in items} <= {part.name for part in pipeline.parts}


def test_one_target_may_take_all_kinds(tmp_path: Path) -> None:
    design = DESIGNS["electrodb"]
    items = [item for _, item in design.build_items()]
    (pipeline,) = run_init(tmp_path, items, *design.keys, options=["--one-target"]).pipelines
    assert not pipeline.parts
