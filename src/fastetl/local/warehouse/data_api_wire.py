"""The Redshift Data API's requests and answers, as they go over the wire (JSON 1.1).

Limits: Redshift Data API reference, and "Considerations when calling the Amazon Redshift Data API".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from fastetl.limits import MAX_SQL_BYTES, MAX_STATEMENTS
from fastetl.local.warehouse.engine import Answer
from fastetl.local.warehouse.executions import ACCOUNT, ENDED, Execution, Status, SubStatement

PAGE_ROWS = 1000

_NANOSECONDS = 1_000_000_000
_ID = re.compile(r"[a-z0-9]{8}(-[a-z0-9]{4}){3}-[a-z0-9]{12}(:\d+)?")

ClientToken = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
StatementName = Annotated[str, msgspec.Meta(max_length=500)]


class ApiError(Exception):
    """An error as the SDK sees it: a code, a message, and for some codes the id it is about."""

    def __init__(self, code: str, message: str, **members: str) -> None:
        self.code = code
        self.body = {"__type": code, "Message": message, **members}
        super().__init__(message)


class _Submission(msgspec.Struct, rename="pascal", frozen=True, kw_only=True):
    database: str = ""
    workgroup_name: str = ""
    cluster_identifier: str = ""
    db_user: str = ""
    secret_arn: str = ""
    statement_name: StatementName = ""
    client_token: ClientToken = ""
    with_event: bool = False
    result_format: Literal["JSON"] = "JSON"
    session_id: str = ""
    session_keep_alive_seconds: int = 0

    @property
    def connection(self) -> dict[str, str]:
        """The members that say where to run, as they came."""
        said = {
            "ClusterIdentifier": self.cluster_identifier,
            "WorkgroupName": self.workgroup_name,
            "Database": self.database,
            "DbUser": self.db_user,
            "SecretArn": self.secret_arn,
        }
        return {name: value for name, value in said.items() if value}


class ExecuteStatement(_Submission, frozen=True):
    sql: str
    parameters: Annotated[list[dict[str, str]], msgspec.Meta(max_length=0)] = []


class BatchExecuteStatement(_Submission, frozen=True):
    sqls: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_STATEMENTS)]


class ById(msgspec.Struct, rename="pascal", frozen=True):
    """DescribeStatement, CancelStatement and GetStatementResult."""

    id: str
    next_token: str = ""


class ListStatements(msgspec.Struct, rename="pascal", frozen=True):
    statement_name: StatementName = ""
    status: Status | Literal["ALL"] = "FINISHED"
    max_results: Annotated[int, msgspec.Meta(ge=0, le=100)] = 100
    next_token: str = ""
    role_level: bool = True


def check_submission(request: ExecuteStatement | BatchExecuteStatement) -> list[str]:
    """Give the statements of a request that is fit to run.

    Raises:
        ApiError: it is not.
    """
    sqls = request.sqls if isinstance(request, BatchExecuteStatement) else [request.sql]
    if not request.database:
        raise ApiError("ValidationException", "Database is required")
    if bool(request.workgroup_name) == bool(request.cluster_identifier):
        raise ApiError("ValidationException", "Exactly one of ClusterIdentifier and WorkgroupName is required")
    if request.session_id or request.session_keep_alive_seconds:
        raise ApiError("ValidationException", "Sessions are not emulated")
    for sql in sqls:
        if not sql.strip():
            raise ApiError("ValidationException", "SQL statement is empty")
        if len(sql.encode()) > MAX_SQL_BYTES:
            raise ApiError("ValidationException", f"SQL statement is longer than {MAX_SQL_BYTES} bytes")
    return sqls


def split_id(text: str) -> tuple[str, int | None]:
    """Split an id into the execution's, and the place of the statement that is meant if `:n` follows."""
    if not _ID.fullmatch(text):
        raise ApiError("ValidationException", f"Id {text!r} is not a statement id")
    identifier, _, place = text.partition(":")
    return identifier, int(place) if place else None


