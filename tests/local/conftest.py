"""A real warehouse server, a real S3 (moto's) and real SDK clients."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import boto3
import pytest

from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.engine import Engine
from tests.local.warehouse_client import CREDENTIALS, Warehouse


@pytest.fixture(scope="session")
def s3(moto_url: str) -> Iterator[Any]:
    """A blocking client, and a bucket `lake`."""
    client = boto3.client("s3", endpoint_url=moto_url, **CREDENTIALS)
    client.create_bucket(Bucket="lake")
    yield client
    client.close()


@pytest.fixture
def engine() -> Engine:
    return DuckDBEngine()


@pytest.fixture
async def warehouse(engine: Engine, s3: Any) -> AsyncIterator[Warehouse]:
    async with WarehouseServer(engine, s3, time.time) as server:
        yield Warehouse(server)
