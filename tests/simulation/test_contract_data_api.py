"""What fastetl expects of the Data API, of the fake and of the embedded one alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.model import Layout
from fastetl.sql import load as sql
from fastetl.sql.tables import ddl_sql
from tests.local.conftest import s3  # noqa: F401 - a fixture
from tests.local.product import make_pipeline
from tests.local.warehouse_client import TARGET, Warehouse
from tests.simulation.fake_redshift_data import FakeRedshiftData, Pace
from tests.simulation.fake_s3 import FakeS3
from tests.simulation.fake_warehouse import FakeWarehouse
from tests.simulation.loop import SimulatedLoop

PIPELINE = make_pipeline("contract")
HOUR = 3600.0
UNKNOWN = "d9b6c0c9-0747-4bf4-b142-e8883122f766"


def resolve_sql(attempt: int = 1) -> list[str]:
    """A transaction that succeeds, writes a fence, and gives two rows as its fourth statement."""
    return [statement.sql for statement in sql.resolve_sql(PIPELINE, "owner", "b", attempt, "1970-01-01")]


def fenced_sql() -> list[str]:
    """One whose fourth statement fails, once attempt 1 is resolved."""
    layout = Layout(PIPELINE.layout.columns, ",", "gzip", r"\N", 1)
    day, none = "2013-01-01", "s3://lake/none"
    load = sql.Load("b", 1, layout, none, "checksum", none, day, day, "1970-01-01", "owner")
    return [statement.sql for statement in sql.load_sql(PIPELINE, load)]


class Service:
    """Either Data API. `ended` collects the name and status of what was run `WithEvent`."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []

    async def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """Make a call."""
        raise NotImplementedError

    def hold(self) -> None:
        """Let nothing start that is submitted from now on."""
        raise NotImplementedError

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        raise NotImplementedError

    async def submit(self, sqls: list[str], **members: Any) -> str:
        """Hand over a batch."""
        return str((await self.call("batch_execute_statement", Sqls=sqls, **TARGET, **members))["Id"])

    async def end(self, statement_id: str) -> dict[str, Any]:
        """Wait for an end."""
        while (described := await self.call("describe_statement", Id=statement_id))["Status"] not in {
            "FINISHED", "FAILED", "ABORTED",
        }:  # fmt: skip
            await asyncio.sleep(0.01)
        return described

    async def refusal(self, operation: str, **members: Any) -> str:
        """The code of the error that a call raises."""
        with pytest.raises(ClientError) as raised:
            await self.call(operation, **members)
        return str(raised.value.response["Error"]["Code"])

    async def names(self, **members: Any) -> list[str]:
        """The names of a list."""
        return [
            each["StatementName"]
            for each in (await self.call("list_statements", RoleLevel=False, **members))["Statements"]
        ]


class Fake(Service):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        warehouse = FakeWarehouse(FakeS3(), loop.time)
        self._pace = Pace()
        self._service = FakeRedshiftData(
            loop, warehouse, pace=self._pace, on_event=lambda name, status: self.ended.append((name, status))
        )

    async def call(self, operation: str, **members: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self._service, operation)(**members)
        return answer

    def hold(self) -> None:
        self._pace.queued = lambda: 10**9  # type: ignore[method-assign]

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Embedded(Service):
    def __init__(self, blocking_s3: Any) -> None:
        super().__init__()
        self._now = 1_000_000.0
        self.server = WarehouseServer(DuckDBEngine(), blocking_s3, lambda: self._now, self._receive)

    async def start(self) -> None:
        await self.server.start()
        self._client = Warehouse(self.server)

    async def _receive(self, event: dict[str, Any]) -> None:
        self.ended.append((event["detail"]["statementName"], event["detail"]["state"]))

    async def call(self, operation: str, **members: Any) -> dict[str, Any]:
        return await self._client.call(operation, **members)

    def hold(self) -> None:
        self.server.hold()

    async def advance(self, seconds: float) -> None:
        self._now += seconds


async def a_token_runs_once_for_eight_hours(service: Service) -> None:
    first = await service.submit(resolve_sql(), ClientToken="token")
    assert await service.submit(resolve_sql(), ClientToken="token") == first
    await service.end(first)
    await service.advance(8 * HOUR - 60)
    assert await service.submit(resolve_sql(), ClientToken="token") == first
    await service.advance(120)
    assert await service.submit(resolve_sql(), ClientToken="token") != first


async def calls_without_a_token_are_two(service: Service) -> None:
    assert await service.submit(resolve_sql()) != await service.submit(resolve_sql())


async def names_are_listed_by_prefix_newest_first(service: Service) -> None:
    await service.end(await service.submit(resolve_sql(), StatementName="b1/1"))
    await service.end(await service.submit(fenced_sql(), StatementName="b1/10"))
    await service.end(await service.submit(resolve_sql(), StatementName="b2/1"))
    assert await service.names(StatementName="b1/1") == ["b1/1"]
    assert await service.names(StatementName="b1/1", Status="ALL") == ["b1/10", "b1/1"]
    assert await service.names(StatementName="b", Status="FAILED") == ["b1/10"]
    assert await service.names(StatementName="b3", Status="ALL") == []
    page = await service.call("list_statements", StatementName="b", Status="ALL", RoleLevel=False, MaxResults=2)
    assert [each["StatementName"] for each in page["Statements"]] == ["b2/1", "b1/10"]
    rest = await service.call(
        "list_statements", StatementName="b", Status="ALL", RoleLevel=False, MaxResults=2, NextToken=page["NextToken"]
    )
    assert [each["StatementName"] for each in rest["Statements"]] == ["b1/1"]
    assert "NextToken" not in rest


