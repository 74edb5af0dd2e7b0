"""One Lambda execution environment: a process with the real `awslambdaric`, which polls a Runtime API of its own.

An environment serves one invocation at a time and is thrown away when its process ends or an invocation runs out of
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastetl.local.functions.log_pipe import LogPipe
from fastetl.local.functions.runtime_api import Invocation, Outcome, RuntimeApi, build_failure

if TYPE_CHECKING:
    from fastetl.local.functions.function_settings import FunctionSettings


class Environment:
    """One execution environment; `start`, any number of `invoke`, `stop`."""

    def __init__(self, settings: FunctionSettings, on_line: Callable[[str], None]) -> None:
        """Describe it; `on_line` gets what the process writes to standard output and error, line by line."""
        self._settings = settings
        self._log = LogPipe(on_line)
        self._api = RuntimeApi(settings.arn)
        self._process: asyncio.subprocess.Process | None = None
        self._exit: asyncio.Task[int] | None = None
        self._max_memory_mb = 0
        self.init_duration_ms = 0.0
        """The time from the start of the process to its first poll."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The id of its process."""
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
        port = await self._api.start()
        began = time.perf_counter()
        self._process = await asyncio.create_subprocess_exec(
            *self._settings.wrapper,
            *(sys.executable, "-m", "awslambdaric", self._settings.handler),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._log.write_end,
            stderr=self._log.write_end,
            env=self._variables(port),
            start_new_session=True,
        )
        self._log.open()
        self._exit = asyncio.create_task(self._process.wait())
        await _first_of(self._api.initialised, self._exit, self._settings.timeout_seconds)
        self._log.drain()
        self.init_duration_ms = (time.perf_counter() - began) * 1000
        if self._api.initialised.done():
            return self._api.initialised.result()
        if self._exit.done():
            return build_failure("Runtime.ExitError", _describe_exit(self._exit.result()), "")
        return build_failure(
            "Sandbox.Timedout", f"Init timed out after {self._settings.timeout_seconds:.2f} seconds", ""
        )

    async def invoke(self, payload: bytes, request_id: str) -> Outcome:
        """Hand the handler an event, and wait until it answers, dies or runs out of time."""
        timeout = self._settings.timeout_seconds
        invocation = Invocation(payload, request_id, int((time.time() + timeout) * 1000))
        self._api.hand_out(invocation)
        if self._exit is None:
            raise RuntimeError("the environment was not started")
        await _first_of(invocation.outcome, self._exit, timeout)
        self._log.drain()
        self._api.forget()
        if not invocation.outcome.done():
            if self._exit.done():
                failure = build_failure("Runtime.ExitError", _describe_exit(self._exit.result()), request_id)
            else:
                failure = build_failure("Sandbox.Timedout", f"Task timed out after {timeout:.2f} seconds", request_id)
            invocation.end(failure.payload, failure.error_type)
        self.read_max_memory_mb()
        return invocation.outcome.result()

    async def stop(self) -> None:
        """Kill the process with its children, and stop listening."""
        if self.alive:
            # It may have ended just now, without this loop having heard of it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        if self._exit is not None:
            await self._exit
        await self._api.stop()
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


async def _first_of(answer: asyncio.Future[Any], end: asyncio.Future[Any], timeout_seconds: float) -> None:
    """Wait for an answer or the end of the process, and no longer than that."""
    await asyncio.wait([answer, end], timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)


def _describe_exit(returncode: int) -> str:
    if returncode < 0:
        return f"Runtime exited with error: signal: {(signal.strsignal(-returncode) or str(-returncode)).lower()}"
    if returncode > 0:
        return f"Runtime exited with error: exit status {returncode}"
    return "Runtime exited without providing a reason"
