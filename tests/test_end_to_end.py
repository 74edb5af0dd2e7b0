"""Any item that a table can hold is in the warehouse as it was, or is a reject that names its column and a reason.

Items are put into a real DynamoDB API, come out of its stream, go through ingest to a real S3 API, and are loaded by
the coordinator's own statements into a real database; what is there is then compared with the table, by rules that
are written down here a second time.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import date
from decimal import Context, Decimal
from typing import Any

import boto3
import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fastetl.aws.redshift import Warehouse
from fastetl.aws.s3 import Bucket
from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Config, FileFormat, LoadPolicy, Pipeline, RedshiftTarget
from fastetl.ingest.ingester import Ingest, Outcome
from fastetl.load.loader import Loader
from fastetl.local.functions.event_source import EventSource
from fastetl.local.functions.lambda_runtime import InvokeResult, Report
from fastetl.local.functions.mapping import MappingSettings
from fastetl.local.functions.readers import TableStream
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.sql.tables import ddl_sql
from fastetl.sql.text import Statement
from tests.conftest import CREDENTIALS, Aws
from tests.deployments import create_head, make_deployment
from tests.ingest.test_ingester import Unchanged

TYPES = {
    "id": "BIGINT",
    "text": "VARCHAR(24)",
    "code": "CHAR(4)",
    "small": "SMALLINT",
    "whole": "BIGINT",
    "amount": "DECIMAL(38,10)",
    "all_digits": "DECIMAL(38,0)",
    "money": "DECIMAL(19,4)",
    "ratio": "DOUBLE PRECISION",
    "flag": "BOOLEAN",
    "blob": "VARBYTE(8)",
    "day": "DATE",
    "any": "SUPER",
}
EXACT = Context(prec=300)
UNIQUE = itertools.count()

TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.sampled_from(
        ["", " ", "\0", r"\N", "NULL", '"', '""', ",", "|", "\t", "\r", "\n", "\r\n", "a,b", 'say "hi"', "\\"]
    ),
    st.sampled_from(["\U0001f600" * 6, "\U0001f600" * 7, "x" * 24, "x" * 25, "'", ";--", "\ufeff", "\x1a", "end "]),
)
NUMBER = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1).map(str),
    st.integers(-40_000, 40_000).map(str),
    st.builds(
        lambda digits, point: plain(EXACT.scaleb(Decimal(digits), -point)),
        st.integers(-(10**38) + 1, 10**38 - 1),
        st.integers(0, 38),
    ),
    st.sampled_from(
        ["1E125", "-1E-130", "9.9999999999999999999999999999999999999E+125", "-0", "0", "0.1", "1E37", "1E38"]
    ),
    st.sampled_from(["32767", "32768", "9223372036854775807", "-9223372036854775808", "9223372036854775808"]),
)
BINARY = st.binary(max_size=9)
SCALAR = st.one_of(
    TEXT.map(lambda value: {"S": value}),
    NUMBER.map(lambda value: {"N": value}),
    BINARY.map(lambda value: {"B": value}),
    st.booleans().map(lambda value: {"BOOL": value}),
    st.just({"NULL": True}),
)
SETS = st.one_of(
    st.sets(TEXT, min_size=1, max_size=3).map(lambda values: {"SS": list(values)}),
    st.sets(NUMBER.map(lambda number: plain(Decimal(number))), min_size=1, max_size=3).map(
        lambda values: {"NS": list(values)}
    ),
    st.sets(BINARY, min_size=1, max_size=3).map(lambda values: {"BS": list(values)}),
)
ANY = st.recursive(
    SCALAR | SETS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: {"L": values}),
        st.dictionaries(st.sampled_from(["k", 'q"', "a.b", "\u00fc"]), inner, max_size=3).map(
            lambda values: {"M": values}
        ),
    ),
    max_leaves=6,
)
FITTING = {
    "text": TEXT.map(lambda value: {"S": value}),
    "code": st.text("ab ", max_size=5).map(lambda value: {"S": value}),
    "flag": st.booleans().map(lambda value: {"BOOL": value}),
    "blob": BINARY.map(lambda value: {"B": value}),
    "day": st.dates().map(lambda value: {"S": value.isoformat()}),
    "any": ANY,
    **{
        name: NUMBER.map(lambda value: {"N": value})
        for name in ("small", "whole", "amount", "all_digits", "money", "ratio")
    },
}
# An item seldom has more than two hostile values, or nearly every item would be a reject.
ITEM = st.one_of(
    st.lists(st.sampled_from(sorted(FITTING)), max_size=2).flatmap(
        lambda names: st.fixed_dictionaries({name: FITTING[name] for name in names})
    ),
    st.dictionaries(st.sampled_from(sorted(FITTING)), ANY, max_size=1),
)
DELIMITERS = [",", "\t", "|", ";", "~"]
COMPRESSIONS = ["gzip", "zstd", "none"]
NULL_MARKERS = st.sampled_from([r"\N", "NULL", "@@"])


def plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


# --- the rules, a second time -------------------------------------------------------------------------------------


def expected(kind: RedshiftType, value: Any, marker: str) -> Any:
    """What the column must hold; raises ValueError for what it cannot."""
    if value is None or ("NULL" in value and kind.kind != "SUPER"):
        return None
    ((tag, content),) = value.items()
    match kind.kind:
        case "VARCHAR" | "CHAR":
            text = str(content).lower() if tag == "BOOL" else {"S": str, "N": str}[tag](content)
            ascii_only = kind.kind == "CHAR" and (not text.isascii() or text.endswith(" "))
            return held(text, not ascii_only and len(text.encode()) <= kind.length and "\0" not in text, marker)
        case "SMALLINT" | "BIGINT" | "DECIMAL":
            unscaled = EXACT.scaleb(Decimal(content if tag == "N" else "none"), kind.scale)
            bits = {"SMALLINT": 15, "BIGINT": 63}.get(kind.kind, 63 if kind.precision == 19 else 0)
            limit = 2**bits if bits else 10**kind.precision
            whole = unscaled == EXACT.to_integral_value(unscaled)
            low = -limit if kind.kind != "DECIMAL" else 1 - limit
            return held(Decimal(content), whole and low <= unscaled < limit, marker)
        case "DOUBLE PRECISION":
            number = Decimal(content if tag == "N" else "none")
            return held(number, Decimal(repr(float(number))) == number, marker)
        case "BOOLEAN":
            return {"BOOL": content}[tag]
        case "VARBYTE":
            return held({"B": content}[tag].hex(), 0 < len(content) <= kind.length, marker)
        case "DATE":
            day = {"S": content}[tag]
            return held(day, date.fromisoformat(day).isoformat() == day, marker)
    return document(tag, content)


def held(value: Any, fits: bool, marker: str | None = None) -> Any:
    if not fits or str(value) == marker:
        raise ValueError
    return value


def document(tag: str, content: Any) -> Any:
    match tag:
        case "S":
            return held(content, "\0" not in content)
        case "N":
            digits = plain(Decimal(content)).lstrip("-")
            before, _, after = digits.partition(".")
            return held(Decimal(content), len(after) <= 37 and len(before.lstrip("0")) + len(after) <= 38)
        case "B":
            return base64.b64encode(content).decode()
        case "SS":
            return sorted(document("S", text) for text in content)
        case "NS":
            return sorted(document("N", number) for number in content)
        case "BS":
            return [base64.b64encode(binary).decode() for binary in sorted(content)]
        case "L":
            return [document(*next(iter(value.items()))) for value in content]
        case "M":
            return {name: document(*next(iter(value.items()))) for name, value in content.items()}
        case "NULL":
            return None
    return content


def found(kind: RedshiftType, field: dict[str, Any]) -> Any:
    """A field of the Data API's answer, comparable."""
    if field.get("isNull"):
        return None
    (value,) = field.values()
    match kind.kind:
        case "SMALLINT" | "BIGINT" | "DECIMAL" | "DOUBLE PRECISION":
            return Decimal(str(value))
        case "SUPER":
            return json.loads(value, parse_float=Decimal, parse_int=Decimal)
        case "VARBYTE":
            return value if isinstance(value, str) else bytes(value).hex()
    return value