async def the_statement_that_failed_is_told_by_its_index(service: Service) -> None:
    assert (await service.end(await service.submit(resolve_sql())))["Status"] == "FINISHED"
    described = await service.end(await service.submit(fenced_sql()))
    assert described["Status"] == "FAILED"
    parts = described["SubStatements"]
    assert [part["Id"] for part in parts[:2]] == [f"{described['Id']}:{place}" for place in (1, 2)]
    assert [part["Status"] for part in parts] == ["FINISHED"] * 4 + ["FAILED"] + ["ABORTED"] * (len(parts) - 5)
    assert "fenced" in parts[4]["Error"]
    assert parts[4]["RedshiftQueryId"] > 0
    assert await service.refusal("get_statement_result", Id=f"{described['Id']}:1") == "ResourceNotFoundException"


async def each_statement_has_a_result_of_its_own(service: Service) -> None:
    ended = await service.end(await service.submit(resolve_sql(7)))
    answer = await service.call("get_statement_result", Id=f"{ended['Id']}:5")
    assert answer["Records"] == [[{"stringValue": "fenced"}, {"stringValue": "7"}]]
    assert await service.refusal("get_statement_result", Id=f"{ended['Id']}:1") == "ResourceNotFoundException"
    assert await service.refusal("get_statement_result", Id=f"{ended['Id']}:6") == "ResourceNotFoundException"
    assert await service.refusal("get_statement_result", Id=ended["Id"]) == "ValidationException"


async def a_failed_transaction_leaves_nothing(service: Service) -> None:
    await service.end(await service.submit(resolve_sql()))
    described = await service.end(await service.submit([*resolve_sql(2), *fenced_sql()]))
    assert described["Status"] == "FAILED"
    ended = await service.end(await service.submit(resolve_sql()))
    answer = await service.call("get_statement_result", Id=f"{ended['Id']}:5")
    assert answer["Records"] == [[{"stringValue": "fenced"}, {"stringValue": "1"}]]


async def what_waits_can_be_cancelled_and_what_ended_cannot(service: Service) -> None:
    done = await service.submit(resolve_sql())
    await service.end(done)
    service.hold()
    waiting = await service.submit(resolve_sql(9))
    assert (await service.call("describe_statement", Id=waiting))["Status"] == "SUBMITTED"
    assert (await service.call("cancel_statement", Id=waiting))["Status"] is True
    described = await service.end(waiting)
    assert described["Status"] == "ABORTED"
    assert {part["Status"] for part in described["SubStatements"]} == {"ABORTED"}
    for ended in (done, waiting):
        assert await service.refusal("cancel_statement", Id=ended) == "ValidationException"


async def an_unknown_id_is_not_found(service: Service) -> None:
    for operation in ("describe_statement", "cancel_statement", "get_statement_result"):
        assert await service.refusal(operation, Id=UNKNOWN) == "ResourceNotFoundException"


async def after_a_day_nothing_is_known_of_what_ended(service: Service) -> None:
    ended = await service.submit(resolve_sql(), StatementName="old")
    await service.end(ended)
    await service.advance(24 * HOUR + 1)
    assert await service.refusal("describe_statement", Id=ended) == "ResourceNotFoundException"
    assert await service.names(StatementName="old", Status="ALL") == []


async def too_much_is_refused(service: Service) -> None:
    for members in ({"Sqls": ["SELECT 1"] * 41}, {"Sqls": ["SELECT 1"], "StatementName": "n" * 501}):
        assert await service.refusal("batch_execute_statement", **members, **TARGET) == "ValidationException"


async def events_come_to_who_asked(service: Service) -> None:
    await service.end(await service.submit(resolve_sql(), StatementName="quiet"))
    await service.end(await service.submit(fenced_sql(), StatementName="loud", WithEvent=True))
    while not service.ended:
        await asyncio.sleep(0.01)
    assert service.ended == [("loud", "FAILED")]


CASES: list[Callable[[Service], Awaitable[None]]] = [
    a_token_runs_once_for_eight_hours,
    calls_without_a_token_are_two,
    names_are_listed_by_prefix_newest_first,
    the_statement_that_failed_is_told_by_its_index,
    each_statement_has_a_result_of_its_own,
    a_failed_transaction_leaves_nothing,
    what_waits_can_be_cancelled_and_what_ended_cannot,
    an_unknown_id_is_not_found,
    after_a_day_nothing_is_known_of_what_ended,
    too_much_is_refused,
    events_come_to_who_asked,
]


async def run_case(case: Callable[[Service], Awaitable[None]], service: Service) -> None:
    ddl = [statement.sql for statement in ddl_sql(PIPELINE)]
    assert (await service.end(await service.submit(ddl)))["Status"] == "FINISHED"
    await case(service)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_fake(case: Callable[[Service], Awaitable[None]]) -> None:
    loop = SimulatedLoop(0)
    try:
        loop.run_until_complete(run_case(case, Fake(loop)))
    finally:
        loop.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_embedded_one(case: Callable[[Service], Awaitable[None]], s3: Any) -> None:  # noqa: F811
    service = Embedded(s3)
    await service.start()
    try:
        await run_case(case, service)
    finally:
        await service.server.stop()
