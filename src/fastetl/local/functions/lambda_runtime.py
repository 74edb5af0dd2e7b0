"""A stand-in for Lambda: functions that run in the real `awslambdaric`, reached over its real Runtime API.

What it keeps of Lambda: one invocation at a time per environment, environments reused and started when there are too
few, deadlines after which the process is killed, crashes as failed invocations, payload limits, and the START, END and
REPORT lines. What it does not: environments are not frozen between invocations, and neither CPU nor memory is limited
(`FunctionSettings.wrapper` is where to do so).
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec
import orjson

from fastetl.limits import MAX_PAYLOAD_BYTES
from fastetl.local.functions.function_settings import FunctionSettings
from fastetl.local.functions.lambda_environment import Environment
from fastetl.local.functions.runtime_api import Outcome

__all__ = ["Function", "FunctionSettings", "InvokeResult", "Report", "RequestTooLargeError"]


class RequestTooLargeError(Exception):
    """The payload of an invocation is above Lambda's limit of 6 MB; the function is not invoked."""


class Report(msgspec.Struct, frozen=True):
    """What Lambda's REPORT line says; wall-clock milliseconds, measured."""

    request_id: str
    duration_ms: float
    memory_size_mb: int
    max_memory_used_mb: int
    init_duration_ms: float | None = None
    """Only of an environment's first invocation."""
    error_type: str = ""
    """Only where the platform ended the invocation: a handler that raises has merely returned an error."""

    @property
    def billed_duration_ms(self) -> int:
        """Duration and initialisation, rounded up (Lambda bills the latter since August 2025)."""
        return math.ceil(self.duration_ms + (self.init_duration_ms or 0.0))

    def __str__(self) -> str:
        """Write the line as in CloudWatch Logs, tabs included."""
        fields = [
            f"REPORT RequestId: {self.request_id}",
            f"Duration: {self.duration_ms:.2f} ms",
            f"Billed Duration: {self.billed_duration_ms} ms",
            f"Memory Size: {self.memory_size_mb} MB",
            f"Max Memory Used: {self.max_memory_used_mb} MB",
        ]
        if self.init_duration_ms is not None:
            fields.append(f"Init Duration: {self.init_duration_ms:.2f} ms")
        if self.error_type == "Sandbox.Timedout":
            fields.append("Status: timeout")
        elif self.error_type:
            fields += ["Status: error", f"Error Type: {self.error_type}"]
        return "\t".join(fields) + "\t"


class InvokeResult(msgspec.Struct, frozen=True):
    """What an invocation gave."""

    payload: bytes
    """What the handler returned, as JSON; or the error, with `errorType` and `errorMessage`."""
    error: str
    """Empty, or the type of the error: the handler's exception, `Sandbox.Timedout`, `Runtime.ExitError` …"""
    report: Report
    log: tuple[str, ...]
    """Every line, START to REPORT."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """The structured lines of the log; those with `_aws` are metrics in CloudWatch's embedded format."""
        return [record for line in self.log if line.startswith("{") and isinstance(record := _parse(line), dict)]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines in CloudWatch's embedded metric format."""
        return [record for record in self.records if "_aws" in record]


class Function:
    """A function with its environments.

    ```
    async with Function(FunctionSettings("ingest", "fastetl.lambdas.ingest.handler", environment)) as ingest:
        result = await ingest.invoke(event)
    ```
    """

    def __init__(self, settings: FunctionSettings, on_line: Callable[[str], None] | None = None) -> None:
        """Describe a function.

        Args:
            settings: as one would configure it on Lambda.
            on_line: gets each line of its log as it is written.
        """
        self.settings = settings
        self._on_line = on_line
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._slots = asyncio.Semaphore(settings.concurrency)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of its environments; killing one is what an environment's death looks like."""
        return tuple(worker.environment.pid for worker in self._workers if worker.environment.alive)

    async def invoke(self, payload: bytes) -> InvokeResult:
        """Run the handler on an event, in a free environment or a new one.

        Args:
            payload: the event, as JSON.

        Raises:
            RequestTooLargeError: the payload exceeds 6 MB.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise RequestTooLargeError(f"{len(payload)} bytes; Lambda takes at most {MAX_PAYLOAD_BYTES}")
        async with self._slots:
            worker = await self._take()
            try:
                result = await worker.invoke(payload, str(uuid.uuid4()))
            except BaseException:
                await self._discard(worker)
                raise
            if worker.usable:
                self._idle.append(worker)
            else:
                await self._discard(worker)
        return result

    async def warm(self) -> None:
        """Start an environment before the first event, as provisioned concurrency does: its log tells what is wrong."""
        async with self._slots:
            worker = await self._take()
            await worker.start()
            if worker.usable:
                self._idle.append(worker)
            else:
                await self._discard(worker)

    def renew(self) -> None:
        """Let no further invocation run in the environments there are, as after a deployment."""
        for worker in self._workers:
            worker.retire()

    async def close(self) -> None:
        """End every environment."""
        await asyncio.gather(*(self._discard(worker) for worker in tuple(self._workers)))
        self._idle.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _take(self) -> _Worker:
        """Take a free environment, the one used last first, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.usable:
                return worker
            await self._discard(worker)  # it died while it was idle
        worker = _Worker(self.settings, self._on_line)
        self._workers.add(worker)
        return worker

    async def _discard(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        await worker.environment.stop()


class _Worker:
    """An environment, what it has written since the last invocation, and whether it serves further."""

    def __init__(self, settings: FunctionSettings, on_line: Callable[[str], None] | None) -> None:
        self._settings = settings
        self._on_line = on_line
        self._lines: list[str] = []
        self._started = False
        self._spent = False
        self._failure: Outcome | None = None
        """How long the environment's start took, until an invocation has reported it."""
        self.environment = Environment(settings, self._write)

    @property
    def usable(self) -> bool:
        return not self._spent and self.environment.alive

    def retire(self) -> None:
        """Serve no further invocation."""
        self._spent = True

    async def start(self) -> None:
        """Start the environment, unless it is started."""
        if not self._started:
            self._started = True
            self._failure = await self.environment.start()

    async def invoke(self, payload: bytes, request_id: str) -> InvokeResult:
        environment = self.environment
        init_duration_ms = None
        if not self._started:
            await self.start()
            init_duration_ms = environment.init_duration_ms
        failure, self._failure = self._failure, None
        self._write(f"START RequestId: {request_id} Version: $LATEST")
        outcome = failure or await environment.invoke(payload, request_id)
        ended_by_platform = outcome.error_type.startswith(("Sandbox.", "Runtime.", "Function."))
        if ended_by_platform or failure is not None:
            self._spent = True
            self._write(_read_message(outcome))
        report = Report(
            request_id,
            outcome.duration_ms,
            self._settings.memory_mb,
            environment.read_max_memory_mb(),
            init_duration_ms,
            outcome.error_type if ended_by_platform else "",
        )
        self._write(f"END RequestId: {request_id}")
        self._write(str(report))
        lines, self._lines = tuple(self._lines), []
        return InvokeResult(outcome.payload, outcome.error_type, report, lines)

    def _write(self, line: str) -> None:
        self._lines.append(line)
        if self._on_line is not None:
            self._on_line(line)


def _read_message(outcome: Outcome) -> str:
    body = _parse(outcome.payload)
    return str(body.get("errorMessage", "")) if isinstance(body, dict) else ""


def _parse(text: str | bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
