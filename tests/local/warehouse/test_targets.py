"""A table with several targets, from its records to the warehouse: each table holds what the winning versions say."""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
import polars as pl
import pytest
import pytest_asyncio

from fastetl.config import Pipeline, parse_config
from fastetl.decode import Decoder
from fastetl.enrich import Router
from fastetl.ingest.csv import write_csv
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.postgres_engine import PostgresEngine
from fastetl.sql import ddl_sql
from tests.local.product import Batch
from tests.local.warehouse_client import Warehouse

pytestmark = pytest.mark.asyncio(loop_scope="module")

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop/stream/2026-01-01T00:00:00.000"
CONFIG = """
bucket = "lake"
ledger_table = "ledger"

[redshift]
workgroup = "w"

[[pipelines]]
name = "shop"
table = "shop"
keys = ["pk"]
target = "public.{prefix}shop"
unrouted = "{unrouted}"

[[pipelines.targets]]
name = "orders"
target = "public.{prefix}orders"
when = [{orders}]
outputs = ["mirror", "log"]
deletes = "{deletes}"
columns = [
    {{ name = "pk", type = "VARCHAR(16)" }},
    {{ name = "amount", type = "BIGINT" }},
    {{ name = "note", path = "name", type = "VARCHAR(32)" }},
]

[[pipelines.targets.enrichments]]
kind = "expression"
sql = "amount * 2"
outputs = [{{ name = "doubled", type = "BIGINT" }}]

[[pipelines.targets]]
name = "lines"
target = "public.{prefix}lines"
rows_of = "lines"
columns = [
    {{ name = "sku", type = "VARCHAR(16)", on_misfit = "null" }},
    {{ name = "count", type = "BIGINT" }},
    {{ name = "scalar", path = "_value", type = "VARCHAR(8)" }},
]

[[pipelines.targets.enrichments]]
kind = "filter"
sql = "count is null or count <> 13"

[[pipelines.targets.enrichments]]
kind = "expression"
sql = "_position * 10"
outputs = [{{ name = "tenfold", type = "BIGINT" }}]

[[pipelines.targets]]
name = "labels"
target = "public.{prefix}labels"
rows_of = "more.labels"
parent = "orders"
columns = [{{ name = "label", path = "_value", type = "VARCHAR(8)" }}]

[[pipelines.targets]]
name = "people"
target = "public.{prefix}people"
when = [{people}]
columns = [
    {{ name = "pk", type = "VARCHAR(16)" }},
    {{ name = "name", type = "VARCHAR(32)" }},
    {{ name = "amount", type = "VARCHAR(8)" }},
]
"""
BY_TYPE = {
    "orders": '{ attribute = "type", equals = "order" }, { attribute = "pk", begins_with = "" }',
    "people": '{ attribute = "type", one_of = ["person", 7] }',
}
# Amounts of others are no numbers, which counts as NULL.
BY_COLUMN = BY_TYPE | {"orders": '{ sql = "amount IS NOT NULL" }'}
BY_KEY = {"orders": '{ attribute = "pk", begins_with = "O#" }', "people": '{ attribute = "pk", begins_with = "P#" }'}


def make_pipeline(prefix: str, by: dict[str, str], *, unrouted: str = "ignore", deletes: str = "forget") -> Pipeline:
    by = {name: conditions.replace(', { attribute = "pk", begins_with = "" }', "") for name, conditions in by.items()}
    (pipeline,) = parse_config(CONFIG.format(prefix=prefix, unrouted=unrouted, deletes=deletes, **by), {}).pipelines
    return pipeline


