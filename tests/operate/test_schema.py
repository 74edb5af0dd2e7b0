"""Drift, from what ingest sees to what mends it: a type that changes, an attribute that appears, an added column."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fastetl.aws.source import SourceTable
from fastetl.columns.types import Column, RedshiftType
from fastetl.config import parse_config
from fastetl.config.storage import Storage
from fastetl.ingest.ingester import Ingest
from fastetl.operate import Catalog
from fastetl.operate.schema import SchemaDiff, SchemaReader, Seen, compare, propose_for, sum_drift
from tests.config.test_targets import WITH_LINES
from tests.conftest import Aws
from tests.ingest.test_ingester import Unchanged
from tests.plant import LABEL, create_tables, make_pipeline

COLOUR = Column("colour", ("colour",), RedshiftType.parse("VARCHAR(16)"))


def event_of(first: int, *items: dict[str, Any]) -> dict[str, Any]:
    records = [
        {
            "eventID": f"e{number}",
            "eventName": "INSERT",
            "eventSourceARN": f"arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/{LABEL}",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_767_225_600 + number,
                "Keys": {"id": {"N": str(number)}},
                "NewImage": {"id": {"N": str(number)}, **item},
                "SequenceNumber": str(number),
            },
        }
        for number, item in enumerate(items, start=first)
    ]
    return {"Records": records}


async def test_a_column_is_added_while_files_of_both_lists_wait(make_plant: Any, aws: Aws) -> None:
    older = make_pipeline().columns
    note = msgspec.structs.replace(older[2], on_misfit="null")
    plant = await make_plant(columns=(*older[:2], note))
    newer = msgspec.structs.replace(plant.pipeline, columns=(*plant.pipeline.columns, COLOUR))

    def ingest(pipeline: Any) -> Ingest:
        return Ingest(plant.deployment(columns=pipeline.columns), Unchanged())

    await ingest(plant.pipeline).ingest(
        event_of(
            1,
            {"amount": {"N": "1.5"}},
            {"amount": {"S": "two"}},  # its type changed
            {"note": {"S": "n" * 21}, "colour": {"S": "red"}},  # too long; and an attribute that appears
            {"note": {"S": "ok"}, "colour": {"S": "blue"}},
        )
    )
    await ingest(newer).ingest(event_of(5, {"amount": {"N": "5"}, "colour": {"S": "green"}}))

    # What is seen, and what mends it.
    dynamodb = await aws.client("dynamodb")
    await dynamodb.create_table(
        TableName="orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    await dynamodb.put_item(TableName="orders", Item={"id": {"N": "3"}, "colour": {"S": "red"}})
    plant.source = SourceTable(dynamodb, "orders")
    undeclared = await SchemaReader(plant.deployment()).diff(hours=1)
    assert [str(each.column.type) for each in undeclared.proposals] == ["VARCHAR(16)"]
    reader = SchemaReader(plant.deployment(columns=newer.columns))
    found = await reader.diff(hours=1)
    await dynamodb.delete_table(TableName="orders")
    assert [(each.table, each.column, each.sql) for each in found.differences] == [
        ("orders", "colour", 'ALTER TABLE "public"."orders" ADD COLUMN "colour" VARCHAR(16)'),
        ("orders_log", "colour", 'ALTER TABLE "public"."orders_log" ADD COLUMN "colour" VARCHAR(16)'),
    ]
    assert set(found.seen) == {
        Seen("ignored/colour", 2), Seen("misfit/note/too_long", 1), Seen("reject/amount/type", 1)
    }  # fmt: skip
    assert (found.proposals, found.needs_mending) == ((), True)

    # Loading waits until the tables are mended, and then goes on by itself.
    loader = plant.new_loader(columns=newer.columns)
    await plant.run(loader, until=lambda step: step.action == "retry")
    assert "colour" in (await plant.ledger.batches.head("orders")).paused
    plant.config = msgspec.structs.replace(plant.config, pipelines=(newer,))
    await create_tables(plant)
    plant.now += 4000
    loaded = []

    def is_loaded(step: Any) -> bool:
        if step.action == "loaded":
            loaded.append(step.batch)
        return bool(step.action == "loaded")

    await plant.run(loader, until=is_loaded)
    await plant.run(loader, until=is_loaded)
    rows = await plant.sql('SELECT "id", "amount", "note", "colour" FROM "public"."orders_current" ORDER BY "id"')
    assert rows == [
        ("1", "1.5000000000", "", ""), ("3", "", "", ""), ("4", "", "ok", ""), ("5", "5.0000000000", "", "green"),
    ]  # fmt: skip
    assert [(await loader.columns_left_null(batch), batch.rows) for batch in loaded] == [(["colour"], 3), ([], 1)]
    agreed = await reader.diff(hours=0.5)
    assert (agreed.differences, agreed.seen, agreed.needs_mending) == ((), (), False)


@pytest.mark.parametrize(
    ("there", "declared", "sql"),
    [
        ("character varying(16)", "VARCHAR(32)", 'ALTER TABLE "public"."orders" ALTER COLUMN "x" TYPE VARCHAR(32)'),
        ("character varying(64)", "VARCHAR(32)", None),
        ("bigint", "INTEGER", None),
        ("integer", "BIGINT", ""),
        ("numeric(38,10)", "DECIMAL(18,2)", None),
        ("numeric(18,2)", "DECIMAL(38,10)", ""),
        ("super", "VARCHAR(16)", ""),
        ("super", "SUPER", None),
        ("geometry", "SUPER", ""),
        ("timestamp without time zone", "TIMESTAMP", None),
        ("timestamp with time zone", "TIMESTAMP", ""),
        ("double precision", "REAL", None),
    ],
)
def test_what_a_table_may_hold_instead(there: str, declared: str, sql: str | None) -> None:
    pipeline = make_pipeline(
        columns=(Column("x", ("x",), RedshiftType.parse(declared)),), outputs=frozenset({"mirror"})
    )
    table = {name: str(kind) for name, kind in pipeline.layout.columns} | {"x": there}
    differences = compare(pipeline, {"orders": table})
    assert [each.sql for each in differences] == ([] if sql is None else [sql])
    assert all(each.sql or "reload" in each.remedy for each in differences)


def test_a_table_that_is_not_there_and_a_column_that_is_no_longer_used() -> None:
    pipeline = make_pipeline(outputs=frozenset({"mirror"}))
    assert [each.remedy for each in compare(pipeline, {})] == ["Run `fastetl ddl --apply`"]
    table = {name: str(kind) for name, kind in pipeline.layout.columns} | {"gone": "bigint"}
    (only,) = compare(pipeline, {"orders": table}, ["gone"])
    assert (only.column, only.sql, only.remedy) == ("gone", "", "")
    assert "has NULL there" in only.what
    (only,) = compare(pipeline, {"orders": table})
    assert "leave it alone" in only.what


async def test_a_pipeline_with_a_long_name_is_compared_as_any_other(make_plant: Any) -> None:
    plant = await make_plant(name="p" * 64)
    reader = Catalog(plant.deployment())
    assert (
        set(await reader.tables(plant.pipeline)) == set(await reader.tables(plant.pipeline)) == {"orders", "orders_log"}
    )


def test_text_that_is_truncated_as_the_configuration_asks_is_nothing_to_mend() -> None:
    drift = {"misfit/note/too_long": 3, "misfit/total/scale": 1}
    files: list[Any] = [
        SimpleNamespace(drift=drift, rejects_ended=False),
        SimpleNamespace(drift={"misfit/note/too_long": 1, "reject/id/range": 1}, rejects_ended=True),
    ]
    truncated, other = sum_drift(files, {"note"})
    assert (truncated.what, truncated.count, truncated.as_asked) == ("misfit/note/too_long", 4, True)
    assert not other.as_asked
    assert not SchemaDiff("orders", (), (truncated,), ()).needs_mending
    assert SchemaDiff("orders", (), (truncated, other), ()).needs_mending


def test_what_an_encoding_keeps_from_being_lengthened_is_told() -> None:
    pipeline = make_pipeline(outputs=frozenset({"mirror"}), mirror=Storage(encode={"NOTE": "TEXT255"}))
    there = {name: str(kind) for name, kind in pipeline.layout.columns} | {"note": "VARCHAR(5)"}
    (found,) = compare(pipeline, {"orders": there})
    assert (found.sql, found.remedy) == (
        "", "Redshift lengthens no column with encoding TEXT255: ALTER it to ENCODE ZSTD first",
    )  # fmt: skip


def test_of_several_targets_columns_are_proposed_for_those_whose_items_have_the_attribute() -> None:
    (pipeline,) = parse_config(WITH_LINES, {}).pipelines
    key = {"pk": {"S": "O#1"}, "sk": {"S": "s"}}
    items: list[dict[str, Any]] = [
        {**key, "type": {"S": "order"}, "colour": {"S": "red"}},
        {**key, "born": {"S": "2000-01-01"}, "height": {"N": "180"}, "colour": {"NULL": True}},
        {**key, "other": {"S": "x"}},
    ]
    found = propose_for(pipeline, items, ["colour", "height", "other", "lines.weight"])
    assert [(each.target, each.column.name, str(each.column.type)) for each in found] == [
        ("order", "colour", "VARCHAR(16)"),
        ("person", "height", "BIGINT"),
        ("person", "colour", "VARCHAR(256)"),
    ]
