"""The Redshift Data API on the fake warehouse: statements are taken, wait, run and end in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.limits import MAX_STATEMENTS
from tests.simulation.fake_warehouse import Answer, FakeWarehouse, Rows, SqlError, Transaction
from tests.simulation.faults import client_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.loop import SimulatedLoop

TOKEN_SECONDS = 8 * 3600
RESULT_SECONDS = 24 * 3600
ENDED = {"FINISHED", "FAILED", "ABORTED"}


class Part(msgspec.Struct):
    """One statement of an execution."""

    sql: str
    query_id: int
    status: str = "SUBMITTED"
    error: str = ""
    answer: Answer | None = None


class Execution(msgspec.Struct):
    """What one call handed over."""

    id: str
    name: str
    parts: list[Part]
    created_at: float
    with_event: bool
    status: str = "SUBMITTED"
    error: str = ""
    ended_at: float = 0.0
    cancelled: bool = False


class Pace:
    """How fast the warehouse is and what happens to sessions; a simulation gives its own."""

    def queued(self) -> float:
        """Seconds before an execution starts."""
        return 0.0

    def running(self, step: str) -> float:
        """Seconds that a statement takes."""
        return 0.0

    def misreported(self) -> bool:
        """Whether a committed transaction is reported as failed."""
        return False


class FakeRedshiftData:
    """One account's Data API. `on_event` gets `(statement name, status)` of each execution that was run `WithEvent`."""

    NAME = "redshift-data"

    def __init__(
        self,
        loop: SimulatedLoop,
        warehouse: FakeWarehouse,
        *,
        pace: Pace | None = None,
        result_seconds: float = RESULT_SECONDS,
        on_event: Callable[[str, str], None] = lambda _name, _status: None,
    ) -> None:
        self.executions: dict[str, Execution] = {}
        self.pace = pace or Pace()
        self._loop = loop
        self._warehouse = warehouse
        self._result_seconds = result_seconds
        self._on_event = on_event
        self._tokens: dict[str, Execution] = {}
        self._query_ids = itertools.count(1000)

    def batch_execute_statement(self, *, Sqls: Sequence[str], **arguments: Any) -> dict[str, Any]:
        if not 1 <= len(Sqls) <= MAX_STATEMENTS:
            raise client_error("batch_execute_statement", "ValidationException", "1 to 40 statements")
        return self._submit(list(Sqls), **arguments)

    def execute_statement(self, *, Sql: str, **arguments: Any) -> dict[str, Any]:
        return self._submit([Sql], **arguments)

    def _submit(
        self,
        sqls: list[str],
        *,
        StatementName: str = "",
        ClientToken: str = "",
        WithEvent: bool = False,
        **_: Any,
    ) -> dict[str, Any]:
        if len(ClientToken) > 64 or len(StatementName) > 500:
            raise client_error("batch_execute_statement", "ValidationException", "name or token too long")
        known = self._tokens.get(ClientToken) if ClientToken else None
        if known is not None and self._loop.time() - known.created_at < TOKEN_SECONDS:
            return {"Id": known.id}
        number = len(self.executions) + 1
        parts = [Part(sql, next(self._query_ids)) for sql in sqls]
        execution = Execution(str(uuid.UUID(int=number)), StatementName, parts, self._loop.time(), WithEvent)
        self.executions[execution.id] = execution
        if ClientToken:
            self._tokens[ClientToken] = execution
        self._loop.background(self._run(execution))
        return {"Id": execution.id}

    def describe_statement(self, *, Id: str, **_: Any) -> dict[str, Any]:
        execution = self._find("describe_statement", Id)
        parts = [
            {
                "Id": f"{execution.id}:{number}",
                "Status": part.status,
                "Error": part.error,
                "RedshiftQueryId": part.query_id,
            }
            for number, part in enumerate(execution.parts, 1)
        ]
        return {"Id": execution.id, "Status": execution.status, "Error": execution.error, "SubStatements": parts}

    def get_statement_result(self, *, Id: str, **_: Any) -> dict[str, Any]:
        execution, place = self._find("get_statement_result", Id), Id.partition(":")[2]
        if not place:
            raise client_error("get_statement_result", "ValidationException", "the id of one statement is required")
        answer = execution.parts[int(place) - 1].answer
        if execution.status != "FINISHED" or answer is None:
            raise client_error("get_statement_result", "ResourceNotFoundException", "Query does not have result.")
        return {"Records": Rows.of(answer).records}

    def list_statements(
        self,
        *,
        StatementName: str = "",
        Status: str = "FINISHED",
        RoleLevel: bool = True,
        MaxResults: int = 100,
        NextToken: str = "",
        **_: Any,
    ) -> dict[str, Any]:
        if RoleLevel:
            raise client_error("list_statements", "AccessDeniedException", "not authorized")
        found = [
            {"Id": execution.id, "StatementName": execution.name, "Status": execution.status}
            for execution in reversed(self.executions.values())
            if execution.name.startswith(StatementName)
            and Status in {"ALL", execution.status}
            and not self._expired(execution)
        ]
        start = int(NextToken or 0)
        more = {"NextToken": str(start + MaxResults)} if start + MaxResults < len(found) else {}
        return {"Statements": found[start : start + MaxResults], **more}

    def cancel_statement(self, *, Id: str, **_: Any) -> dict[str, Any]:
        execution = self._find("cancel_statement", Id)
        if execution.status in ENDED:
            raise client_error(
                "cancel_statement", "ValidationException", f"Could not cancel a query that is in {execution.status}"
            )
        execution.cancelled = True
        if execution.status == "SUBMITTED":
            self._end(execution, "ABORTED", "Query cancelled on user's request")
        return {"Status": True}

    def _find(self, operation: str, text: str) -> Execution:
        identifier, _, place = text.partition(":")
        execution = self.executions.get(identifier)
        if execution is None or self._expired(execution) or int(place or 1) > len(execution.parts):
            raise client_error(operation, "ResourceNotFoundException", "Query does not exist.", ResourceId=text)
        return execution

    def _expired(self, execution: Execution) -> bool:
        return execution.status in ENDED and self._loop.time() - execution.ended_at > self._result_seconds

    def end_everything(self) -> None:
        """No statement that waits or runs outlives the warehouse that it was given to."""
        for execution in list(self.executions.values()):
            if execution.status == "SUBMITTED":
                self._end(execution, "FAILED", "the warehouse is gone")

    # --- running -------------------------------------------------------------------------------------------------

    async def _run(self, execution: Execution) -> None:
        await asyncio.sleep(self.pace.queued())
        if execution.status != "SUBMITTED":
            return
        execution.status = "STARTED"
        transaction = self._warehouse.begin()
        try:
            for part in execution.parts:
                await self._run_part(execution, part, transaction)
            transaction.commit()
        except SqlError as error:
            transaction.rollback()
            self._end(execution, "ABORTED" if execution.cancelled else "FAILED", str(error))
            return
        # Committed; nobody knows yet.
        await asyncio.sleep(self.pace.running("commit"))
        if self.pace.misreported():
            self._end(execution, "FAILED", "connection to the database was lost")
        else:
            self._end(execution, "FINISHED", "")

    async def _run_part(self, execution: Execution, part: Part, transaction: Transaction) -> None:
        part.status = "STARTED"
        try:
            part.answer = await transaction.run(part.sql, part.query_id)
            if seconds := self.pace.running(part.sql.split(None, 3)[2]):
                await asyncio.sleep(seconds)
            if execution.cancelled:
                raise SqlError("Query cancelled on user's request")
        except SqlError as error:
            part.status, part.error = "ABORTED" if execution.cancelled else "FAILED", f"ERROR: {error}"
            raise
        part.status = "FINISHED"

    def _end(self, execution: Execution, status: str, error: str) -> None:
        for part in execution.parts:
            if part.status not in ENDED:
                part.status = "ABORTED"
        execution.status, execution.error, execution.ended_at = status, error, self._loop.time()
        if execution.with_event:
            self._on_event(execution.name, status)
