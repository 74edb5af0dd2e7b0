"""Everything that a deployment has, on one machine: tables, streams, bucket, ledger, both functions, the warehouse.

```
async with Embedded(config_text) as stack:
    await stack.create_tables()          # DynamoDB tables with streams, and the warehouse's own
    await stack.connect()                # from here on changes flow
    ...
    await stack.settle()                 # until everything written so far is loaded
```
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aioboto3
import boto3

from fastetl.aws import TABLE_SCHEMA, Bucket, Ledger, build_deployment
from fastetl.config import Config, Pipeline, parse_config
from fastetl.errors import ConfigError, Problem, StaleStepError, WarehouseError
from fastetl.load import Epochs
from fastetl.local.environment import (
    BUCKET,
    COORDINATOR,
    COORDINATOR_KEY,
    CREDENTIALS,
    LEDGER_TABLE,
    SDK_CREDENTIALS,
    WORKGROUP,
    inherited_variables,
    named_variables,
    root_variables,
)
from fastetl.local.functions import EventSource, Function, FunctionSettings, InvokeResult, MappingSettings
from fastetl.local.kept import AWS, WAREHOUSE, KeptFolder, Positions
from fastetl.local.mappings import Mappings
from fastetl.local.metrics import sum_metrics
from fastetl.local.moto_process import MotoProcess
from fastetl.local.queries import run_sql
from fastetl.local.source_tables import create_source_table, create_table
from fastetl.local.wake_ups import SettlingError, WakeUps
from fastetl.local.warehouse import DuckDBEngine, Engine, WarehouseServer
from fastetl.operate import SchemaWriter
from fastetl.sql import Statement

WarehouseKind = Literal["duckdb", "postgres"]


MAPPING = MappingSettings(
    batch_size=1000,
    maximum_batching_window_in_seconds=0.2,
    bisect_batch_on_function_error=True,
    report_batch_item_failures=True,
    tumbling_window_in_seconds=900,
)
"""As in `template.yaml`, apart from the sizes."""


class Embedded:
    """AWS and a deployment of fastetl in it, as long as the context lasts."""

    def __init__(
        self,
        config_text: str,
        *,
        mapping: MappingSettings | None = None,
        warehouse: WarehouseKind = "duckdb",
        ports: tuple[int, int] = (0, 0),
        variables: dict[str, str] | None = None,
        root: Path | None = None,
        on_line: Callable[[str, str], None] | None = None,
        data: Path | None = None,
    ) -> None:
        """Describe a stack.

        Args:
            config_text: `fastetl.toml`; bucket, ledger table and workgroup are set by the stack.
            mapping: as of the event source mappings.
            warehouse: what runs the SQL.
            ports: of AWS and of the Data API; 0 takes a free one.
            variables: more environment variables for both functions.
            root: the folder with the user's modules and the files that enrichments read.
            on_line: told the function and each line of its log, as it is written.
            data: a folder that keeps what the stack holds from one run to the next; only with DuckDB.
        """
        self._config_text = config_text
        self._mapping = mapping or MAPPING
        self._warehouse_kind = warehouse
        self._ports = ports
        self._variables = variables or {}
        self._root = root
        self._on_line = on_line or (lambda _function, _line: None)
        self._kept = KeptFolder(data) if data else None
        self._is_complete = False
        self._stack = AsyncExitStack()
        self._session: Any = aioboto3.Session()
        self.log: list[str] = []
        """The functions' log lines, the latest last."""

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # --- starting ------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fastetl-local-")))
        positions: Positions = {}
        if self._kept:
            positions = self._kept.open(directory)
            self._stack.callback(self._kept.close)
        moto = MotoProcess(self._ports[0], directory / AWS if self._kept else None)
        self._stack.push_async_callback(moto.stop)
        await moto.start()
        if self._kept:
            self._stack.push_async_callback(self._keep, self._kept, moto, directory)
        self.endpoint_url = moto.endpoint_url
        blocking = boto3.client("s3", endpoint_url=self.endpoint_url, **SDK_CREDENTIALS)
        self._stack.callback(blocking.close)
        callers = {COORDINATOR_KEY: COORDINATOR}
        engine = _build_engine(self._warehouse_kind, directory / WAREHOUSE if self._kept else None)
        self._server = WarehouseServer(engine, blocking, time.time, self._completed, callers=callers)
        await self._server.start(self._ports[1])
        self._stack.push_async_callback(self._server.stop)
        self.config: Config = parse_config(self._config_text, self._settings)
        self._config_path = directory / "fastetl.toml"
        self._config_path.write_text(self._config_text, encoding="utf-8")
        self.s3, self.dynamodb, self.streams, self.kinesis, self.redshift = [
            await self.client(service) for service in ("s3", "dynamodb", "dynamodbstreams", "kinesis", "redshift-data")
        ]
        self.bucket, self.ledger = Bucket(self.s3, BUCKET), Ledger(self.dynamodb, LEDGER_TABLE)
        await self.s3.create_bucket(Bucket=BUCKET)  # S3 takes it again from its owner in us-east-1
        await create_table(self.dynamodb, LEDGER_TABLE, **TABLE_SCHEMA)
        environment = {
            **inherited_variables(), **named_variables(self.config, self._variables), **self.environment,
            "FASTETL_CONFIG": str(self._config_path), **root_variables(self._root), **self._variables,
        }  # fmt: skip
        self.ingest = await self._function("ingest", environment)
        clients = {"s3": self.s3, "dynamodb": self.dynamodb, "dynamodbstreams": self.streams, "kinesis": self.kinesis}
        self._mappings = Mappings(self._mapping, clients, self.ingest, self._stack, positions)
        environment |= {"AWS_ACCESS_KEY_ID": COORDINATOR_KEY}
        self.coordinator = await self._function("coordinator", environment, concurrency=1)
        self._wake_ups = WakeUps(self.coordinator, self.ledger)
        self._is_complete = True

    async def _keep(self, kept: KeptFolder, moto: MotoProcess, directory: Path) -> None:
        """Keep what the stack holds, once its mappings, functions and warehouse have come to their end."""
        if not self._is_complete:
            return
        await moto.save()
        kept.keep(directory, self._mappings.positions())

    async def _function(self, name: str, environment: dict[str, str], concurrency: int = 4) -> Function:
        settings = FunctionSettings(
            name, f"fastetl.lambdas.{name}.handler", environment, memory_mb=1769, concurrency=concurrency
        )

        def keep(line: str) -> None:
            self.log.append(line)
            self._on_line(name, line)

        function = Function(settings, keep)
        self._stack.push_async_callback(function.close)
        return function

    @property
    def sources(self) -> dict[str, EventSource]:
        """The mappings: by pipeline; of Kinesis, by the stream's ARN."""
        return self._mappings.sources

    @property
    def environment(self) -> dict[str, str]:
        """With these variables any AWS client, and fastetl's own commands, reach the stack."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_REDSHIFT_DATA": self._server.endpoint_url,
            **self._settings,
        }

    @property
    def _settings(self) -> dict[str, str]:
        return {
            "FASTETL_BUCKET": BUCKET,
            "FASTETL_LEDGER_TABLE": LEDGER_TABLE,
            "FASTETL_REDSHIFT_LOAD_USER": COORDINATOR.database_user,
            "FASTETL_REDSHIFT_WORKGROUP": WORKGROUP,
        }

    async def client(self, service: str) -> Any:
        """Give an SDK client of the stack, closed with it."""
        url = self._server.endpoint_url if service == "redshift-data" else self.endpoint_url
        return await self._stack.enter_async_context(self._session.client(service, endpoint_url=url, **SDK_CREDENTIALS))

    async def deploy(self, config_text: str) -> None:
        """Let both functions go on with a changed configuration.

        A new pipeline gets its tables and its mapping; of one that is gone the mapping ends. The tables of the others
        stay as they are.

        Raises:
            ConfigError: it is wrong, or a pipeline reads another table or stream than at the start.
        """
        config = parse_config(config_text, self._settings)
        named_variables(config, self._variables)
        known = {pipeline.name: pipeline for pipeline in self.config.pipelines}
        for pipeline in config.pipelines:
            if pipeline.name in known and _source_of(pipeline) != _source_of(known[pipeline.name]):
                message = "it reads another table, key or stream than at the start"
                remedy = "Give the pipeline another name, or end `fastetl local` and start it again"
                raise ConfigError((Problem(f"pipeline {pipeline.name}", message, remedy),))
        self.config = config
        self._config_path.write_text(config_text, encoding="utf-8")
        self.ingest.renew()
        self.coordinator.renew()
        for pipeline in config.pipelines:
            if pipeline.name not in known:
                await self._create_tables_of(pipeline)
        await self._mappings.map_all(config.pipelines)

    # --- tables and streams --------------------------------------------------------------------------------------

    async def create_tables(self) -> None:
        """Create every pipeline's DynamoDB table, with a stream of both images, and its tables in the warehouse."""
        for pipeline in self.config.pipelines:
            await self._create_tables_of(pipeline)

    async def _create_tables_of(self, pipeline: Pipeline) -> None:
        await create_source_table(self.dynamodb, pipeline)
        clients = {"s3": self.s3, "dynamodb": self.dynamodb, "redshift-data": self.redshift}
        deployment = build_deployment(
            self.config, pipeline, clients, clock=time.time, new_name=lambda: uuid.uuid4().hex
        )
        if problems := (await SchemaWriter(deployment).apply()).problems:
            raise WarehouseError("; ".join(problems))
        # As the coordinator does when it first wakes, and may have done just now: without HEAD ingest stamps no change.
        with contextlib.suppress(StaleStepError):
            await Epochs(deployment).head()

    async def connect(self) -> None:
        """Let changes flow: map each table's stream to ingest, and wake the coordinator from time to time."""
        await self._mappings.map_all(self.config.pipelines)
        self._wake_ups.start()
        self._stack.push_async_callback(self._wake_ups.stop)

    async def wait_for_coordinator(self) -> None:
        """Wait until the coordinator has woken once after `connect`, so that every command finds what it makes."""
        await self._wake_ups.wait_for_first()

    async def _completed(self, _event: dict[str, Any]) -> None:
        self._wake_ups.wake()

    async def invoke_ingest(self, event: bytes) -> InvokeResult:
        """Deliver an event by hand."""
        return await self.ingest.invoke(event)

    async def settle(self, timeout_seconds: float = 120.0) -> None:
        """Wait until everything that was written before is in the warehouse.

        Raises:
            SettlingError: it takes longer, or a pipeline is paused.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._mappings.drain()
                for pipeline in self.config.pipelines:
                    await self._wake_ups.load_all(pipeline)
        except TimeoutError:
            raise SettlingError("\n".join(self.log[-20:])) from None

    async def run_sql(self, pipeline: Pipeline, sql: tuple[Statement, ...]) -> list[list[dict[str, Any]]]:
        """Run statements in one transaction; give the rows of the last one, as the Data API's fields."""
        return await run_sql(self.redshift, pipeline, sql)

    def metrics(self) -> dict[str, float]:
        """Sum the metrics that the functions have written so far, by name."""
        return sum_metrics(self.log)


def _build_engine(kind: WarehouseKind, path: Path | None) -> Engine:
    if kind == "duckdb":
        return DuckDBEngine(path)
    from fastetl.local.warehouse import PostgresEngine  # noqa: PLC0415 - looks for the server's binaries

    return PostgresEngine()


def _source_of(pipeline: Pipeline) -> tuple[Any, ...]:
    return pipeline.name, pipeline.table, pipeline.keys, pipeline.source, pipeline.stream_arn
