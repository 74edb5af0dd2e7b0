"""The embedded Redshift Data API: a server that any AWS SDK reaches through `AWS_ENDPOINT_URL_REDSHIFT_DATA`."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import msgspec
import orjson
from aiohttp import web

from fastetl.local.warehouse import data_api_wire as wire
from fastetl.local.warehouse.copy_source import S3Client
from fastetl.local.warehouse.data_api_wire import ApiError
from fastetl.local.warehouse.engine import Engine
from fastetl.local.warehouse.executions import ACCOUNT, ENDED, Caller, Execution, Runner

MAX_ACTIVE_STATEMENTS = 500
TOKEN_SECONDS = 8 * 3600
RESULT_SECONDS = 24 * 3600
"""How long a ClientToken and a statement are remembered (Redshift Data API reference and guide)."""

DESCRIBE_SECONDS = 0.1
"""DescribeStatement answers at the statement's end or after this time: who polls asks seldom, and learns it at once."""

_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_MAX_BODY_BYTES = 8 * 1024 * 1024
_CONTENT_TYPE = "application/x-amz-json-1.1"

Completion = Callable[[dict[str, Any]], Awaitable[None]]


class WarehouseServer:
    """A warehouse on 127.0.0.1 that speaks the Redshift Data API.

    ```
    async with WarehouseServer(DuckDBEngine(), s3=boto3.client("s3"), clock=time.time) as warehouse:
        client = session.client("redshift-data", endpoint_url=warehouse.endpoint_url)
    ```
    Statements run in the background, one transaction each, as many at once as the engine bears; a batch is one
    transaction. `hold` keeps submitted statements from starting until `release`, and `start_delay_seconds` delays
    each: what a busy warehouse does.
    """

    def __init__(
        self,
        engine: Engine,
        s3: S3Client,
        clock: Callable[[], float],
        on_completion: Completion | None = None,
        *,
        callers: Mapping[str, Caller] | None = None,
    ) -> None:
        """Describe a server.

        Args:
            engine: the database; started and stopped with the server.
            s3: a blocking client, from which COPY reads.
            clock: unix seconds.
            on_completion: gets the EventBridge event of each statement that was run `WithEvent`.
            callers: by access key id; any other key is an IAM user's, who may do everything.
        """
        self.start_delay_seconds = 0.0
        self._callers = dict(callers or {})
        self._engine = engine
        self._clock = clock
        self._on_completion = on_completion
        self._runner = Runner(engine, s3, clock)
        self._executions: dict[str, Execution] = {}
        self._tokens: dict[tuple[str, str], Execution] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._may_start = asyncio.Event()
        self._may_start.set()
        self._threads: ThreadPoolExecutor | None = None
        self._web: web.AppRunner | None = None
        self._port = 0

    @property
    def endpoint_url(self) -> str:
        """The value of `AWS_ENDPOINT_URL_REDSHIFT_DATA` that reaches it."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self, port: int = 0) -> None:
        """Start the database and listen; port 0 takes a free one.

        Args:
            port: that it listens on; 0 takes a free one.
        """
        self._threads = ThreadPoolExecutor(self._engine.concurrency, thread_name_prefix="warehouse")
        await asyncio.to_thread(self._engine.start)
        await asyncio.to_thread(self._runner.install)
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/", self._handle)
        self._web = web.AppRunner(app, access_log=None)
        await self._web.setup()
        await web.TCPSite(self._web, "127.0.0.1", port).start()
        self._port = self._web.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening, cancel what runs, and stop the database."""
        if self._web is not None:
            await self._web.cleanup()
        for execution in self._executions.values():
            await asyncio.to_thread(self._runner.cancel, execution)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._threads is not None:
            # What still runs has been interrupted, and ends before the database does.
            await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._engine.stop)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def query_id_skew(self) -> int:
        """How much the query ids of load errors differ from the Data API's."""
        return self._runner.query_id_skew

    @query_id_skew.setter
    def query_id_skew(self, skew: int) -> None:
        self._runner.query_id_skew = skew

    def hold(self) -> None:
        """Let no submitted statement start from now on; those that run go on."""
        self._may_start.clear()

    def release(self) -> None:
        """Let held statements start."""
        self._may_start.set()

    async def _handle(self, request: web.Request) -> web.Response:
        prefix, _, operation = request.headers.get("X-Amz-Target", "").partition(".")
        try:
            if prefix != "RedshiftData" or operation not in _OPERATIONS:
                raise ApiError("UnknownOperationException", f"{operation} is not emulated")
            kind, method = _OPERATIONS[operation]
            self._forget()
            caller = self._caller(request)
            body = await method(self, msgspec.json.decode(await request.read() or b"{}", type=kind), caller)
        except msgspec.DecodeError as error:
            return _respond(ApiError("ValidationException", str(error)).body, status=400)
        except ApiError as error:
            return _respond(error.body, status=400)
        return _respond(body)

    def _caller(self, request: web.Request) -> Caller:
        signed = _CREDENTIAL.search(request.headers.get("Authorization", ""))
        key = signed[1] if signed else "nobody"
        return self._callers.get(key, Caller(f"arn:aws:iam::{ACCOUNT}:user/{key}"))

    async def _submit(
        self, request: wire.ExecuteStatement | wire.BatchExecuteStatement, caller: Caller
    ) -> dict[str, Any]:
        sqls = wire.check_submission(request)
        execution = self._tokens.get((caller.arn, request.client_token))
        if execution is None:
            if sum(known.status not in ENDED for known in self._executions.values()) >= MAX_ACTIVE_STATEMENTS:
                raise ApiError("ActiveStatementsExceededException", "Active statements exceeded the allowed quota")
            now = self._clock()
            execution = Execution(
                id=str(uuid.uuid4()),
                name=request.statement_name,
                statements=self._runner.prepare(sqls),
                is_batch=isinstance(request, wire.BatchExecuteStatement),
                connection=request.connection,
                caller=caller,
                with_event=request.with_event,
                created_at=now,
                updated_at=now,
            )
            self._executions[execution.id] = execution
            if request.client_token:
                self._tokens[caller.arn, request.client_token] = execution
            task = self._tasks[execution.id] = asyncio.create_task(self._run(execution))
            task.add_done_callback(lambda _: self._tasks.pop(execution.id))
        return {**execution.connection, "Id": execution.id, "CreatedAt": execution.created_at}

    async def _run(self, execution: Execution) -> None:
        await asyncio.sleep(self.start_delay_seconds)
        await self._may_start.wait()
        if execution.status == "SUBMITTED":
            execution.status = "PICKED"
            await asyncio.get_running_loop().run_in_executor(self._threads, self._runner.run, execution)
        if execution.with_event and self._on_completion is not None:
            await self._on_completion(wire.completion_event(execution, str(uuid.uuid4())))

    async def _describe(self, request: wire.ById, caller: Caller) -> dict[str, Any]:
        execution, place = self._find(request.id, caller)
        if task := self._tasks.get(execution.id):
            await asyncio.wait([task], timeout=DESCRIBE_SECONDS)
        return wire.describe_execution(execution) if place is None else wire.describe_statement(execution, place)

    async def _result(self, request: wire.ById, caller: Caller) -> dict[str, Any]:
        execution, place = self._find(request.id, caller)
        if execution.is_batch and place is None:
            raise ApiError("ValidationException", "For a batch the id of one of its statements is required")
        statement = execution.statements[(place or 1) - 1]
        if execution.status != "FINISHED" or statement.answer.columns is None:
            why = "Query does not have result. Please check query status with DescribeStatement."
            raise ApiError("ResourceNotFoundException", why, ResourceId=request.id)
        return wire.result_page(statement.answer, _parse_token(request.next_token))

    async def _list(self, request: wire.ListStatements, caller: Caller) -> dict[str, Any]:
        if caller.session_only and request.role_level:
            why = f"User: {caller.arn} is not authorized to perform: redshift-data:ListStatements"
            raise ApiError("AccessDeniedException", why)
        found = [
            wire.list_entry(execution)
            for execution in reversed(self._executions.values())
            if execution.caller == caller
            and execution.name.startswith(request.statement_name)
            and request.status in {"ALL", execution.status}
        ]
        start = _parse_token(request.next_token)
        stop = start + (request.max_results or 100)
        return {"Statements": found[start:stop]} | ({"NextToken": str(stop)} if stop < len(found) else {})

    async def _cancel(self, request: wire.ById, caller: Caller) -> dict[str, Any]:
        execution, _ = self._find(request.id, caller)
        if execution.status in ENDED:
            why = f"Could not cancel a query that is already in {execution.status} state with ID: {execution.id}"
            raise ApiError("ValidationException", why)
        await asyncio.to_thread(self._runner.cancel, execution)
        return {"Status": True}

    def _find(self, text: str, caller: Caller) -> tuple[Execution, int | None]:
        identifier, place = wire.split_id(text)
        execution = self._executions.get(identifier)
        if (
            execution is None
            or execution.caller != caller
            or (place is not None and not 1 <= place <= len(execution.statements))
        ):
            raise ApiError("ResourceNotFoundException", "Query does not exist.", ResourceId=text)
        return execution, place

    def _forget(self) -> None:
        now = self._clock()
        self._tokens = {token: known for token, known in self._tokens.items() if now - known.created_at < TOKEN_SECONDS}
        self._executions = {
            identifier: known
            for identifier, known in self._executions.items()
            if known.status not in ENDED or now - known.updated_at < RESULT_SECONDS
        }


_OPERATIONS: dict[str, tuple[Any, Callable[[WarehouseServer, Any, Caller], Awaitable[dict[str, Any]]]]] = {
    "ExecuteStatement": (wire.ExecuteStatement, WarehouseServer._submit),
    "BatchExecuteStatement": (wire.BatchExecuteStatement, WarehouseServer._submit),
    "DescribeStatement": (wire.ById, WarehouseServer._describe),
    "GetStatementResult": (wire.ById, WarehouseServer._result),
    "ListStatements": (wire.ListStatements, WarehouseServer._list),
    "CancelStatement": (wire.ById, WarehouseServer._cancel),
}


def _parse_token(token: str) -> int:
    if token and not token.isdecimal():
        raise ApiError("ValidationException", "NextToken is not valid")
    return int(token or 0)


def _respond(body: dict[str, Any], status: int = 200) -> web.Response:
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    if status != 200:
        headers["x-amzn-ErrorType"] = str(body["__type"])
    return web.Response(body=orjson.dumps(body), status=status, content_type=_CONTENT_TYPE, headers=headers)
