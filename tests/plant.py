"""A pipeline's second half with everything it needs: moto's server, and DuckDB behind the Data API."""

from __future__ import annotations

import asyncio
import csv
import gzip
import hashlib
import io
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import msgspec
import pytest

from fastetl import keys
from fastetl.aws.deployment import Deployment
from fastetl.aws.ledger import Ledger
from fastetl.aws.redshift import Warehouse
from fastetl.aws.s3 import Bucket
from fastetl.aws.source import SourceTable
from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Config, LoadPolicy, Pipeline, RedshiftTarget
from fastetl.load.epochs import Epochs
from fastetl.load.loader import Loader, Step
from fastetl.local.warehouse import Caller
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.model import FileItem, Layout
from fastetl.operate import SchemaWriter
from fastetl.sql.text import Statement
from fastetl.versions import build_version
from tests.conftest import CREDENTIALS, Aws
from tests.deployments import make_deployment

LOADER = Caller(
    "arn:aws:sts::123456789012:assumed-role/stack-CoordinatorRole/stack-Coordinator",
    "IAMR:stack-CoordinatorRole",
    session_only=True,
)
CALLERS = {"coordinator": LOADER}

LABEL = "2026-01-01T00:00:00.000"


def make_pipeline(**changes: Any) -> Pipeline:
    known: dict[str, Any] = {
        "name": "orders",
        "table": "orders",
        "keys": ("id",),
        "schema": "public",
        "target": "orders",
        "outputs": frozenset({"mirror", "log"}),
        "columns": (
            Column("id", ("id",), RedshiftType.parse("BIGINT")),
            Column("amount", ("amount",), RedshiftType.parse("DECIMAL(38,10)")),
            Column("note", ("note",), RedshiftType.parse("VARCHAR(20)")),
        ),
        "load": LoadPolicy(max_bytes=1),
        "redshift": RedshiftTarget(workgroup="local", load_user=LOADER.database_user),
    }
    return Pipeline(**(known | changes))


class Change(msgspec.Struct):
    """A row of a file, written by hand."""

    id: int
    sequence: int
    amount: str = "1"
    note: str = "x"
    op: str = "MODIFY"
    second: int = 0
    epoch: int = 0

    @property
    def changed_at(self) -> str:
        return f"2026-01-01 00:{self.second // 60:02d}:{self.second % 60:02d}"

    @property
    def event_id(self) -> str:
        return f"event-{self.sequence}"

    def row(self, file_id: str, columns: list[str], null: str) -> list[str]:
        gone = self.op == "REMOVE"
        values = {
            "_key": f"N={self.id};", "_version": build_version(self.epoch, LABEL, str(self.sequence)), "_op": self.op,
            "_event_id": self.event_id, "_changed_at": f"{self.changed_at}.000000", "_deleted": str(gone).lower(),
            "_file": file_id, "id": str(self.id), "amount": null if gone else self.amount,
            "note": null if gone else self.note,
        }  # fmt: skip
        return [values[name] for name in columns]


