"""Calls to AWS: one translation of the SDK's errors, one retry rule, one bounded gather.

The SDK tries each request four times by itself (`clients.SDK_ATTEMPTS`). A call that may be repeated as a whole is
tried again on top of that where its error is transient. The ledger and the Data API are asked once: their callers read
the state again and repeat the step, which tells a lost answer from a refusal.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from fastetl.errors import FastetlError

Thing = TypeVar("Thing")
Result = TypeVar("Result")

ATTEMPTS = 3
FIRST_DELAY_SECONDS = 0.2

AT_ONCE = 32
"""Calls in flight; a client holds as many connections."""

_TRANSIENT = {
    "ActiveSessionsExceededException", "ActiveStatementsExceededException", "ConditionalRequestConflict",
    "DatabaseConnectionException", "InternalError", "InternalFailure", "InternalServerError", "InternalServerException",
    "OperationAborted", "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestTimeout",
    "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException", "500", "502", "503", "504",
}  # fmt: skip
"""Error codes that go away by themselves. HeadObject's answers have no body: their code is the HTTP status."""

_NO_ANSWER = (BotoCoreError, aiohttp.ClientError, OSError)
"""What is raised where no answer came, or only a part of it; TimeoutError is an OSError."""

_ERROR_NUMBER = re.compile(r"\[Errno \d+\] ")
"""What Python puts before the operating system's words."""

_NOT_SENT = (NoCredentialsError, NoRegionError, ParamValidationError, PartialCredentialsError)
"""What the SDK raises before it sends anything: another attempt ends alike."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a call did not do what was asked."""

    code: str
    """AWS's error code; empty where no answer came."""
    message: str
    transient: bool
    """Whether the same call may succeed later with nothing mended."""
    response: dict[str, Any]
    """AWS's whole answer; empty where none came."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message


async def make_call(
    request: Callable[[], Awaitable[Result]], refuse: Callable[[Refusal], FastetlError], *, attempts: int = ATTEMPTS
) -> Result:
    """Make a call, again where its error is transient.

    Args:
        request: makes the call and reads its answer; called once for each attempt.
        refuse: gives the error to raise for the last attempt.
        attempts: how often to try; 1 for a call that its caller repeats.

    Raises:
        FastetlError: what `refuse` gives; the SDK's error is its cause.
    """
    for attempt in range(1, attempts + 1):
        try:
            return await request()
        except (ClientError, *_NO_ANSWER) as error:
            refusal = _describe(error)
            if attempt == attempts or not refusal.transient:
                raise refuse(refusal) from error
        await asyncio.sleep(FIRST_DELAY_SECONDS * 2 ** (attempt - 1))
    raise AssertionError("unreachable: the last attempt returns or raises")


def _describe(error: Exception) -> Refusal:
    if not isinstance(error, ClientError):
        message = _ERROR_NUMBER.sub("", f"{type(error).__name__}: {error}")
        return Refusal("", message, transient=not isinstance(error, _NOT_SENT), response={})
    response: dict[str, Any] = dict(error.response)
    code, message = (str(response.get("Error", {}).get(part, "")) for part in ("Code", "Message"))
    # Redshift's own throttles have been seen inside a ValidationException.
    throttled = "rate exceeded" in message.lower() or "throttl" in message.lower()
    return Refusal(code, message, transient=code in _TRANSIENT or throttled, response=response)


def is_transient(error: BaseException) -> bool:
    """Tell whether an error that was raised for a refused call may go away by itself.

    Args:
        error: as it was raised, with the SDK's error as its cause.
    """
    cause = error.__cause__
    return isinstance(cause, ClientError | BotoCoreError | aiohttp.ClientError | OSError) and _describe(cause).transient


async def gather(
    do: Callable[[Thing], Awaitable[Result]], things: Iterable[Thing], *, at_once: int = AT_ONCE
) -> list[Result]:
    """Do something for each thing, at most `at_once` at a time; give the results in the order of the things.

    The first error cancels the rest and is raised as itself.

    Args:
        do: called with each thing.
        things: in their order.
        at_once: calls in flight at most.

    Returns:
        The results, in the order of the things.
    """
    waiting = list(things)
    left = iter(enumerate(waiting))
    results: dict[int, Result] = {}

    async def work() -> None:
        for place, thing in left:
            results[place] = await do(thing)

    async with task_group() as group:
        for _ in range(min(at_once, len(waiting))):
            group.create_task(work())
    return [results[place] for place in range(len(waiting))]


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a TaskGroup whose first error is raised as itself, not inside an ExceptionGroup."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__
