"""Between the product and the fake services: every call takes time, and any of them may go wrong.

Errors are those that botocore raises, as they reach the product once the SDK's own retries are used up.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from tests.simulation.loop import Process, ProcessDied, SimulatedLoop, current_process

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal[
    "throttled", "failed_before", "failed_after", "slow", "killed_before", "killed_after", "conflict", "late", "frozen",
]  # fmt: skip
KINDS: tuple[Kind, ...] = Kind.__args__
RARE: tuple[Kind, ...] = ("late", "frozen")

ENDPOINT = "https://simulated.invalid"


def client_error(operation: str, code: str, message: str = "", status: int = 400, **more: Any) -> ClientError:
    """The error that a client of AWS raises for an answer with an error code; `more` are its further members."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}
    return ClientError(answer, _camel(operation))


class FaultPlan:
    """Which fault meets the next call. A seed has some kinds of fault and not others: each is seen alone, too."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"faults {seed}")
        self._rates: list[tuple[Kind, float]] = [
            (kind, self._random.choice((0.002, 0.01, 0.03)))
            for kind in KINDS
            if kind not in RARE and self._random.random() < 0.4
        ]
        # Drawn apart, so that most seeds stay what they were.
        rare = random.Random(f"rare faults {seed}")
        self._rates += [(kind, rare.choice((0.002, 0.01))) for kind in RARE if rare.random() < 0.2]
        self.active = bool(self._rates)
        self.met: dict[str, int] = {}

    def draw(self) -> Kind | None:
        """The fault for this call, if any."""
        if not self.active:
            return None
        for kind, rate in self._rates:
            if self._random.random() < rate:
                self.met[kind] = self.met.get(kind, 0) + 1
                return kind
        return None

    def latency(self, fault: Kind | None) -> float:
        """Seconds until a call arrives."""
        return self._random.uniform(5, 120) if fault == "slow" else self._random.uniform(0.002, 0.03)

    def delay(self) -> float:
        """Seconds by which a call is late, or for which a process stands still."""
        return self._random.choice((self._random.uniform(1, 60), self._random.uniform(60, 2 * 3600)))

    def coin(self) -> bool:
        """Heads or tails, from the plan's own randomness."""
        return self._random.random() < 0.5


