"""Ask the warehouse of a stack through its Data API."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastetl.aws import Warehouse
from fastetl.config import Pipeline
from fastetl.local.wake_ups import SettlingError
from fastetl.sql import Statement


async def run_sql(redshift: Any, pipeline: Pipeline, sql: tuple[Statement, ...]) -> list[list[dict[str, Any]]]:
    """Run statements in one transaction; give the rows of the last one, as the Data API's fields.

    Args:
        redshift: an open client of the Data API.
        pipeline: whose warehouse is asked.
        sql: the statements.

    Raises:
        SettlingError: one of them failed.
    """
    warehouse = Warehouse(redshift, pipeline.redshift)
    token = (time.time_ns(),)
    statement_id = await warehouse.submit(sql, name=sql[-1].step, token=token)
    while (run := await warehouse.describe(statement_id)).state == "RUNNING":  # noqa: ASYNC110 - it is polled
        await asyncio.sleep(0.01)
    if run.state != "FINISHED":
        raise SettlingError(f"{sql[max(run.failed_index, 0)].step}: {run.error}")
    rows: list[list[dict[str, Any]]] = []
    described = await redshift.describe_statement(Id=statement_id)
    if described["SubStatements"][-1]["HasResultSet"]:
        page: dict[str, str] = {}
        while True:
            answer = await redshift.get_statement_result(Id=f"{statement_id}:{len(sql)}", **page)
            rows += answer["Records"]
            if not answer.get("NextToken"):
                return rows
            page = {"NextToken": answer["NextToken"]}
    return rows
