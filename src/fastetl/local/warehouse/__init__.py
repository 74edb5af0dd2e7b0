"""A Redshift on one machine: the Data API over HTTP, with DuckDB or PostgreSQL behind it."""

from __future__ import annotations

from fastetl.local.warehouse.client import query
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.engine import Engine
from fastetl.local.warehouse.executions import ACCOUNT, Caller
from fastetl.local.warehouse.postgres_engine import PostgresEngine

__all__ = [
    "ACCOUNT",
    "Caller",
    "DuckDBEngine",
    "Engine",
    "PostgresEngine",
    "WarehouseServer",
    "query",
]