def describe_execution(execution: Execution) -> dict[str, Any]:
    """Build the body of DescribeStatement."""
    statements = execution.statements
    ended = execution.status in ENDED
    body: dict[str, Any] = {
        **execution.connection,
        "Id": execution.id,
        "Status": execution.status,
        "CreatedAt": execution.created_at,
        "UpdatedAt": execution.updated_at,
        "Duration": round((execution.updated_at - execution.created_at) * _NANOSECONDS) if ended else -1,
        "HasResultSet": any(_has_result(statement) for statement in statements),
        "RedshiftPid": 1,
        "RedshiftQueryId": 0 if execution.is_batch else statements[0].query_id,
        "ResultRows": _result_rows(statements[-1]),
        "ResultSize": sum(_result_size(statement) for statement in statements),
    }
    if execution.error:
        body["Error"] = execution.error
    if execution.is_batch:
        body["SubStatements"] = [describe_statement(execution, place) for place in range(1, len(statements) + 1)]
    else:
        body["QueryString"] = statements[0].sql
    return body


def describe_statement(execution: Execution, place: int) -> dict[str, Any]:
    """Build one of the `SubStatements`, counted from 1."""
    statement = execution.statements[place - 1]
    body = {
        "Id": f"{execution.id}:{place}",
        "Status": statement.status,
        "QueryString": statement.sql,
        "CreatedAt": execution.created_at,
        "UpdatedAt": statement.ended_at or execution.updated_at,
        "Duration": round((statement.ended_at - statement.started_at) * _NANOSECONDS) if statement.ended_at else -1,
        "HasResultSet": _has_result(statement),
        "RedshiftQueryId": statement.query_id if statement.started_at else -1,
        "ResultRows": _result_rows(statement),
        "ResultSize": _result_size(statement),
    }
    return body | ({"Error": statement.error} if statement.error else {})


def list_entry(execution: Execution) -> dict[str, Any]:
    """Build one of the `Statements` of ListStatements."""
    sqls = [statement.sql for statement in execution.statements]
    return {
        "Id": execution.id,
        "StatementName": execution.name,
        "Status": execution.status,
        "CreatedAt": execution.created_at,
        "UpdatedAt": execution.updated_at,
        "IsBatchStatement": execution.is_batch,
        **({"QueryStrings": sqls} if execution.is_batch else {"QueryString": sqls[0]}),
    }


def result_page(answer: Answer, start: int) -> dict[str, Any]:
    """Build the body of GetStatementResult from this row on."""
    columns, stop = answer.columns or (), start + PAGE_ROWS
    body: dict[str, Any] = {
        "ColumnMetadata": [{"name": name, "label": name, "typeName": kind, "nullable": 1} for name, kind in columns],
        "Records": [
            [_field(value, kind) for value, (_, kind) in zip(row, columns, strict=True)]
            for row in answer.rows[start:stop]
        ],
        "TotalNumRows": len(answer.rows),
    }
    return body | ({"NextToken": str(stop)} if stop < len(answer.rows) else {})


def completion_event(execution: Execution, event_id: str) -> dict[str, Any]:
    """Build the event that EventBridge delivers for a statement that was run WithEvent.

    Source: Redshift Management Guide, "Monitoring events for the Amazon Redshift Data API in Amazon EventBridge".
    """
    return {
        "version": "0",
        "id": event_id,
        "detail-type": "Redshift Data Statement Status Change",
        "source": "aws.redshift-data",
        "account": ACCOUNT,
        "time": datetime.fromtimestamp(execution.updated_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "us-east-1",
        "resources": [],
        "detail": {
            "principal": execution.caller.arn,
            "statementId": execution.id,
            "statementName": execution.name,
            "state": execution.status,
            "redshiftQueryId": -1,
            "rows": _result_rows(execution.statements[-1]),
            "expireAt": round(execution.updated_at) + 24 * 3600,
        },
    }


def _has_result(statement: SubStatement) -> bool:
    return statement.answer.columns is not None


def _result_rows(statement: SubStatement) -> int:
    return len(statement.answer.rows) if _has_result(statement) else statement.answer.touched


def _result_size(statement: SubStatement) -> int:
    return sum(len(value) for row in statement.answer.rows for value in row if value is not None)


def _field(value: str | None, kind: str) -> dict[str, Any]:
    if value is None:
        return {"isNull": True}
    if kind in {"int2", "int4", "int8"}:
        return {"longValue": int(value)}
    if kind in {"float4", "float8"}:
        return {"doubleValue": float(value)}
    return {"booleanValue": value == "true"} if kind == "bool" else {"stringValue": value}
