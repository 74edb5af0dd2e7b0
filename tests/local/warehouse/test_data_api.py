"""The wire: what an AWS SDK sees of the embedded Data API. SQL itself is tested in test_engines.py."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import aiohttp
import msgspec
import pytest
from botocore.exceptions import ClientError

from fastetl.limits import MAX_RESULT_ROW_BYTES
from fastetl.local.warehouse import ACCOUNT
from fastetl.local.warehouse.client import query
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from tests.local.warehouse_client import TARGET, Warehouse
from tests.plant import CALLERS, LOADER
from tests.template import read_template

TOO_LONG = "SELECT 1 /* " + "x" * 100_000 + " */"


async def refusal(call: Any) -> tuple[str, str]:
    """The code and message of the error that the SDK raises."""
    with pytest.raises(ClientError) as raised:
        await call
    return raised.value.response["Error"]["Code"], raised.value.response["Error"]["Message"]


async def test_a_statement_is_submitted_and_ends_later(warehouse: Warehouse) -> None:
    warehouse.server.hold()
    submitted = await warehouse.call("execute_statement", Sql="SELECT 1 AS one", StatementName="b/1", **TARGET)
    assert submitted["WorkgroupName"] == "local"
    described = await warehouse.call("describe_statement", Id=submitted["Id"])
    assert (described["Status"], described["Duration"], described["ResultRows"]) == ("SUBMITTED", -1, -1)
    warehouse.server.release()
    described = await warehouse.end_of(submitted["Id"])
    assert (described["Status"], described["HasResultSet"], described["ResultRows"]) == ("FINISHED", True, 1)
    assert described["QueryString"] == "SELECT 1 AS one"
    assert described["UpdatedAt"] >= described["CreatedAt"]


async def test_values_come_in_the_fields_of_their_types(warehouse: Warehouse) -> None:
    described = await warehouse.execute(
        "SELECT CAST(7 AS BIGINT) AS i, 1.50::DECIMAL(38,2) AS d, CAST(0.5 AS DOUBLE PRECISION) AS f, 'é' AS s,"
        " 1 = 1 AS b, NULL AS n, TIMESTAMP '2013-01-01 00:00:00.25' AS t, JSON_PARSE('{\"a\":1}') AS j"
    )
    page = await warehouse.call("get_statement_result", Id=described["Id"])
    assert page["Records"] == [
        [
            {"longValue": 7},
            {"stringValue": "1.50"},
            {"doubleValue": 0.5},
            {"stringValue": "é"},
            {"booleanValue": True},
            {"isNull": True},
            {"stringValue": "2013-01-01 00:00:00.25"},
            {"stringValue": '{"a":1}'},
        ]
    ]
    assert [column["name"] for column in page["ColumnMetadata"]] == list("idfsbntj")
    assert page["TotalNumRows"] == 1


async def test_long_results_come_in_pages(warehouse: Warehouse) -> None:
    digits = " CROSS JOIN ".join(f"(SELECT 0 AS d{n} UNION ALL SELECT 1) AS t{n}" for n in range(11))
    described = await warehouse.execute(f"SELECT d0 FROM {digits}")
    pages = await asyncio.to_thread(
        lambda: list(warehouse.client.get_paginator("get_statement_result").paginate(Id=described["Id"]))
    )
    assert [len(page["Records"]) for page in pages] == [1000, 1000, 48]


async def test_a_batch_is_all_or_nothing_and_says_which_statement_failed(warehouse: Warehouse) -> None:
    await warehouse.execute("CREATE TABLE t (a INTEGER)")
    described = await warehouse.batch(
        "INSERT INTO t VALUES (1)",
        "SELECT CAST(CASE WHEN COUNT(*) = 0 THEN '0' ELSE 'fenced' END AS INTEGER) FROM t",
        "SELECT 2",
    )
    assert described["Status"] == "FAILED"
    assert described["Error"].startswith("Query #2 failed with ERROR: ")
    subs = described["SubStatements"]
    assert [sub["Id"] for sub in subs] == [f"{described['Id']}:{place}" for place in (1, 2, 3)]
    assert [sub["Status"] for sub in subs] == ["FINISHED", "FAILED", "ABORTED"]
    assert "fenced" in subs[1]["Error"]
    assert await warehouse.rows("SELECT COUNT(*) FROM t") == [(0,)]


async def test_each_statement_of_a_batch_has_a_result_of_its_own(warehouse: Warehouse) -> None:
    described = await warehouse.batch(
        "CREATE TEMP TABLE t (a INTEGER)", "INSERT INTO t VALUES (1), (2)", "SELECT a FROM t ORDER BY a", "DROP TABLE t"
    )
    assert described["Status"] == "FINISHED"
    assert [sub["ResultRows"] for sub in described["SubStatements"]] == [-1, 2, 2, -1]
    assert [sub["HasResultSet"] for sub in described["SubStatements"]] == [False, False, True, False]
    page = await warehouse.call("get_statement_result", Id=f"{described['Id']}:3")
    assert page["Records"] == [[{"longValue": 1}], [{"longValue": 2}]]
    one = await warehouse.call("describe_statement", Id=f"{described['Id']}:2")
    assert (one["Status"], one["ResultRows"]) == ("FINISHED", 2)


async def test_results_are_there_only_once_the_statement_finished(warehouse: Warehouse) -> None:
    failed = await warehouse.execute("SELECT nothing FROM nowhere")
    assert failed["Status"] == "FAILED"
    assert (await refusal(warehouse.call("get_statement_result", Id=failed["Id"])))[0] == "ResourceNotFoundException"
    batch = await warehouse.batch("SELECT 1")
    assert (await refusal(warehouse.call("get_statement_result", Id=batch["Id"])))[0] == "ValidationException"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Sqls": ["SELECT 1"] * 41, **TARGET}, "length <= 40"),
        ({"Sqls": [TOO_LONG], **TARGET}, "longer than 100000 bytes"),
        ({"Sqls": ["  "], **TARGET}, "empty"),
        ({"Sqls": ["SELECT 1"], "WorkgroupName": "local"}, "Database is required"),
        ({"Sqls": ["SELECT 1"], "Database": "dev"}, "ClusterIdentifier and WorkgroupName"),
        ({"Sqls": ["SELECT 1"], "ClusterIdentifier": "c", **TARGET}, "ClusterIdentifier and WorkgroupName"),
        ({"Sqls": ["SELECT 1"], "StatementName": "n" * 501, **TARGET}, "length <= 500"),
        ({"Sqls": ["SELECT 1"], "SessionKeepAliveSeconds": 60, **TARGET}, "Sessions"),
    ],
)
async def test_requests_that_aws_refuses(warehouse: Warehouse, members: dict[str, Any], message: str) -> None:
    code, said = await refusal(warehouse.call("batch_execute_statement", **members))
    assert code == "ValidationException"
    assert message in said


async def test_ids_that_do_not_exist(warehouse: Warehouse) -> None:
    unknown = "d9b6c0c9-0747-4bf4-b142-e8883122f766"
    assert (await refusal(warehouse.call("describe_statement", Id=unknown)))[0] == "ResourceNotFoundException"
    assert (await refusal(warehouse.call("cancel_statement", Id=unknown)))[0] == "ResourceNotFoundException"
    assert (await refusal(warehouse.call("describe_statement", Id="x")))[0] == "ValidationException"
    known = await warehouse.batch("SELECT 1")
    beyond = f"{known['Id']}:2"
    assert (await refusal(warehouse.call("describe_statement", Id=beyond)))[0] == "ResourceNotFoundException"


async def test_a_client_token_runs_once_for_eight_hours(s3: Any) -> None:
    now = 1_000_000.0
    async with WarehouseServer(DuckDBEngine(), s3, lambda: now) as server:
        warehouse = Warehouse(server)
        await warehouse.execute("CREATE TABLE t (a INTEGER)")
        first = await warehouse.batch("INSERT INTO t VALUES (1)", ClientToken="batch/1")
        again = await warehouse.batch("INSERT INTO t VALUES (1)", ClientToken="batch/1")
        assert again["Id"] == first["Id"]
        assert await warehouse.rows("SELECT COUNT(*) FROM t") == [(1,)]
        now += 8 * 3600
        later = await warehouse.batch("INSERT INTO t VALUES (1)", ClientToken="batch/1")
        assert later["Id"] != first["Id"]
        now += 24 * 3600
        code, _ = await refusal(warehouse.call("describe_statement", Id=first["Id"]))
        assert code == "ResourceNotFoundException"


async def test_statements_are_listed_by_prefix_and_only_finished_ones_by_default(warehouse: Warehouse) -> None:
    await warehouse.batch("SELECT 1", StatementName="b1/1")
    await warehouse.batch("SELECT nothing FROM nowhere", StatementName="b1/10")
    await warehouse.execute("SELECT 1", StatementName="b2/1")

    async def names(**members: Any) -> list[str]:
        return [item["StatementName"] for item in (await warehouse.call("list_statements", **members))["Statements"]]

    assert await names(StatementName="b1/1") == ["b1/1"]
    assert await names(StatementName="b1/1", Status="ALL") == ["b1/10", "b1/1"]
    assert await names(Status="FAILED") == ["b1/10"]
    page = await warehouse.call("list_statements", Status="ALL", MaxResults=2)
    assert [item["StatementName"] for item in page["Statements"]] == ["b2/1", "b1/10"]
    rest = await warehouse.call("list_statements", Status="ALL", MaxResults=2, NextToken=page["NextToken"])
    assert rest["Statements"][0]["QueryStrings"] == ["SELECT 1"]
    assert "NextToken" not in rest


async def test_a_waiting_statement_can_be_cancelled_and_an_ended_one_cannot(warehouse: Warehouse) -> None:
    await warehouse.execute("CREATE TABLE t (a INTEGER)")
    warehouse.server.hold()
    submitted = await warehouse.call("batch_execute_statement", Sqls=["INSERT INTO t VALUES (1)"], **TARGET)
    assert (await warehouse.call("cancel_statement", Id=submitted["Id"]))["Status"] is True
    assert (await warehouse.call("describe_statement", Id=submitted["Id"]))["Status"] == "ABORTED"
    warehouse.server.release()
    assert await warehouse.rows("SELECT COUNT(*) FROM t") == [(0,)]
    assert (await refusal(warehouse.call("cancel_statement", Id=submitted["Id"])))[0] == "ValidationException"


@pytest.mark.parametrize(
    ("operation", "member", "refused"),
    [
        ("BatchExecuteStatement", {"ClientToken": "t" * 65}, "length <= 64"),
        ("BatchExecuteStatement", {"ClientToken": ""}, "length >= 1"),
        ("ExecuteStatement", {"StatementName": "n" * 501}, "length <= 500"),
        ("ExecuteStatement", {"Parameters": [{"name": "n", "value": "1"}]}, "length <= 0"),
        ("ListStatements", {"MaxResults": 101}, "<= 100"),
    ],
)
async def test_what_an_sdk_would_not_send_is_refused_as_well(
    warehouse: Warehouse, operation: str, member: dict[str, Any], refused: str
) -> None:
    sql: dict[str, Any] = {"BatchExecuteStatement": {"Sqls": ["SELECT 1"]}, "ExecuteStatement": {"Sql": "SELECT 1"}}
    body = msgspec.json.encode(TARGET | sql.get(operation, {}) | member)
    headers = {"X-Amz-Target": f"RedshiftData.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    async with aiohttp.ClientSession() as session:
        answer = await session.post(warehouse.server.endpoint_url, data=body, headers=headers)
        said = await answer.json(content_type=None)
    assert (answer.status, said["__type"]) == (400, "ValidationException")
    assert refused in said["Message"]


async def test_a_row_that_is_too_long_for_a_result_is_refused(warehouse: Warehouse) -> None:
    fits = await warehouse.execute(f"SELECT REPEAT('x', {MAX_RESULT_ROW_BYTES})")
    assert fits["Status"] == "FINISHED"
    too_long = await warehouse.execute(f"SELECT REPEAT('x', {MAX_RESULT_ROW_BYTES}), 'y'")
    assert too_long["Status"] == "FAILED"
    assert "Packet for query is too large" in too_long["Error"]


async def test_completion_events_go_to_whoever_asked(s3: Any) -> None:
    events: list[dict[str, Any]] = []

    async def receive(event: dict[str, Any]) -> None:
        events.append(event)

    async with WarehouseServer(DuckDBEngine(), s3, time.time, receive, callers=CALLERS) as server:
        warehouse = Warehouse(server, "coordinator")
        await warehouse.batch("SELECT 1", StatementName="quiet")
        ended = await warehouse.batch("SELECT nothing FROM nowhere", StatementName="loud", WithEvent=True)
        await Warehouse(server).batch("SELECT 1", WithEvent=True)
        while len(events) < 2:
            await asyncio.sleep(0)
    # The stack's rule takes those of the coordinator alone, by their principal.
    pattern = read_template()["Resources"]["StatementEnded"]["Properties"]["EventPattern"]
    (principal,) = pattern["detail"]["principal"]
    named = {"Partition": "aws", "AccountId": ACCOUNT, "CoordinatorRole": "stack-CoordinatorRole"}
    for name, value in {**named, "Coordinator": "stack-Coordinator"}.items():
        principal = {"Sub": re.sub(rf"\$\{{(AWS::)?{name}}}", value, principal["Sub"])}
    (event, other) = events
    assert event["detail"]["principal"] == LOADER.arn == principal["Sub"]
    assert other["detail"]["principal"] != LOADER.arn
    assert event["source"] in pattern["source"]
    assert event["detail-type"] in pattern["detail-type"]
    assert (event["source"], event["detail-type"]) == ("aws.redshift-data", "Redshift Data Statement Status Change")
    detail = event["detail"]
    assert (detail["statementId"], detail["statementName"], detail["state"]) == (ended["Id"], "loud", "FAILED")


async def test_the_number_of_active_statements_is_limited(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastetl.local.warehouse.data_api.MAX_ACTIVE_STATEMENTS", 1)
    warehouse.server.hold()
    await warehouse.call("execute_statement", Sql="SELECT 1", **TARGET)
    code, _ = await refusal(warehouse.call("execute_statement", Sql="SELECT 1", **TARGET))
    assert code == "ActiveStatementsExceededException"


async def test_whoever_asks_while_a_statement_runs_is_answered_at_its_end(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastetl.local.warehouse.data_api.DESCRIBE_SECONDS", 60)
    warehouse.server.start_delay_seconds = 0.2
    submitted = await warehouse.call("execute_statement", Sql="SELECT 1", **TARGET)
    assert (await warehouse.call("describe_statement", Id=submitted["Id"]))["Status"] == "FINISHED"


async def test_statements_that_start_late_still_run(warehouse: Warehouse) -> None:
    warehouse.server.start_delay_seconds = 0.05
    assert await warehouse.rows("SELECT 1") == [(1,)]


async def test_stopping_ends_what_waits_and_what_runs(s3: Any) -> None:
    server = WarehouseServer(DuckDBEngine(), s3, time.time)
    await server.start()
    warehouse = Warehouse(server)
    endless = "SELECT COUNT(*) FROM " + " CROSS JOIN ".join(f"GENERATE_SERIES(1, 1000) AS s{n}" for n in range(9))
    running = await warehouse.call("execute_statement", Sql=endless, **TARGET)
    while (await warehouse.call("describe_statement", Id=running["Id"]))["Status"] != "STARTED":
        await asyncio.sleep(0.01)
    await warehouse.call("execute_statement", Sql="SELECT 1", **TARGET)
    server.start_delay_seconds = 3600
    await warehouse.call("execute_statement", Sql="SELECT 1", **TARGET)
    await asyncio.wait_for(server.stop(), timeout=20)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", int(server.endpoint_url.rpartition(":")[2]))


async def test_a_query_gives_the_rows_of_every_page(s3: Any) -> None:
    async with WarehouseServer(DuckDBEngine(), s3, time.time) as server:
        many = " CROSS JOIN ".join(f"(SELECT 0 AS d{n} UNION ALL SELECT 1) AS t{n}" for n in range(11))
        names, rows = await asyncio.to_thread(query, f"SELECT d0 FROM {many}", server.endpoint_url)
        assert (names, len(rows)) == (["d0"], 2**11)
