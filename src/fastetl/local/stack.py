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
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aioboto3
import boto3
import orjson

from fastetl.aws import TABLE_SCHEMA, Bucket, Ledger, Warehouse, build_deployment
from fastetl.config import Config, Pipeline, parse_config
from fastetl.errors import ConfigError, Problem, StaleStepError, WarehouseError
from fastetl.local.functions import (
    EventSource,
    FailureDestination,
    Function,
    FunctionSettings,
    InvokeResult,
    KinesisDestination,
    KinesisStream,
    MappingSettings,
    TableStream,
)
from fastetl.local.kept import AWS, WAREHOUSE, KeptFolder, Positions
from fastetl.local.moto_process import MotoProcess
from fastetl.local.warehouse import ACCOUNT, Caller, DuckDBEngine, Engine, WarehouseServer
from fastetl.operate import SchemaWriter
from fastetl.sql import Statement

REGION = "us-east-1"
BUCKET, LEDGER_TABLE, WORKGROUP = "fastetl-local", "fastetl-ledger", "local"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": REGION}
COORDINATOR = Caller(
    f"arn:aws:sts::{ACCOUNT}:assumed-role/local-CoordinatorRole/local-Coordinator",
    "IAMR:local-CoordinatorRole",
    session_only=True,
)
"""As whom the coordinator calls the Data API: a role of its own, with the rights that `fastetl ddl` grants."""
_COORDINATOR_KEY = "coordinator"
_SDK_CREDENTIALS: Any = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": REGION}

WAKE_UP_SECONDS = 1.0
"""The schedule; a deployment has a minute."""

WarehouseKind = Literal["duckdb", "postgres"]