class Change(msgspec.Struct, frozen=True):
    """A change of the table, and what it is in each target."""

    key: str
    number: int
    kind: Any
    """Of the item: `order`, `person`, 7 or anything else; None of one that is deleted."""
    was: Any = None
    """Of the item before it was deleted."""

    @property
    def item(self) -> dict[str, Any]:
        kind = self.was if self.kind is None else self.kind
        amount = {"N": str(self.number)} if kind == "order" else {"S": f"a{self.number}"}
        typed = {"N": str(kind)} if isinstance(kind, int) else {"S": kind}
        item = {"pk": {"S": self.key}, "type": typed, "name": {"S": f"n{self.number}"}, "amount": amount}
        if kind != "order":
            return item | {"lines": {"S": "no list, which counts in orders alone"}}
        labels = {"M": {name: {"S": f"{name}{self.number}"} for name in self.labels}}
        return item | ({"lines": self.lines} if self.lines else {}) | {"more": {"M": {"labels": labels}}}

    @property
    def lines(self) -> dict[str, Any]:
        """An attribute with some elements, or with none, or none at all."""
        elements: list[dict[str, Any]] = [
            {"M": {"sku": {"S": f"s{self.number}"}, "count": {"N": str(n + 11)}}} for n in range(self.number % 5)
        ]
        if self.number % 7 == 0:
            elements += [{"S": "scalar"}, {"M": {"sku": {"L": []}, "colour": {"S": "red"}}}, {"NULL": True}]
        return {} if self.number % 4 == 3 else {"NULL": True} if self.number % 11 == 10 else {"L": elements}

    @property
    def labels(self) -> list[str]:
        return ["b", "a", '\u00fc"'][: self.number % 4]

    def rows_of_lines(self) -> list[tuple[Any, ...]]:
        """What plain Python makes of the lines: position, sku, count, scalar, and ten times the position."""
        rows = []
        for position, element in enumerate(self.lines.get("L", [])):
            held = element.get("M", {"_value": element})
            count = int(held["count"]["N"]) if "count" in held else None
            if count != 13:
                sku, scalar = (held.get(name, {}).get("S") for name in ("sku", "_value"))
                rows.append((position, sku, count, scalar, 10 * position))
        return rows

    def record(self) -> dict[str, Any]:
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": 1_767_225_600, "Keys": {"pk": {"S": self.key}},
            "SequenceNumber": str(self.number),
        }  # fmt: skip
        change["OldImage" if self.kind is None else "NewImage"] = self.item
        name = "REMOVE" if self.kind is None else "MODIFY"
        return {"eventID": f"e{self.number}", "eventName": name, "eventSourceARN": ARN, "dynamodb": change}


def target_of(kind: Any) -> str:
    return {"order": "orders", "person": "people", 7: "people"}.get(kind, "")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["duckdb", "postgres"])
async def warehouse(request: pytest.FixtureRequest, s3: Any) -> AsyncIterator[Warehouse]:
    engine = DuckDBEngine() if request.param == "duckdb" else PostgresEngine()
    async with WarehouseServer(engine, s3, time.time) as server:
        yield Warehouse(server)


async def run(warehouse: Warehouse, sqls: list[str]) -> None:
    described = await warehouse.batch(*sqls)
    assert described["Status"] == "FINISHED", described


class Table:
    """A table that changes, its pipeline, and what is loaded."""

    def __init__(self, warehouse: Warehouse, s3: Any, pipeline: Pipeline) -> None:
        self.warehouse, self.s3, self.pipeline = warehouse, s3, pipeline
        self.decoders = [Decoder(pipeline), Decoder(pipeline, is_native=False)]
        self.routers = [Router(pipeline), Router(pipeline, is_native=False)]
        assert self.decoders[0].native_missing == ""
        self.loaded: list[Change] = []

    def decode(self, changes: list[Change]) -> Any:
        event = json.dumps({"Records": [change.record() for change in changes]}, separators=(",", ":")).encode()
        native, *others = (
            router.apply(decoder.decode(event).frame) for decoder in self.decoders for router in self.routers
        )
        for reference in others:
            assert native.frame.equals(reference.frame)
            assert (native.misfits, native.ignored) == (reference.misfits, reference.ignored)
        return native

    async def load(self, files: list[list[Change]]) -> None:
        layout = self.pipeline.layout
        frames = [self.decode(changes).frame for changes in files]

        def write(row: Any, file_id: str) -> str:
            frame, number = row
            named = frame[number : number + 1].with_columns(_file=pl.lit(file_id))
            return b"".join(map(bytes, write_csv(named, layout))).decode()

        batch = Batch(self.pipeline, self.s3, [[(frame, n) for n in range(frame.height)] for frame in frames], write)
        await run(self.warehouse, batch.load_sql(1))
        self.loaded += [change for changes in files for change in changes]

    async def check(self) -> None:
        newest = {change.key: change for change in sorted(self.loaded, key=lambda change: change.number)}
        for part in self.pipeline.parts:
            if part.rows_of:
                await self.check_child(part, newest.values())
                continue
            expected = {
                key: self.values(part.name, change)
                for key, change in newest.items()
                if change.kind is not None and target_of(change.kind) == part.name
            }
            assert await self.rows(part, "_current") == expected
            if "log" in part.outputs and not self.pipeline.keys_decide:
                events = await self.warehouse.rows(f"SELECT _event_id, _deleted FROM public.{part.target}_log")
                assert dict(events) == {
                    f"e{change.number}": change.kind is None or target_of(change.kind) != part.name
                    for change in self.loaded
                }
            if part.kept_deletes:
                visible = {
                    key: self.values(part.name, change)
                    for key, change in newest.items()
                    if target_of(change.was if change.kind is None else change.kind) == part.name
                }
                assert await self.rows(part, "_all") == visible

    async def check_child(self, child: Pipeline, newest: Iterable[Change]) -> None:
        """Hold a child table against what plain Python makes of the winning versions."""
        expected: set[tuple[Any, ...]] = set()
        for change in newest:
            stays = change.kind == "order" or (child.kept_deletes and change.kind is None and change.was == "order")
            if not stays:
                continue
            about = (f"S={change.key};", change.kind is None)
            if child.name == "lines":
                expected |= {(*about, *row) for row in change.rows_of_lines()}
            else:
                expected |= {(*about, None, name, f"{name}{change.number}") for name in change.labels}
        names = "_position, sku, count, scalar, tenfold" if child.name == "lines" else "_position, _name, label"
        rows = await self.warehouse.rows(f"SELECT _key, _deleted, {names} FROM public.{child.target}")
        assert len(rows) == len(set(rows))
        assert set(rows) == expected
        current = await self.warehouse.rows(f"SELECT _key FROM public.{child.target}_current")
        assert len(current) == sum(not deleted for _, deleted, *_ in expected)

    def values(self, target: str, change: Change) -> tuple[Any, ...]:
        number = change.number
        return (number, f"n{number}", 2 * number) if target == "orders" else (f"n{number}", f"a{number}", None)

    async def rows(self, part: Pipeline, suffix: str) -> dict[str, tuple[Any, ...]]:
        names = "amount, note, doubled" if part.name == "orders" else "name, amount, NULL"
        rows = await self.warehouse.rows(f"SELECT pk, {names} FROM public.{part.target}{suffix}")
        return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize(("seed", "deletes", "by"), [(0, "forget", BY_TYPE), (1, "keep", BY_COLUMN)])
