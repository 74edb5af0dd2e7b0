"""One Lambda execution environment: a process with the real `awslambdaric`, and the Runtime API that it polls.

The Runtime API is the one that AWS documents for custom runtimes (version 2018-06-01). Each environment has a port of
its own, as each on Lambda has an address of its own. An environment serves one invocation at a time and is thrown away
when its process ends or an invocation runs out of time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson
from aiohttp import web

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
"""Of a request and of a response (Lambda quotas)."""

_API = "/2018-06-01/runtime"
_READ_BYTES = 1 << 16


class FunctionSettings(msgspec.Struct, frozen=True):
    """What one would configure on Lambda."""

    name: str
    handler: str
    """`package.module.function`."""
    environment: Mapping[str, str] = {}
    """All that the process sees, beside what Lambda itself sets."""
    memory_mb: int = 1769
    """Reported, not enforced; `wrapper` can."""
    timeout_seconds: float = 60.0
    concurrency: int = 10
    """Environments at most; further invocations wait for one."""
    wrapper: tuple[str, ...] = ()
    """A command that runs the interpreter given as its arguments, as `AWS_LAMBDA_EXEC_WRAPPER` does on Lambda; for
    limits: `("prlimit", "--as=1000000000")`, `("taskset", "--cpu-list", "0")`."""

    @property
    def arn(self) -> str:
        """The function's, in the account and region that moto uses by default."""
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}"


class Outcome(msgspec.Struct, frozen=True):
    """How an invocation ended, or an initialisation failed."""

    payload: bytes
    error_type: str = ""
    """Empty: the handler returned. `Sandbox.Timedout`, `Runtime.ExitError` …: the platform ended it."""
    duration_ms: float = 0.0


class _Invocation:
    def __init__(self, payload: bytes, request_id: str, deadline_ms: int) -> None:
        self.payload = payload
        self.request_id = request_id
        self.deadline_ms = deadline_ms
        self.began = time.perf_counter()
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def end(self, payload: bytes, error_type: str = "") -> None:
        if not self.outcome.done():
            duration_ms = (time.perf_counter() - self.began) * 1000
            self.outcome.set_result(Outcome(payload, error_type, duration_ms))


