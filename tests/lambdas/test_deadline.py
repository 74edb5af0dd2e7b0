"""Endpoints that are not there, or do not answer: an invocation ends by itself, before Lambda ends it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from fastetl.local.lambda_environment import FunctionSettings
from fastetl.local.lambda_runtime import Function, InvokeResult
from tests.local.test_stack import CONFIG, make_record

TIMEOUT_SECONDS = 13
Invoke = Callable[[str, str], Awaitable[InvokeResult]]


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

    async def run(name: str, endpoint_url: str) -> InvokeResult:
        config = tmp_path / "fastetl.toml"
        config.write_text(CONFIG)
        environment = {
            "PATH": os.environ["PATH"], "FASTETL_CONFIG": str(config), "FASTETL_BUCKET": "lake",
            "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "main", "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        settings = FunctionSettings(
            name, f"fastetl.lambdas.{name}.handler", environment, timeout_seconds=TIMEOUT_SECONDS, memory_mb=512
        )
        functions.append(Function(settings))
        event = orjson.dumps({"Records": [make_record(1, 1, "x")]}) if name == "ingest" else b"{}"
        return await functions[-1].invoke(event)

    yield run
    for function in functions:
        await function.close()


@pytest.mark.parametrize("name", ["ingest", "coordinator"])
async def test_an_endpoint_that_never_answers_is_given_up_in_time(name: str, silent: str, invoke: Invoke) -> None:
    result = await invoke(name, silent)
    assert result.error
    assert not result.error.startswith("Sandbox"), result.payload


@pytest.mark.parametrize("name", ["ingest", "coordinator"])
async def test_an_endpoint_that_is_not_there_is_an_error(name: str, invoke: Invoke) -> None:
    result = await invoke(name, "http://127.0.0.1:9")
    assert result.error
    assert not result.error.startswith("Sandbox"), result.payload