class SettlingError(Exception):
    """What was written does not arrive; the functions' logs say why."""


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
        self._mapping = mapping or MappingSettings(batch_size=1000, maximum_batching_window_in_seconds=0.2)
        self._warehouse_kind = warehouse
        self._ports = ports
        self._variables = variables or {}
        self._root = root
        self._on_line = on_line or (lambda _function, _line: None)
        self._kept = KeptFolder(data) if data else None
        self._positions: Positions = {}
        self._is_complete = False
        self._stack = AsyncExitStack()
        self._wake = asyncio.Event()
        self._coordinating: asyncio.Task[None] | None = None
        self.sources: dict[str, EventSource] = {}
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
        if self._kept:
            self._positions = self._kept.open(directory)
            self._stack.callback(self._kept.close)
        moto = MotoProcess(self._ports[0], directory / AWS if self._kept else None)
        self._stack.push_async_callback(moto.stop)
        await moto.start()
        if self._kept:
            self._stack.push_async_callback(self._keep, self._kept, moto, directory)
        self.endpoint_url = moto.endpoint_url
        blocking = boto3.client("s3", endpoint_url=self.endpoint_url, **_SDK_CREDENTIALS)
        self._stack.callback(blocking.close)
        callers = {_COORDINATOR_KEY: COORDINATOR}
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
        if not await self._has_table(LEDGER_TABLE):
            await self.s3.create_bucket(Bucket=BUCKET)
            await self.dynamodb.create_table(TableName=LEDGER_TABLE, BillingMode="PAY_PER_REQUEST", **TABLE_SCHEMA)
        environment = {
            **_inherited(), **self._named_variables(self.config), **self.environment,
            "FASTETL_CONFIG": str(self._config_path), **self._in_root(), **self._variables,
        }  # fmt: skip
        self.ingest = await self._function("ingest", environment)
        environment |= {"AWS_ACCESS_KEY_ID": _COORDINATOR_KEY}
        self.coordinator = await self._function("coordinator", environment, concurrency=1)
        self._is_complete = True

    async def _keep(self, kept: KeptFolder, moto: MotoProcess, directory: Path) -> None:
        """Keep what the stack holds, once its mappings, functions and warehouse have come to their end."""
        if not self._is_complete:
            return
        await moto.save()
        positions = {name: source.positions() for name, source in self.sources.items()}
        kept.keep(directory, {**self._positions, **positions})

    async def _has_table(self, name: str) -> bool:
        return name in (await self.dynamodb.list_tables())["TableNames"]

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

    def _in_root(self) -> dict[str, str]:
        """Name the folder in which the functions look for modules and files, as if it were their package."""
        if self._root is None:
            return {}
        folder = str(self._root.absolute())
        python_path = os.pathsep.join([folder, *(path for path in sys.path if path)])
        return {"LAMBDA_TASK_ROOT": folder, "PYTHONPATH": python_path}

    def _named_variables(self, config: Config) -> dict[str, str]:
        """Give the environment variables that the configuration names, as this process has them.

        Raises:
            ConfigError: one is not set.
        """
        found = {**os.environ, **self._variables}
        named = {name: pipeline.name for pipeline in config.pipelines for name in pipeline.variables}
        if missing := [name for name in named if not found.get(name)]:
            raise ConfigError(
                tuple(
                    Problem(f"pipeline {named[name]}", f"{name} is not set", f"Set it: export {name}=...")
                    for name in missing
                )
            )
        return {name: found[name] for name in named}

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
        session: Any = aioboto3.Session()
        return await self._stack.enter_async_context(session.client(service, endpoint_url=url, **_SDK_CREDENTIALS))

    async def deploy(self, config_text: str) -> None:
        """Let both functions go on with a changed configuration.

        A new pipeline gets its tables and its mapping; of one that is gone the mapping ends. The tables of the others
        stay as they are.

        Raises:
            ConfigError: it is wrong, or a pipeline reads another table or stream than at the start.
        """
        config = parse_config(config_text, self._settings)
        self._named_variables(config)
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
        await self._map_all()

    # --- tables and streams --------------------------------------------------------------------------------------

    async def create_tables(self) -> None:
        """Create every pipeline's DynamoDB table, with a stream of both images, and its tables in the warehouse."""
        for pipeline in self.config.pipelines:
            await self._create_tables_of(pipeline)

    async def _create_tables_of(self, pipeline: Pipeline) -> None:
        if not await self._has_table(pipeline.table):
            await self.dynamodb.create_table(
                TableName=pipeline.table,
                BillingMode="PAY_PER_REQUEST",
                KeySchema=[
                    {"AttributeName": name, "KeyType": kind}
                    for name, kind in zip(pipeline.keys, ("HASH", "RANGE"), strict=False)
                ],
                AttributeDefinitions=[
                    {"AttributeName": name, "AttributeType": _key_type(pipeline, name)} for name in pipeline.keys
                ],
                StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            )
        await self._make_tables(pipeline)

    async def connect(self) -> None:
        """Let changes flow: map each table's stream to ingest, and wake the coordinator from time to time."""
        await self._map_all()
        self._coordinating = asyncio.create_task(self._coordinate())
        self._stack.push_async_callback(self._stop_coordinating)

    async def _map_all(self) -> None:
        """Map every stream that a pipeline reads, and end the mappings of those that none reads any more.

        The changes of a table that is read through Kinesis are first written to that stream, as DynamoDB would.
        """
        pipelines, wanted = self.config.pipelines, set[str]()
        for pipeline in pipelines:
            wanted.add(pipeline.name)
            if pipeline.name not in self.sources:
                described = await self.dynamodb.describe_table(TableName=pipeline.table)
                reader = TableStream(self.streams, described["Table"]["LatestStreamArn"])
                if pipeline.source == "kinesis":
                    await self._create_stream(pipeline)
                    await self._map(pipeline.name, reader, KinesisDestination(self.kinesis, pipeline.stream_arn).write)
                else:
                    await self._map(pipeline.name, reader, self.ingest.invoke)
        for arn in {pipeline.stream_arn for pipeline in pipelines if pipeline.source == "kinesis"}:
            wanted.add(arn)
            if arn not in self.sources:
                await self._map(arn, KinesisStream(self.kinesis, arn), self.ingest.invoke)
        for name in self.sources.keys() - wanted:
            ended = self.sources.pop(name)
            await ended.stop()
            self._positions[name] = ended.positions()

    async def _map(
        self, name: str, reader: TableStream | KinesisStream, invoke: Callable[[bytes], Awaitable[InvokeResult]]
    ) -> None:
        gone = FailureDestination(self.s3, BUCKET, self.ingest.settings.arn, time.time, name.rpartition("/")[2])
        source = EventSource(
            reader,
            invoke,
            self._mapping,
            clock=time.time,
            on_failure=gone.write,
            positions=self._positions.get(name, {}),
        )
        self.sources[name] = await self._stack.enter_async_context(source)

    async def _create_stream(self, pipeline: Pipeline) -> None:
        """Create the Kinesis stream that a pipeline reads, with one shard, where there is none of its name."""
        name = pipeline.stream_arn.rpartition("/")[2]
        if name not in (await self.kinesis.list_streams())["StreamNames"]:
            await self.kinesis.create_stream(StreamName=name, ShardCount=1)

    async def _coordinate(self) -> None:
        while True:
            await self.coordinator.invoke(b"{}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAKE_UP_SECONDS):
                    await self._wake.wait()
            self._wake.clear()

    async def _stop_coordinating(self) -> None:
        if self._coordinating:
            self._coordinating.cancel()
            await asyncio.gather(self._coordinating, return_exceptions=True)

    async def _completed(self, _event: dict[str, Any]) -> None:
        self._wake.set()

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
                # Tables first: their changes may go through a Kinesis stream, whose mapping is named by its ARN.
                for name in sorted(self.sources, key=lambda name: name.startswith("arn:")):
                    await self.sources[name].drain()
                for pipeline in self.config.pipelines:
                    await self._load_all(pipeline)
        except TimeoutError:
            raise SettlingError("\n".join(self.log[-20:])) from None

    async def _load_all(self, pipeline: Pipeline) -> None:
        while True:
            head = await self.ledger.batches.head(pipeline.name)
            try:
                waits = await anext(self.ledger.files.pending(pipeline.name), None) is not None
            except KeyError:  # moto shows an update that is half done
                waits = True
            if head and head.paused:
                raise SettlingError(f"{pipeline.name} is paused: {head.paused}")
            if head and not head.open and not waits:
                return
            if head and not head.open and not head.load_requested:
                with contextlib.suppress(StaleStepError):  # the coordinator changed HEAD; look again
                    await self.ledger.batches.change_head(head, load_requested=True)
                self._wake.set()
            await asyncio.sleep(0.05)

    # --- the warehouse -------------------------------------------------------------------------------------------

    async def _make_tables(self, pipeline: Pipeline) -> None:
        clients = {"s3": self.s3, "dynamodb": self.dynamodb, "redshift-data": self.redshift}
        deployment = build_deployment(
            self.config, pipeline, clients, clock=time.time, new_name=lambda: uuid.uuid4().hex
        )
        if problems := (await SchemaWriter(deployment).apply()).problems:
            raise WarehouseError("; ".join(problems))

    async def run_sql(self, pipeline: Pipeline, sql: tuple[Statement, ...]) -> list[list[dict[str, Any]]]:
        """Run statements in one transaction; give the rows of the last one, as the Data API's fields."""
        warehouse = Warehouse(self.redshift, pipeline.redshift)
        token = (time.time_ns(),)
        statement_id = await warehouse.submit(sql, name=sql[-1].step, token=token)
        while (run := await warehouse.describe(statement_id)).state == "RUNNING":  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.01)
        if run.state != "FINISHED":
            raise SettlingError(f"{sql[max(run.failed_index, 0)].step}: {run.error}")
        rows: list[list[dict[str, Any]]] = []
        described = await self.redshift.describe_statement(Id=statement_id)
        if described["SubStatements"][-1]["HasResultSet"]:
            page: dict[str, str] = {}
            while True:
                answer = await self.redshift.get_statement_result(Id=f"{statement_id}:{len(sql)}", **page)
                rows += answer["Records"]
                if not answer.get("NextToken"):
                    return rows
                page = {"NextToken": answer["NextToken"]}
        return rows

    def metrics(self) -> dict[str, float]:
        """Sum the metrics that the functions have written so far, by name."""
        sums: dict[str, float] = {}
        for line in self.log:
            if not line.startswith("{") or '"_aws"' not in line:
                continue
            record = orjson.loads(line)
            for directive in record["_aws"]["CloudWatchMetrics"]:
                for metric in directive["Metrics"]:
                    value = record[metric["Name"]]
                    total = sum(value) if isinstance(value, list) else value
                    sums[metric["Name"]] = sums.get(metric["Name"], 0) + total
        return sums


def _build_engine(kind: WarehouseKind, path: Path | None) -> Engine:
    if kind == "duckdb":
        return DuckDBEngine(path)
    from fastetl.local.warehouse import PostgresEngine  # noqa: PLC0415 - looks for the server's binaries

    return PostgresEngine()


def _source_of(pipeline: Pipeline) -> tuple[Any, ...]:
    return pipeline.name, pipeline.table, pipeline.keys, pipeline.source, pipeline.stream_arn


def _inherited() -> dict[str, str]:
    """Give what a process needs of this one's environment, without AWS settings of whoever runs it."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}


def _key_type(pipeline: Pipeline, name: str) -> str:
    """Give a key attribute's type, by the column that declares it; text where none does."""
    for column in pipeline.columns:
        if column.path == (name,):
            return column.tag if column.tag in {"N", "B"} else "S"
    return "S"
