"""One statement for a running warehouse, and its rows."""

from __future__ import annotations

import os
import time
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from fastetl.errors import WarehouseError

POLL_SECONDS = 0.05


def query(sql: str, endpoint_url: str) -> tuple[list[str], list[list[Any]]]:
    """Run a statement on the warehouse of a running `fastetl local`.

    Args:
        sql: one statement.
        endpoint_url: of the Data API.

    Returns:
        The columns' names and the rows, NULL as None; no names for a statement that gives no rows.

    Raises:
        WarehouseError: it failed, or nothing answers at `endpoint_url`.
    """
    try:
        return _run(sql, endpoint_url)
    except (BotoCoreError, ClientError, ValueError) as error:
        raise WarehouseError(f"{error}; is `fastetl local` running?") from error


def _run(sql: str, endpoint_url: str) -> tuple[list[str], list[list[Any]]]:
    client = boto3.client(
        "redshift-data",
        endpoint_url=endpoint_url,
        region_name=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - nobody checks it
    )
    started = client.execute_statement(Sql=sql, WorkgroupName="local", Database="dev")
    while (described := client.describe_statement(Id=started["Id"]))["Status"] not in {"FINISHED", "FAILED", "ABORTED"}:
        time.sleep(POLL_SECONDS)
    if described["Status"] != "FINISHED":
        raise WarehouseError(described.get("Error", described["Status"]))
    if not described.get("HasResultSet"):
        return [], []
    pages = list(client.get_paginator("get_statement_result").paginate(Id=started["Id"]))
    names = [column["name"] for column in pages[0]["ColumnMetadata"]]
    fields = [row for page in pages for row in page["Records"]]
    return names, [[None if field.get("isNull") else next(iter(field.values())) for field in row] for row in fields]
