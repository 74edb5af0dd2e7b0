"""A pipeline with several targets, from events to tables: loads, what leaves the configuration, resyncs and reloads."""

from __future__ import annotations

from typing import Any

import msgspec

from fastetl.cli.status import describe
from fastetl.config import parse_config
from fastetl.config.targets import split_pipeline
from fastetl.enrich import make_enricher
from fastetl.ingest import Ingest
from fastetl.operate import Operator, Reconciler, Reloader
from fastetl.operate.catalog import Catalog
from fastetl.operate.schema import compare_all, sum_drift
from fastetl.sql import tombstone_sql
from tests.config.test_targets import GOOD, WITH_LINES
from tests.plant import Plant

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop/stream/2026-01-01T00:00:00.000"


async def make_shop(make_plant: Any, text: str = GOOD) -> Plant:
    """A plant of the configuration's pipeline."""
    (pipeline,) = parse_config(text, {}).pipelines
    fields = ("name", "table", "keys", "target", "outputs", "columns", "parts", "unrouted")
    plant: Plant = await make_plant(**{name: getattr(pipeline, name) for name in fields})
    return plant


def make_record(number: int, key: str, **attributes: Any) -> dict[str, Any]:
    keys = {"pk": {"S": key}, "sk": {"S": "s"}}
    change = {
        "ApproximateCreationDateTime": 1_767_225_600, "Keys": keys, "SequenceNumber": str(number),
        "NewImage": {**keys, **attributes},
    }  # fmt: skip
    if not attributes:
        del change["NewImage"]
    name = "MODIFY" if attributes else "REMOVE"
    return {"eventID": f"e{number}", "eventName": name, "eventSourceARN": ARN, "dynamodb": change}


def order(number: int, key: str, amount: int) -> dict[str, Any]:
    return make_record(number, key, type={"S": "order"}, name={"S": f"n{number}"}, amount={"N": str(amount)})


def person(number: int, key: str) -> dict[str, Any]:
    return make_record(number, key, name={"S": f"n{number}"}, born={"S": "2000-01-01"})


async def load(plant: Plant, *records: dict[str, Any], **changes: Any) -> Any:
    deployment = plant.deployment(**changes)
    outcome = await Ingest(deployment, make_enricher(deployment.pipeline)).ingest({"Records": list(records)})
    await plant.run(plant.new_loader(**changes))
    return outcome


async def table(plant: Plant, name: str, columns: str) -> list[tuple[str, ...]]:
    return await plant.sql(f"SELECT {columns} FROM public.{name} ORDER BY 1")


async def test_an_item_that_changes_kind_moves_and_what_comes_late_brings_nothing_back(make_plant: Any) -> None:
    plant = await make_shop(make_plant)
    await load(plant, order(1, "O#1", 5), person(2, "P#1"), make_record(3, "X#1", other={"S": "x"}))
    assert await table(plant, "orders_current", "pk, name, amount") == [("O#1", "n1", "5")]
    assert await table(plant, "people_current", "pk, called, born") == [("P#1", "n2", "2000-01-01")]
    await load(plant, person(9, "O#1"))
    await load(plant, order(8, "O#1", 7))
    assert await table(plant, "orders_current", "pk") == []
    assert await table(plant, "people_current", "pk, called") == [("O#1", "n9"), ("P#1", "n2")]
    await load(plant, make_record(10, "P#1"))
    assert await table(plant, "people_current", "pk") == [("O#1",)]
    history = await table(plant, "orders_log", "_version, _op, _deleted")
    assert [(op, deleted) for _, op, deleted in history][:2] == [("MODIFY", "False"), ("LEAVE", "True")]


async def test_an_item_of_no_target_is_a_reject_or_left_out(make_plant: Any) -> None:
    plant = await make_shop(make_plant)
    nobody = make_record(3, "X#1", other={"S": "x"})
    outcome = await load(plant, order(1, "O#1", 5), nobody)
    assert outcome.rejects == {("", "unrouted"): 1}
    assert outcome.file.rejects == 1
    await load(plant, order(4, "O#2", 6))
    outcome = await load(plant, make_record(5, "O#2", other={"S": "x"}), unrouted="ignore")
    assert (outcome.rejects, outcome.unrouted) == ({}, {"type=?": 1})
    assert await table(plant, "orders_current", "pk") == [("O#1",)]


async def test_a_column_that_leaves_one_target_is_emptied_there(make_plant: Any) -> None:
    plant = await make_shop(make_plant)
    await load(plant, order(1, "O#1", 5), order(2, "O#2", 6))
    first, second = plant.pipeline.parts
    fewer = msgspec.structs.replace(first, columns=first.columns[:-1])
    changed = split_pipeline(plant.pipeline, [fewer, second])
    changes = {"parts": changed.parts, "columns": changed.columns}
    await load(plant, order(3, "O#1", 7), **changes)
    assert await table(plant, "orders", "pk, name, amount") == [("O#1", "n3", ""), ("O#2", "n2", "6")]
    differences = await compare_all(changed, Catalog(plant.deployment(**changes)))
    assert {(each.table, each.column) for each in differences} == {("orders", "amount"), ("orders_log", "amount")}


async def test_tables_are_compared_target_by_target(make_plant: Any) -> None:
    plant = await make_shop(make_plant)
    assert await compare_all(plant.pipeline, Catalog(plant.deployment())) == ()
    await plant.execute("DROP VIEW public.people_current")
    await plant.execute("ALTER TABLE public.people DROP COLUMN born")
    (found,) = await compare_all(plant.pipeline, Catalog(plant.deployment()))
    assert (found.table, found.column) == ("people", "born")
    assert found.sql.startswith("ALTER TABLE")


