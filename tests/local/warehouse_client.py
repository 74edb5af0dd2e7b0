"""A real SDK client of the embedded Data API, with the waiting done."""

from __future__ import annotations

import asyncio
from typing import Any

import boto3

from fastetl.local.warehouse.data_api import WarehouseServer

CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
TARGET = {"WorkgroupName": "local", "Database": "dev"}


class Warehouse:
    """The blocking SDK client, called from threads, with the waiting done."""

    def __init__(self, server: WarehouseServer, access_key: str = "test") -> None:
        self.server = server
        credentials = {**CREDENTIALS, "aws_access_key_id": access_key}
        self.client: Any = boto3.client("redshift-data", endpoint_url=server.endpoint_url, **credentials)

    async def call(self, operation: str, **members: Any) -> dict[str, Any]:
        return await asyncio.to_thread(getattr(self.client, operation), **members)

    async def end_of(self, statement_id: str) -> dict[str, Any]:
        while True:
            described = await self.call("describe_statement", Id=statement_id)
            if described["Status"] in {"FINISHED", "FAILED", "ABORTED"}:
                return described
            await asyncio.sleep(0.02)

    async def batch(self, *sqls: str, **members: Any) -> dict[str, Any]:
        answer = await self.call("batch_execute_statement", Sqls=list(sqls), **TARGET, **members)
        return await self.end_of(answer["Id"])

    async def execute(self, sql: str, **members: Any) -> dict[str, Any]:
        answer = await self.call("execute_statement", Sql=sql, **TARGET, **members)
        return await self.end_of(answer["Id"])

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query gives, its fields as Python values."""
        described = await self.execute(sql)
        assert described["Status"] == "FINISHED", described
        page = await self.call("get_statement_result", Id=described["Id"])
        return [
            tuple(None if "isNull" in field else next(iter(field.values())) for field in row) for row in page["Records"]
        ]