# --- the way there ------------------------------------------------------------------------------------------------


class Deployment:
    """One table with its stream, and everything from there to the warehouse."""

    def __init__(self, aws: Aws, warehouse_client: Any, blocking_s3: Any, file: FileFormat) -> None:
        self.aws, self.client, self.s3, self.file = aws, warehouse_client, blocking_s3, file
        self.name = f"t{next(UNIQUE)}"

    async def carry(self, items: list[dict[str, Any]]) -> tuple[list[Outcome], list[dict[str, Any]]]:
        """Put the items, carry them over; give the outcomes and the mirror's rows."""
        dynamodb, streams = await self.aws.client("dynamodb"), await self.aws.client("dynamodbstreams")
        created = await dynamodb.create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )
        for start in range(0, len(items), 25):
            requests = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            await dynamodb.batch_write_item(RequestItems={self.name: requests})
        self.pipeline = Pipeline(
            name=self.name,
            table=self.name,
            keys=("id",),
            schema="public",
            target=self.name,
            columns=tuple(Column(name, (name,), RedshiftType.parse(kind)) for name, kind in TYPES.items()),
            outputs=frozenset({"mirror", "log"}),
            file=self.file,
            load=LoadPolicy(max_bytes=1),
            redshift=RedshiftTarget(workgroup="local"),
        )
        outcomes = await self._ingest(streams, created["TableDescription"]["LatestStreamArn"])
        await dynamodb.delete_table(TableName=self.name)
        return outcomes, await self._rows()

    async def _ingest(self, streams: Any, stream_arn: str) -> list[Outcome]:
        ledger = await self.aws.new_ledger()
        bucket = Bucket(await self.aws.client("s3"), await self.aws.new_bucket())
        config = Config(bucket._name, ledger.table.name, (self.pipeline,))
        warehouse = Warehouse(self.client, self.pipeline.redshift)
        deployment = make_deployment(config, self.pipeline, bucket, ledger, warehouse)
        await self._run(warehouse, ddl_sql(self.pipeline), "ddl")
        await create_head(deployment)
        ingest = Ingest(deployment, Unchanged())
        outcomes: list[Outcome] = []

        async def invoke(payload: bytes) -> InvokeResult:
            outcomes.append(await ingest.ingest(payload))
            return InvokeResult(b'{"batchItemFailures":[]}', "", Report("r", 1.0, 128, 50), ())

        settings_ = MappingSettings(batch_size=20, retry_delay_seconds=0.001)
        async with EventSource(TableStream(streams, stream_arn), invoke, settings_, clock=time.time) as source:
            await asyncio.wait_for(source.drain(), 30)
        self.bucket = bucket
        loader = Loader(deployment)
        while (step := await loader.wake_up()).action != "idle":
            assert step.action in {"opened", "submitted", "waiting", "loaded"}, step
            await asyncio.sleep(0.005)
        assert (await loader.backlog()).files == 0
        return outcomes

    async def _run(self, warehouse: Warehouse, sql: Any, name: str) -> str:
        statement_id = await warehouse.submit(sql, name=name, token=(self.name, name))
        while (run := await warehouse.describe(statement_id)).state == "RUNNING":
            await asyncio.sleep(0.005)
        assert run.state == "FINISHED", run
        return statement_id

    async def _rows(self) -> list[dict[str, Any]]:
        names = ", ".join(f'"{name}"' for name in TYPES)
        query = Statement("query", f'SELECT {names} FROM "public"."{self.name}_current"')
        statement_id = await self._run(Warehouse(self.client, self.pipeline.redshift), [query], "query")
        answer = await self.client.get_statement_result(Id=f"{statement_id}:1")
        return [
            {name: found(RedshiftType.parse(TYPES[name]), field) for name, field in zip(TYPES, record, strict=True)}
            for record in answer["Records"]
        ]

    async def rejects(self, outcomes: list[Outcome]) -> dict[int, dict[str, Any]]:
        kept = {}
        for outcome in outcomes:
            if outcome.file and outcome.file.rejects_key:
                for line in gzip.decompress(await self.bucket.get(outcome.file.rejects_key)).splitlines():
                    reject = orjson.loads(line)
                    kept[int(json.loads(reject["record"])["dynamodb"]["Keys"]["id"]["N"])] = reject
        return kept