async def test_a_resync_deletes_in_every_target(make_plant: Any) -> None:
    plant = await make_shop(make_plant)
    await load(plant, order(1, "O#1", 5), person(2, "P#1"))
    await plant.warehouse.run(
        tombstone_sql(plant.pipeline, plant.deployment().owner, 1, 1_767_225_600), name="resync", token=("resync",)
    )
    assert await table(plant, "orders_current", "pk") == await table(plant, "people_current", "pk") == []
    await load(plant, order(3, "O#1", 5))
    assert await table(plant, "orders_current", "pk") == []


async def test_a_reload_builds_every_target_again(make_plant: Any) -> None:
    plant = await make_shop(make_plant)
    await load(plant, order(1, "O#1", 5), person(2, "P#1"))
    await load(plant, person(3, "O#1"))
    await Reloader(plant.deployment(), ("public", "again")).reload("", "~", lambda _: None)
    assert await table(plant, "again_orders_current", "pk") == []
    assert await table(plant, "again_people_current", "pk, called") == [("O#1", "n3"), ("P#1", "n2")]


EXTRA = GOOD.replace('target = "public.shop"', 'target = "public.shop"\nunrouted = "extra"')


async def test_items_of_no_target_are_kept_whole_and_leave_when_a_target_takes_them(make_plant: Any) -> None:
    plant = await make_shop(make_plant, EXTRA)
    first = make_record(1, "X#1", type={"S": "invoice"}, more={"M": {"b": {"N": "1e2"}, "a": {"NULL": True}}})
    second = make_record(2, "X#2", type={"S": "invoice"}, amount={"N": "5"})
    outcome = await load(plant, first, order(3, "O#1", 5), second)
    assert outcome.unrouted == {"type=invoice": 2}
    assert await table(plant, "shop_current", "pk, sk, _extra") == [
        ("X#1", "s", '{"more":{"a":null,"b":100},"type":"invoice"}'), ("X#2", "s", '{"amount":5,"type":"invoice"}'),
    ]  # fmt: skip
    await load(plant, person(4, "X#1"), make_record(5, "X#2"))
    assert await table(plant, "shop_current", "pk") == []
    assert await table(plant, "people_current", "pk") == [("X#1",)]
    status = await Operator(plant.deployment()).status()
    assert status.unrouted == {"type=invoice": 2}
    assert "  no target    2 changes: type=invoice: 2" in [line for line, _ in describe(status)]
    seen = sum_drift([file async for file in plant.deployment().ledger.files.scan("shop")], unrouted_as_asked=True)
    assert [(each.what, each.count, each.as_asked) for each in seen] == [("unrouted/type=invoice", 2, True)]


async def test_what_cannot_be_part_of_a_document_is_a_reject_of_the_rest(make_plant: Any) -> None:
    plant = await make_shop(make_plant, EXTRA)
    outcome = await load(plant, make_record(1, "X#1", odd={"S": "\x00"}), order(2, "O#1", 5))
    assert list(outcome.rejects) == [("_rest._extra", "nul")]
    assert await table(plant, "orders_current", "pk") == [("O#1",)]


def basket(number: int, key: str, *counts: str, **element: Any) -> dict[str, Any]:
    lines = [{"M": {"pk": {"S": f"l{number}"}, "count": {"N": count}, **element}} for count in counts]
    record = order(number, key, 5)
    record["dynamodb"]["NewImage"]["basket"] = {"M": {"lines": {"L": lines}}}
    return record


async def test_elements_follow_their_item_through_loads_a_resync_and_a_reload(make_plant: Any) -> None:
    plant = await make_shop(make_plant, WITH_LINES)
    outcome = await load(plant, basket(1, "O#1", "1", "2"), basket(2, "O#2", "7"), person(3, "P#1"))
    assert (outcome.file.rows, outcome.file.elements, outcome.file.received) == (6, 3, 3)
    await load(plant, basket(9, "O#1", "8", colour={"S": "red"}), make_record(10, "O#2"))
    await load(plant, basket(5, "O#1", "4", "5"))
    assert await table(plant, "lines", "pk, _position, count") == [("l9", "0", "8")]
    seen = sum_drift([file async for file in plant.deployment().ledger.files.scan("shop")])
    assert "ignored/lines.colour" in {each.what for each in seen}
    assert await compare_all(plant.pipeline, Catalog(plant.deployment())) == ()
    assert (await Reconciler(plant.deployment()).reconcile()).differences == ()
    await Reloader(plant.deployment(), ("public", "again")).reload("", "~", lambda _: None)
    assert await table(plant, "again_lines", "pk, _position, count") == [("l9", "0", "8")]
    await plant.warehouse.run(
        tombstone_sql(plant.pipeline, plant.deployment().owner, 1, 1_767_225_600), name="resync", token=("resync",)
    )
    assert await table(plant, "lines", "pk") == []


async def test_an_element_that_does_not_fit_rejects_its_item_and_no_other(make_plant: Any) -> None:
    plant = await make_shop(make_plant, WITH_LINES)
    outcome = await load(plant, basket(1, "O#1", "1"), basket(2, "O#2", "1", "1.5"), basket(3, "O#3"))
    assert outcome.rejects == {("lines.count", "scale"): 1}
    assert await table(plant, "orders_current", "pk") == [("O#1",), ("O#3",)]
    assert await table(plant, "lines", "pk") == [("l1",)]
    record = order(4, "O#4", 5)
    record["dynamodb"]["NewImage"]["basket"] = {"S": "no map"}
    outcome = await load(plant, record)
    assert [column for column, _ in outcome.rejects] == ["lines"]
