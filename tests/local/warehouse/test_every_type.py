"""Every column type of the table, from an event to the rows of a mirror, on both engines."""

from __future__ import annotations

import base64
import json
import random
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from fastetl.aws import redshift as aws_redshift
from fastetl.columns.convert import make_example
from fastetl.columns.table import RULES
from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Config, Pipeline, RedshiftTarget
from fastetl.decode.decoder import Decoder
from fastetl.ingest.encode import encode_frames
from fastetl.local.compare import compare
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.postgres_engine import PostgresEngine
from fastetl.operate import Catalog
from fastetl.operate.schema import compare as compare_tables
from fastetl.sql.load import load_sql
from fastetl.sql.staging import Load
from fastetl.sql.tables import ddl_sql
from tests.conftest import Aws
from tests.deployments import make_deployment
from tests.local.warehouse_client import TARGET, Warehouse

ROWS = 50
ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/types/stream/2026-01-01T00:00:00.000"
COLUMNS = (
    Column("id", ("id",), RedshiftType.parse("INTEGER")),
    *(Column(kind.replace(" ", "_").lower(), (kind,), RedshiftType.parse(kind)) for kind in RULES),
    *(
        Column(f"{kind.lower()}_{time_format}", (f"{kind} {time_format}",), RedshiftType(kind), time_format=time_format)
        for kind, rule in RULES.items()
        for time_format in ("epoch_s", "epoch_ms", "epoch_us")
        if rule.takes_time_format
    ),
)
PIPELINE = Pipeline("types", "types", ("id",), "public", "types", COLUMNS, outputs=frozenset({"mirror", "log"}))


@pytest.fixture(params=["duckdb", "postgres"])
async def warehouse(request: pytest.FixtureRequest, s3: Any) -> AsyncIterator[Warehouse]:
    engine = DuckDBEngine() if request.param == "duckdb" else PostgresEngine()
    async with WarehouseServer(engine, s3, time.time) as server:
        yield Warehouse(server)


def make_items() -> list[dict[str, Any]]:
    chance = random.Random(0)
    items = []
    for number in range(ROWS):
        item = {str(column.path[0]): make_example(column, chance) for column in COLUMNS}
        if number % 5 == 0:  # now and then something is missing
            del item[chance.choice(list(RULES))]
        items.append(item | {"id": {"N": str(number)}})
    return items


def build_event(items: list[dict[str, Any]]) -> bytes:
    records = [
        {
            "eventID": f"e{number}",
            "eventName": "INSERT",
            "eventSourceARN": ARN,
            "dynamodb": {
                "Keys": {"id": item["id"]},
                "NewImage": item,
                "SequenceNumber": str(10**20 + number),
                "ApproximateCreationDateTime": 1767225600,
            },
        }
        for number, item in enumerate(items)
    ]
    return orjson.dumps({"Records": records})


def as_the_sdk_gives(item: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {tag: base64.b64decode(content) if tag == "B" else content}
        for name, value in item.items()
        for tag, content in value.items()
    }


async def load(warehouse: Warehouse, s3: Any, items: list[dict[str, Any]]) -> None:
    changes = Decoder(PIPELINE).decode(build_event(items))
    assert changes.rejects == ()
    folder = f"types/{uuid.uuid4().hex}"
    file = b"".join(encode_frames([changes.frame], PIPELINE.layout, 1 << 20))
    entries = [{"url": f"s3://lake/{folder}/data.csv.gz", "mandatory": True}]
    s3.put_object(Bucket="lake", Key=f"{folder}/data.csv.gz", Body=file)
    s3.put_object(Bucket="lake", Key=f"{folder}/manifest.json", Body=json.dumps({"entries": entries}))
    s3.put_object(Bucket="lake", Key=f"{folder}/files.csv", Body=f"{changes.file_id},{len(items)}\n")
    batch = Load(
        folder[-32:], 1, PIPELINE.layout, f"s3://lake/{folder}/manifest.json", "checksum",
        f"s3://lake/{folder}/files.csv", changes.changed_min, changes.changed_max, "2013-01-01",
        "lake/ledger/types",
    )  # fmt: skip
    described = await warehouse.batch(*(statement.sql for statement in load_sql(PIPELINE, batch)))
    assert described["Status"] == "FINISHED", described["Error"]


async def test_every_type_reaches_its_table_and_reads_back_as_it_was(warehouse: Warehouse, s3: Any) -> None:
    await warehouse.batch(*(statement.sql for statement in ddl_sql(PIPELINE)))
    items = make_items()
    await load(warehouse, s3, items)
    names = ", ".join(f'"{column.name}"' for column in COLUMNS)
    answer = await warehouse.call("execute_statement", Sql=f"SELECT {names} FROM public.types_current", **TARGET)
    assert (await warehouse.end_of(answer["Id"]))["Status"] == "FINISHED"
    rows = (await warehouse.call("get_statement_result", Id=answer["Id"]))["Records"]
    assert len(rows) == ROWS
    assert compare(PIPELINE, map(as_the_sdk_gives, items), rows) == []


async def test_the_catalog_names_every_type_as_it_was_declared(warehouse: Warehouse, aws: Aws) -> None:
    await warehouse.batch(*(statement.sql for statement in ddl_sql(PIPELINE)))
    client = await aws.client("redshift-data", endpoint_url=warehouse.server.endpoint_url)
    edge = aws_redshift.Warehouse(client, RedshiftTarget(workgroup="local"))
    deployment = make_deployment(Config("b", "l", (PIPELINE,)), PIPELINE, None, None, edge)
    tables = await Catalog(deployment).tables(PIPELINE)
    assert set(tables) == {"types", "types_log"}
    assert compare_tables(PIPELINE, tables) == ()