class Environment:
    """One execution environment; `start`, any number of `invoke`, `stop`."""

    def __init__(self, settings: FunctionSettings, on_line: Callable[[str], None]) -> None:
        """Describe it; `on_line` gets what the process writes to standard output and error, line by line."""
        self._settings = settings
        self._log = _LogPipe(on_line)
        self._invocations: asyncio.Queue[_Invocation] = asyncio.Queue()
        self._current: _Invocation | None = None
        self._initialised: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._process: asyncio.subprocess.Process | None = None
        self._exit: asyncio.Task[int] | None = None
        self._web: web.AppRunner | None = None
        self._max_memory_mb = 0
        self.init_duration_ms = 0.0
        """From the start of the process to its first poll."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid if self._process else 0

    def read_max_memory_mb(self) -> int:
        """Read the peak resident memory of the process in MB; the last known value once it has ended."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:  # ended, or no Linux
            return self._max_memory_mb
        # VmHWM is ru_maxrss without what the process inherited from its parent before exec.
        peak_kb = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
        self._max_memory_mb = max(self._max_memory_mb, -(-peak_kb // 1024))
        return self._max_memory_mb

    async def start(self) -> Outcome | None:
        """Start the process and wait until its handler is imported; what went wrong, if something did."""
        app = web.Application(client_max_size=2 * MAX_PAYLOAD_BYTES)
        app.router.add_get(f"{_API}/invocation/next", self._next)
        app.router.add_post(f"{_API}/invocation/{{id}}/response", self._response)
        app.router.add_post(f"{_API}/invocation/{{id}}/error", self._error)
        app.router.add_post(f"{_API}/init/error", self._init_error)
        self._web = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._web.setup()
        await web.TCPSite(self._web, "127.0.0.1", 0).start()
        began = time.perf_counter()
        self._process = await asyncio.create_subprocess_exec(
            *self._settings.wrapper,
            *(sys.executable, "-m", "awslambdaric", self._settings.handler),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._log.write_end,
            stderr=self._log.write_end,
            env=self._variables(self._web.addresses[0][1]),
            start_new_session=True,
        )
        self._log.open()
        self._exit = asyncio.create_task(self._process.wait())
        await _first_of(self._initialised, self._exit, self._settings.timeout_seconds)
        self._log.drain()
        self.init_duration_ms = (time.perf_counter() - began) * 1000
        if self._initialised.done():
            return self._initialised.result()
        if self._exit.done():
            return _failure("Runtime.ExitError", _describe_exit(self._exit.result()), "")
        return _failure("Sandbox.Timedout", f"Init timed out after {self._settings.timeout_seconds:.2f} seconds", "")

    async def invoke(self, payload: bytes, request_id: str) -> Outcome:
        """Hand the handler an event, and wait until it answers, dies or runs out of time."""
        timeout = self._settings.timeout_seconds
        invocation = _Invocation(payload, request_id, int((time.time() + timeout) * 1000))
        self._current = invocation
        self._invocations.put_nowait(invocation)
        if self._exit is None:
            raise RuntimeError("the environment was not started")
        await _first_of(invocation.outcome, self._exit, timeout)
        self._log.drain()
        self._current = None
        if not invocation.outcome.done():
            if self._exit.done():
                failure = _failure("Runtime.ExitError", _describe_exit(self._exit.result()), request_id)
            else:
                failure = _failure("Sandbox.Timedout", f"Task timed out after {timeout:.2f} seconds", request_id)
            invocation.end(failure.payload, failure.error_type)
        self.read_max_memory_mb()
        return invocation.outcome.result()

    async def stop(self) -> None:
        """Kill the process with its children, and stop listening."""
        if self.alive:
            os.killpg(self.pid, signal.SIGKILL)
        if self._exit is not None:
            await self._exit
        if self._web is not None:
            await self._web.cleanup()
        self._log.close()

    def _variables(self, port: int) -> dict[str, str]:
        """Build the environment: what Lambda sets, and what the function's configuration says."""
        settings = self._settings
        return {
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            # The process imports what this one can, as if it were in the deployment package.
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            **settings.environment,
            "_HANDLER": settings.handler,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_FUNCTION_NAME": settings.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(settings.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{settings.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": time.strftime("%Y/%m/%d/[$LATEST]", time.gmtime()) + uuid.uuid4().hex,
        }

    async def _next(self, _: web.Request) -> web.Response:
        if not self._initialised.done():
            self._initialised.set_result(None)
        invocation = await self._invocations.get()
        invocation.began = time.perf_counter()
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self._settings.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        }
        return web.Response(body=invocation.payload, headers=headers)

    async def _response(self, request: web.Request) -> web.Response:
        payload = await request.read()
        invocation = self._current_of(request)
        if len(payload) > MAX_PAYLOAD_BYTES:
            why = f"Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."
            refusal = _failure("Function.ResponseSizeTooLarge", why, "")
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
        if not self._initialised.done():
            self._initialised.set_result(Outcome(payload, _error_type(payload)))
        return _accepted()

    def _current_of(self, request: web.Request) -> _Invocation:
        if self._current is None or self._current.request_id != request.match_info["id"]:
            body = orjson.dumps({"errorType": "InvalidRequestID", "errorMessage": "Invalid request ID"})
            raise web.HTTPBadRequest(body=body, content_type="application/json")
        return self._current


class _LogPipe:
    """What a process writes, as lines.

    Read directly rather than through a stream: whatever was written before a response arrived is in the pipe by then,
    so that `drain` gives an invocation all of its lines.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)

    def open(self) -> None:
        """Read from now on; the process has its own copy of the other end."""
        os.close(self.write_end)
        self.write_end = -1
        asyncio.get_running_loop().add_reader(self._read_end, self.drain)

    def drain(self) -> None:
        """Read what is there."""
        while self._read_end >= 0:
            try:
                piece = os.read(self._read_end, _READ_BYTES)
            except BlockingIOError:
                return
            if not piece:  # the process has ended
                asyncio.get_running_loop().remove_reader(self._read_end)
                return
            *lines, self._rest = (self._rest + piece).split(b"\n")
            for line in lines:
                self._on_line(line.decode("utf-8", errors="replace"))

    def close(self) -> None:
        """Read the rest, and close."""
        self.drain()
        if self._rest:
            self._on_line(self._rest.decode("utf-8", errors="replace"))
        asyncio.get_running_loop().remove_reader(self._read_end)
        for end in (self._read_end, self.write_end):
            if end >= 0:
                os.close(end)
        self._read_end = self.write_end = -1


async def _first_of(answer: asyncio.Future[Any], end: asyncio.Future[Any], timeout_seconds: float) -> None:
    """Wait for an answer or the end of the process, and no longer than that."""
    await asyncio.wait([answer, end], timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)


def _failure(error_type: str, message: str, request_id: str) -> Outcome:
    text = f"RequestId: {request_id} Error: {message}" if request_id else message
    return Outcome(orjson.dumps({"errorType": error_type, "errorMessage": text}), error_type)


def _describe_exit(returncode: int) -> str:
    if returncode < 0:
        return f"Runtime exited with error: signal: {(signal.strsignal(-returncode) or str(-returncode)).lower()}"
    if returncode > 0:
        return f"Runtime exited with error: exit status {returncode}"
    return "Runtime exited without providing a reason"


def _error_type(payload: bytes) -> str:
    try:
        body: Any = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return "Runtime.Unknown"
    return str(body.get("errorType") or "Runtime.Unknown") if isinstance(body, dict) else "Runtime.Unknown"


def _accepted() -> web.Response:
    return web.json_response({"status": "OK"}, status=202)