class Plant:
    """A pipeline with everything it needs, and a clock that is moved by hand."""

    def __init__(
        self,
        config: Config,
        bucket: Bucket,
        ledger: Ledger,
        server: WarehouseServer,
        client: Any,
        coordinator: Any,
    ) -> None:
        self.config, self.bucket, self.ledger, self.server = config, bucket, ledger, server
        self.now = time.time()
        self.warehouse = Warehouse(client, config.pipelines[0].redshift)
        """As an operator, who owns the tables."""
        self.loading = Warehouse(coordinator, config.pipelines[0].redshift)
        """As the coordinator, with what was granted to it."""
        self.source: Any = SourceTable(ledger.table._client, "orders")
        self.loader = self.new_loader()

    @property
    def pipeline(self) -> Pipeline:
        return self.config.pipelines[0]

    def deployment(self, **changes: Any) -> Deployment:
        """The deployment of the pipeline, some of whose settings are changed."""
        pipeline = msgspec.structs.replace(self.pipeline, **changes)
        return make_deployment(
            self.config, pipeline, self.bucket, self.ledger, self.warehouse, self.source, clock=lambda: self.now
        )

    def new_loader(self, **changes: Any) -> Loader:
        return Loader(msgspec.structs.replace(self.deployment(**changes), warehouse=self.loading))

    async def put(self, *changes: Change, layout: Layout | None = None, rows: int = -1) -> str:
        layout = layout or self.pipeline.layout
        names = "\n".join(change.event_id for change in changes)
        file_id = hashlib.blake2b(names.encode(), digest_size=16).hexdigest()
        text = io.StringIO()
        columns = [name for name, _ in layout.columns]
        csv.writer(text, lineterminator="\n").writerows(
            change.row(file_id, columns, layout.null_marker) for change in changes
        )
        body = gzip.compress(text.getvalue().encode(), mtime=0)
        key = keys.data_key("", self.pipeline.name, LABEL, "2026-01-01 00", file_id, "gzip")
        layout_key = keys.layout_key("", self.pipeline.name, layout.layout_id)
        await self.bucket.replace(layout_key, msgspec.json.encode(layout))
        await self.bucket.replace(key, body)
        item = FileItem(
            file_id=file_id, pipeline=self.pipeline.name, key=key, layout_id=layout.layout_id, checksum="",
            bytes=len(body), rows=len(changes) if rows < 0 else rows, rejects=0, rejects_key="", version_min="",
            version_max="", changed_min=f"{min(change.changed_at for change in changes)}.000000",
            changed_max=f"{max(change.changed_at for change in changes)}.000000",
            created=int(self.now * 1000),
        )  # fmt: skip
        await self.ledger.files.register(item)
        return file_id

    async def run(self, loader: Loader | None = None, *, until: Callable[[Step], bool] | None = None) -> list[str]:
        """Wake up until there is nothing to do (or until told), passing over delays; give the actions taken."""
        actions: list[str] = []
        waited = 0
        while waited < 200:
            step = await (loader or self.loader).wake_up()
            if step.progressed:
                actions.append(step.action)
                waited = 0
            if until and until(step):
                return actions
            if step.action == "idle":
                head = await self.ledger.batches.head(self.pipeline.name)
                assert head is not None
                if not head.open or waited > 3:
                    return actions
                self.now += 4000
            if not step.progressed:
                waited += 1
                await asyncio.sleep(0.02)
        raise AssertionError(f"not settled: {actions}")

    async def lose_head(self) -> None:
        """Delete HEAD, as if no coordinator had woken yet."""
        table = self.ledger.table
        await table._client.delete_item(TableName=table.name, Key={"pk": {"S": f"P#{self.pipeline.name}"}})

    async def sql(self, text: str) -> list[tuple[str, ...]]:
        return await self.warehouse.rows(await self.execute(text), 0)

    async def execute(self, text: str) -> str:
        return await self.warehouse.run([Statement("test", text)], name="test", token=(time.time_ns(),))

    async def mirror(self) -> list[tuple[str, ...]]:
        return await self.sql('SELECT "id", "amount", "note" FROM "public"."orders_current" ORDER BY "id"')

    async def states(self) -> dict[str, str]:
        client = self.ledger.table._client
        answer = await client.scan(TableName=self.ledger.table.name)
        return {row["file_id"]["S"]: row["state"]["S"] for row in answer["Items"] if row["pk"]["S"].startswith("F#")}


@pytest.fixture
async def make_plant(aws: Aws) -> AsyncIterator[Callable[..., Any]]:
    servers: list[WarehouseServer] = []
    blocking = boto3.client("s3", endpoint_url=aws.endpoint_url, **CREDENTIALS)

    async def make(**changes: Any) -> Plant:
        server = WarehouseServer(DuckDBEngine(), blocking, time.time, callers=CALLERS)
        await server.start()
        servers.append(server)
        name = await aws.new_bucket()
        ledger = await aws.new_ledger()
        config = Config(name, ledger.table.name, (make_pipeline(**changes),))
        clients = await warehouse_clients(aws, server)
        plant = Plant(config, Bucket(await aws.client("s3"), name), ledger, server, *clients)
        await create_tables(plant)
        # As the coordinator does when it first wakes: without HEAD ingest stamps nothing.
        await Epochs(plant.deployment()).head()
        return plant

    yield make
    for server in servers:
        await server.stop()
    blocking.close()


async def warehouse_clients(aws: Aws, server: WarehouseServer) -> tuple[Any, Any]:
    """An operator's client of the Data API, and the coordinator's."""
    keys = (CREDENTIALS["aws_access_key_id"], *CALLERS)
    operator, coordinator = [
        await aws.client("redshift-data", endpoint_url=server.endpoint_url, aws_access_key_id=key) for key in keys
    ]
    return operator, coordinator


async def create_tables(plant: Plant) -> None:
    applied = await SchemaWriter(plant.deployment()).apply()
    assert applied.problems == []
