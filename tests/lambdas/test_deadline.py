"""Endpoints that are not there, do not answer, or throttle: an invocation ends by itself, before Lambda ends it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from aiohttp import web

from fastetl.aws import upload
from fastetl.aws.calls import ATTEMPTS
from fastetl.aws.clients import SDK_ATTEMPTS
from fastetl.aws.ledger.items import write_item
from fastetl.load.batches import build_batch
from fastetl.local.functions.function_settings import FunctionSettings
from fastetl.local.functions.lambda_runtime import Function, InvokeResult
from fastetl.model import FileItem, Head
from tests.local.test_stack import CONFIG, make_record

TIMEOUT_SECONDS = 13
UNHURRIED_SECONDS = 120
SHORT_SECONDS = upload.ABORT_LIMIT_SECONDS + 2.0
"""Less than the waits between the attempts take."""

Invoke = Callable[..., Awaitable[InvokeResult]]


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """An endpoint that takes connections and never answers."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.fixture
async def invoke(tmp_path: Path) -> AsyncIterator[Invoke]:
    functions: list[Function] = []
    config = tmp_path / "fastetl.toml"
    config.write_text(CONFIG)

    async def run(name: str, endpoint_url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> InvokeResult:
        environment = {
            "PATH": os.environ["PATH"], "FASTETL_CONFIG": str(config), "FASTETL_BUCKET": "lake",
            "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "main", "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        settings = FunctionSettings(
            name, f"fastetl.lambdas.{name}.handler", environment, timeout_seconds=timeout_seconds, memory_mb=512
        )
        functions.append(Function(settings))
        event = orjson.dumps({"Records": [make_record(1, 1, "x")]}) if name == "ingest" else b"{}"
        return await functions[-1].invoke(event)

    yield run
    for function in functions:
        await function.close()


async def test_an_endpoint_that_never_answers_is_given_up_in_time(silent: str, invoke: Invoke) -> None:
    check_errors(await asyncio.gather(invoke("ingest", silent), invoke("coordinator", silent)))


async def test_an_endpoint_that_is_not_there_is_an_error(invoke: Invoke) -> None:
    check_errors(await asyncio.gather(*(invoke(name, "http://127.0.0.1:9") for name in ("ingest", "coordinator"))))


def check_errors(results: Iterable[InvokeResult]) -> None:
    """Each is the function's own error, and not Lambda's."""
    for result in results:
        assert result.error
        assert not result.error.startswith("Sandbox"), result.payload


class Throttling:
    """All of AWS at one address: it answers what it is told to, and throttles everything else."""

    def __init__(self, items: dict[str, dict[str, Any]]) -> None:
        self.calls: Counter[str] = Counter()
        self._items = items

    async def handle(self, request: web.Request) -> web.Response:
        """Answer; GetItem of what is there as well, with nothing for what is not; nothing waits in the index."""
        body = await request.read()
        operation = request.headers.get("X-Amz-Target", f"S3.{request.method}").rpartition(".")[2]
        if operation == "GetItem" and self._items:
            item = self._items.get(orjson.loads(body)["Key"]["pk"]["S"])
            return web.json_response({"Item": item} if item else {}, content_type="application/x-amz-json-1.0")
        if operation == "Query" and self._items:
            return web.json_response({"Items": []}, content_type="application/x-amz-json-1.0")
        self.calls[operation] += 1
        if "X-Amz-Target" in request.headers:
            error = {"__type": "ThrottlingException", "message": "Rate exceeded"}
            return web.json_response(error, status=400, content_type="application/x-amz-json-1.0")
        xml = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        return web.Response(text=xml, status=503, content_type="application/xml")


@asynccontextmanager
async def served(throttling: Throttling) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", throttling.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def running_batch() -> dict[str, dict[str, Any]]:
    """A ledger in which one batch has been submitted."""
    file = FileItem("f" * 32, "orders", "key", "layout", "", 1, 1, 0, "", "", "", "", "", created=0)
    batch = build_batch("orders", "installation", [file], "lake", ("manifest", "files"))
    batch = msgspec.structs.replace(batch, state="SUBMITTED", attempt=1, statement_id="statement")
    head = Head("orders", 1, open=(batch.batch_id,), installation="installation", stack="lake/ledger/orders")
    rows = {f"B#{batch.batch_id}": batch, "P#orders": head}
    return {pk: write_item({"pk": pk, **msgspec.to_builtins(each)}) for pk, each in rows.items()}


THROTTLED: list[tuple[str, dict[str, dict[str, Any]], str, int]] = [
    ("ingest", {}, "GetItem", SDK_ATTEMPTS),
    ("coordinator", {}, "GetItem", SDK_ATTEMPTS),
    ("ingest", running_batch(), "PUT", SDK_ATTEMPTS * ATTEMPTS),
    ("coordinator", running_batch(), "DescribeStatement", SDK_ATTEMPTS),
]
"""A function, what is in its ledger, the call that is throttled, and how often it is made."""


@pytest.mark.timeout(UNHURRIED_SECONDS)
async def test_a_throttled_call_is_tried_so_often_and_then_given_up(invoke: Invoke) -> None:
    """All at once: each of them waits for seconds."""

    async def throttle(name: str, answers: dict[str, dict[str, Any]]) -> tuple[InvokeResult, Counter[str]]:
        throttling = Throttling(answers)
        async with served(throttling) as endpoint_url:
            return await invoke(name, endpoint_url, UNHURRIED_SECONDS), throttling.calls

    results = await asyncio.gather(*(throttle(name, answers) for name, answers, *_ in THROTTLED))
    check_errors(result for result, _ in results)
    assert [calls for _, calls in results] == [{throttled: attempts} for *_, throttled, attempts in THROTTLED]


async def test_a_throttled_upload_is_given_up_when_time_is_over(invoke: Invoke) -> None:
    async with served(Throttling(running_batch())) as endpoint_url:
        result = await invoke("ingest", endpoint_url, SHORT_SECONDS)
    assert result.error == "TimeoutError", result.payload
