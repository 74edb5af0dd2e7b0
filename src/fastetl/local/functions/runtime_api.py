"""The Runtime API that one execution environment polls.

It is the one that AWS documents for custom runtimes (AWS Lambda Developer Guide, version 2018-06-01). Each environment
has a port of its own, as each on Lambda has an address of its own.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import msgspec
import orjson
from aiohttp import web

from fastetl.limits import MAX_PAYLOAD_BYTES

_API = "/2018-06-01/runtime"


class Outcome(msgspec.Struct, frozen=True):
    """How an invocation ended, or an initialisation failed."""

    payload: bytes
    error_type: str = ""
    """Empty: the handler returned. `Sandbox.Timedout`, `Runtime.ExitError` …: the platform ended it."""
    duration_ms: float = 0.0


class Invocation:
    """One event that waits for the handler, or is with it."""

    def __init__(self, payload: bytes, request_id: str, deadline_ms: int) -> None:
        self.payload = payload
        self.request_id = request_id
        self.deadline_ms = deadline_ms
        self.began = time.perf_counter()
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def end(self, payload: bytes, error_type: str = "") -> None:
        """Note how it ended, unless it has ended already."""
        if not self.outcome.done():
            duration_ms = (time.perf_counter() - self.began) * 1000
            self.outcome.set_result(Outcome(payload, error_type, duration_ms))


class RuntimeApi:
    """The server that hands out invocations and takes the handler's answers; one invocation at a time."""

    def __init__(self, function_arn: str) -> None:
        """Describe it; `function_arn` is told with each invocation."""
        self._function_arn = function_arn
        self._invocations: asyncio.Queue[Invocation] = asyncio.Queue()
        self._current: Invocation | None = None
        self._web: web.AppRunner | None = None
        self.initialised: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        """None when the handler is imported; otherwise what went wrong."""

    async def start(self) -> int:
        """Listen; give the port."""
        app = web.Application(client_max_size=2 * MAX_PAYLOAD_BYTES)
        app.router.add_get(f"{_API}/invocation/next", self._next)
        app.router.add_post(f"{_API}/invocation/{{id}}/response", self._response)
        app.router.add_post(f"{_API}/invocation/{{id}}/error", self._error)
        app.router.add_post(f"{_API}/init/error", self._init_error)
        self._web = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._web.setup()
        await web.TCPSite(self._web, "127.0.0.1", 0).start()
        port: int = self._web.addresses[0][1]
        return port

    def hand_out(self, invocation: Invocation) -> None:
        """Give the handler an event at its next poll."""
        self._current = invocation
        self._invocations.put_nowait(invocation)

    def forget(self) -> None:
        """Take no more answers for the last invocation."""
        self._current = None

    async def stop(self) -> None:
        """Stop listening."""
        if self._web is not None:
            await self._web.cleanup()

    async def _next(self, _: web.Request) -> web.Response:
        if not self.initialised.done():
            self.initialised.set_result(None)
        invocation = await self._invocations.get()
        invocation.began = time.perf_counter()
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self._function_arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }
        return web.Response(body=invocation.payload, headers=headers)

    async def _response(self, request: web.Request) -> web.Response:
        payload = await request.read()
        invocation = self._current_of(request)
        if len(payload) > MAX_PAYLOAD_BYTES:
            why = f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."
            refusal = build_failure("Function.ResponseSizeTooLarge", why, "")
            invocation.end(refusal.payload, refusal.error_type)
            return web.Response(status=413, body=refusal.payload, content_type="application/json")
        invocation.end(payload)
        return _accepted()

    async def _error(self, request: web.Request) -> web.Response:
        payload = await request.read()
        self._current_of(request).end(payload, _error_type(payload))
        return _accepted()

    async def _init_error(self, request: web.Request) -> web.Response:
        payload = await request.read()
        if not self.initialised.done():
            self.initialised.set_result(Outcome(payload, _error_type(payload)))
        return _accepted()

    def _current_of(self, request: web.Request) -> Invocation:
        if self._current is None or self._current.request_id != request.match_info["id"]:
            body = orjson.dumps({"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"})
            raise web.HTTPBadRequest(body=body, content_type="application/json")
        return self._current


def build_failure(error_type: str, message: str, request_id: str) -> Outcome:
    """Build the outcome of an invocation that the platform ended, or of a failed initialisation.

    Args:
        error_type: as Lambda names it.
        message: in Lambda's words.
        request_id: of the invocation; empty before the first.
    """
    text = f"RequestId: {request_id} Error: {message}" if request_id else message
    return Outcome(orjson.dumps({"errorType": error_type, "errorMessage": text}), error_type)


def _error_type(payload: bytes) -> str:
    try:
        body: Any = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return "Runtime.Unknown"
    return str(body.get("errorType") or "Runtime.Unknown") if isinstance(body, dict) else "Runtime.Unknown"


def _accepted() -> web.Response:
    return web.json_response({"status": "OK"}, status=202)