async def test_items_that_change_kind_are_where_their_newest_version_belongs(
    warehouse: Warehouse, s3: Any, deletes: str, seed: int, by: dict[str, str]
) -> None:
    chance = random.Random(seed)
    table = Table(warehouse, s3, make_pipeline(f"m{seed}{deletes}_", by, deletes=deletes))
    await run(warehouse, [each.sql for each in ddl_sql(table.pipeline)])
    changes, kinds = [], dict.fromkeys("abcde")
    for number in range(1, 41):
        key = chance.choice("abcde")
        was = kinds[key]
        kinds[key] = None if was is not None and chance.random() < 0.25 else chance.choice(["order", "person", 7, "?"])
        changes.append(Change(key, number, kinds[key], was))
    chance.shuffle(changes)
    while changes:
        parts = [[changes.pop() for _ in range(min(len(changes), chance.randint(1, 7)))] for _ in range(2)]
        await table.load([part for part in parts if part])
        await table.check()


async def test_where_keys_decide_no_target_has_rows_of_another(warehouse: Warehouse, s3: Any) -> None:
    table = Table(warehouse, s3, make_pipeline("keys_", BY_KEY))
    assert table.pipeline.keys_decide
    await run(warehouse, [each.sql for each in ddl_sql(table.pipeline)])
    changes = [Change("O#1", 1, "order"), Change("P#1", 2, "person"), Change("O#1", 3, None, "order")]
    await table.load([changes])
    await table.check()
    for part in (part for part in table.pipeline.parts if not part.rows_of):
        keys = await warehouse.rows(f"SELECT _key FROM public.{part.target}")
        assert keys == [(f"S={part.name[0].upper()}#1;",)]


async def test_a_value_counts_only_in_the_target_of_its_item(warehouse: Warehouse, s3: Any) -> None:
    pipeline = make_pipeline("r_", BY_TYPE, unrouted="reject")
    table = Table(warehouse, s3, pipeline)
    bad = Change("a", 1, "person")
    item = {**bad.item, "type": {"S": "order"}}
    record = bad.record()
    record["dynamodb"]["NewImage"] = item
    for decoder in table.decoders:
        changes = decoder.decode({"Records": [record, Change("b", 2, "person").record(), Change("c", 3, "?").record()]})
        assert [(each.column, each.reason) for each in changes.rejects] == [("orders.amount", "type")]
        enriched = table.routers[0].apply(changes.frame)
        assert [(each.row, each.reason) for each in enriched.rejected] == [(1, "unrouted")]
        assert enriched.frame["_key"].to_list() == ["S=b;"]