@pytest.fixture
async def client(aws: Aws) -> AsyncIterator[tuple[Any, Any]]:
    blocking = boto3.client("s3", endpoint_url=aws.endpoint_url, **CREDENTIALS)
    server = WarehouseServer(DuckDBEngine(), blocking, time.time)
    await server.start()
    yield await aws.client("redshift-data", endpoint_url=server.endpoint_url), blocking
    await server.stop()
    blocking.close()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("delimiter", DELIMITERS)
@settings(
    max_examples=1,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(items=st.lists(ITEM, min_size=50, max_size=100), null_marker=NULL_MARKERS)
async def test_an_item_arrives_as_it_was_or_is_a_reject(
    aws: Aws, client: tuple[Any, Any], items: list[dict[str, Any]], null_marker: str, delimiter: str, compression: Any
) -> None:
    file = FileFormat(delimiter=delimiter, compression=compression, null_marker=null_marker)
    deployment = Deployment(aws, *client, file)
    outcomes, rows = await deployment.carry([{"id": {"N": str(number)}, **item} for number, item in enumerate(items)])
    rejects = await deployment.rejects(outcomes)
    mirror = {int(row["id"]): row for row in rows}
    assert sum(outcome.records for outcome in outcomes) == len(items)
    assert sorted([*mirror, *rejects]) == list(range(len(items)))
    for number, item in enumerate(items):
        unfit = []
        for name, kind in TYPES.items():
            value = {"N": str(number)} if name == "id" else item.get(name)
            try:
                wanted = expected(RedshiftType.parse(kind), value, file.null_marker)
            except (KeyError, ValueError, ArithmeticError):
                unfit.append(name)
                continue
            if number in mirror:
                assert mirror[number][name] == wanted, (name, value)
        assert bool(unfit) == (number in rejects), (item, unfit, rejects.get(number))
        if unfit:
            assert rejects[number]["column"] in unfit
            assert re.fullmatch("[a-z_]+", rejects[number]["reason"])