class Network:
    """What all calls pass through: it delays them, makes them fail, kills callers, and keeps the trace."""

    def __init__(self, loop: SimulatedLoop, plan: FaultPlan) -> None:
        self.loop = loop
        self.plan = plan
        self.calls = 0
        self.trace: list[tuple[Any, ...]] = []
        self.keeps_trace = True
        self._hash = hashlib.blake2b(digest_size=16)

    def client(self, service: Any) -> Any:
        """A client of a fake service, as aiobotocore's are: each operation is an awaitable method."""
        return Client(self, service)

    def note(self, *event: Any) -> None:
        """Put an event into the trace."""
        entry = (round(self.loop.time(), 6), *event)
        if self.keeps_trace:
            self.trace.append(entry)
        self._hash.update(repr(entry).encode())

    @property
    def fingerprint(self) -> str:
        """Equal for two runs that did the same in the same order."""
        return self._hash.hexdigest()

    async def call(self, service: Any, operation: str, method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """One call, from the caller's side."""
        process = current_process()
        if process is not None and not process.alive:
            raise ProcessDied(process.name)
        fault = None if process is not None and process.spared else self.plan.draw()
        self.calls += 1
        await asyncio.sleep(self.plan.latency(fault))
        if fault is not None:
            await self._before(service.NAME, operation, fault, process)
        if fault == "late":
            self.loop.background(self._arrive_late(service, operation, method, arguments))
            raise ReadTimeoutError(endpoint_url=ENDPOINT)
        try:
            answer, error = method(**arguments), None
        except ClientError as refused:
            answer, error = None, refused
        outcome = error.response["Error"]["Code"] if error else "ok"
        self.note(process.name if process else "", service.NAME, operation, _about(arguments), fault, outcome)
        if fault is not None:
            await self._after(operation, fault, process)
        if error is not None:
            raise error
        return answer

    async def _arrive_late(
        self, service: Any, operation: str, method: Callable[..., Any], arguments: dict[str, Any]
    ) -> None:
        """Let a call take effect long after its caller has given it up."""
        await asyncio.sleep(self.plan.delay())
        outcome = "late"
        try:
            method(**arguments)
        except ClientError as refused:
            outcome = refused.response["Error"]["Code"]
        self.note("", service.NAME, operation, _about(arguments), "late", outcome)

    async def _freeze(self, process: Process | None) -> None:
        """Stop everything that a process does; the world goes on."""
        if process is not None:
            process.frozen_until = self.loop.time() + self.plan.delay()
            await asyncio.sleep(0)

    async def _before(self, service: str, operation: str, fault: Kind, process: Process | None) -> None:
        if fault in {"throttled", "failed_before", "killed_before"}:
            self.note(process.name if process else "", service, operation, fault)
        if fault == "throttled":
            raise self._throttle(service, operation)
        if fault == "conflict" and operation in _CONFLICTS:
            raise _CONFLICTS[operation]()  # noqa: RSE102 - it makes the error
        if fault == "failed_before":
            error = EndpointConnectionError if self.plan.coin() else ConnectTimeoutError
            raise error(endpoint_url=ENDPOINT)
        if fault == "killed_before":
            await self._kill(process)
        if fault == "frozen" and self.plan.coin():
            await self._freeze(process)

    async def _after(self, operation: str, fault: Kind, process: Process | None) -> None:
        if fault == "failed_after":
            if self.plan.coin():
                raise ReadTimeoutError(endpoint_url=ENDPOINT)
            raise client_error(operation, "InternalServerError", "internal error", 500)
        if fault == "killed_after":
            await self._kill(process)
        if fault == "frozen" and (process is None or process.frozen_until < self.loop.time()):
            await self._freeze(process)

    async def _kill(self, process: Process | None) -> None:
        if process is not None:
            self.loop.kill(process)
            await self.loop.create_future()

    def _throttle(self, service: str, operation: str) -> ClientError:
        match service:
            case "s3":
                return client_error(operation, "SlowDown", "Please reduce your request rate.", 503)
            case "dynamodb":
                return client_error(operation, "ProvisionedThroughputExceededException", "throttled")
            case _ if operation == "batch_execute_statement" and self.plan.coin():
                return client_error(operation, "ActiveStatementsExceededException", "too many statements")
            case _ if self.plan.coin():
                return client_error(operation, "ValidationException", "Rate exceeded")
            case _:
                return client_error(operation, "ThrottlingException", "Rate exceeded")


class Client:
    """One client; its methods are the service's, behind the network."""

    def __init__(self, network: Network, service: Any) -> None:
        self._network = network
        self._service = service

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._service, operation)

        async def call(**arguments: Any) -> Any:
            return await self._network.call(self._service, operation, method, arguments)

        setattr(self, operation, call)
        return call


def _transaction_conflict() -> ClientError:
    reasons = [{"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}]
    return client_error(
        "transact_write_items", "TransactionCanceledException", "Transaction cancelled", CancellationReasons=reasons
    )


_CONFLICTS: dict[str, Callable[[], ClientError]] = {
    "transact_write_items": _transaction_conflict,
    "put_item": lambda: client_error("put_item", "TransactionConflictException", "Transaction is ongoing"),
    "update_item": lambda: client_error("update_item", "TransactionConflictException", "Transaction is ongoing"),
    "put_object": lambda: client_error("put_object", "ConditionalRequestConflict", "conflict", 409),
    "complete_multipart_upload": lambda: client_error(
        "complete_multipart_upload", "ConditionalRequestConflict", "conflict", 409
    ),
}


def _about(arguments: dict[str, Any]) -> str:
    """Which object a call is about, for the trace."""
    for name in ("Key", "Item", "StatementName", "Id", "Prefix", "ExpressionAttributeValues"):
        if name in arguments:
            found = arguments[name]
            return str(found.get("pk", found) if isinstance(found, dict) else found)
    return msgspec.json.encode(arguments, enc_hook=repr).decode()[:200]


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))
