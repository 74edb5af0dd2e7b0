"""The edge to Redshift: its Data API, as far as loading needs it.

The Data API is asynchronous: a call hands over statements and gives an id; what became of them is asked later, by
this process or by another. Limits: Amazon Redshift Data API reference (40 statements in one transaction, each of at
most 100 KB; results and metadata kept for 24 hours; a client token remembered for 8).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fastetl.aws.calls import make_call
from fastetl.aws.client_token import Token, build_token
from fastetl.errors import WarehouseError
from fastetl.limits import MAX_SQL_BYTES, MAX_STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_aiobotocore_redshift_data import RedshiftDataAPIServiceClient

    from fastetl.config import RedshiftTarget
    from fastetl.sql import Statement

POLL_SECONDS = 0.1
"""Between two questions of somebody who waits for statements."""


class Run(msgspec.Struct, frozen=True):
    """What the Data API tells of statements that were handed over."""

    state: Literal["RUNNING", "FINISHED", "FAILED", "UNKNOWN"]
    """UNKNOWN: the Data API does not know the id (any more). It says nothing about the transaction."""
    failed_index: int = -1
    """Position of the statement that failed; -1 where none is named."""
    error: str = ""
    query_id: int = 0
    """Redshift's id of the failed statement, for its system tables; 0 where there is none."""
    has_begun: bool = False
    """Whether the first statement is being executed, and no longer queued."""


class Warehouse:
    """One database behind the Data API. Every method raises `WarehouseError`, `transient` where waiting may help."""

    def __init__(self, client: RedshiftDataAPIServiceClient, target: RedshiftTarget) -> None:
        """Describe a warehouse.

        Args:
            client: an open client of the Redshift Data API.
            target: workgroup or cluster, database and credentials.
        """
        self._client = client
        self._connection: dict[str, Any] = _connection(target)

    @property
    def region(self) -> str:
        """The region of the database."""
        return str(self._client.meta.region_name)

    async def submit(self, statements: Sequence[Statement], *, name: str, token: Token) -> str:
        """Submit statements as one transaction.

        Args:
            statements: in order.
            name: by which `find` finds them.
            token: what tells this request from every other. The same token again is the same request for 8 hours;
                after that only the gate in the statements keeps them from running twice.

        Returns:
            The Data API's id of the transaction.

        Raises:
            WarehouseError: it was not taken, or no answer came.
        """
        if len(statements) > MAX_STATEMENTS:
            raise WarehouseError(
                f"{name}: {len(statements)} statements, and {MAX_STATEMENTS} fit; shorten pre_sql or post_sql"
            )
        for statement in statements:
            _check_size(statement, name)
        answer = await self._call(
            "batch_execute_statement",
            Sqls=[statement.sql for statement in statements],
            StatementName=name,
            ClientToken=build_token(token),
            WithEvent=True,
            **self._connection,
        )
        return str(answer["Id"])

    async def describe(self, statement_id: str) -> Run:
        """Ask what became of statements. An answer other than FINISHED is never proof that nothing was committed.

        Args:
            statement_id: as `submit` gave it.

        Returns:
            State, error and the place of the statement that failed.
        """
        try:
            answer = await self._call("describe_statement", Id=statement_id)
        except WarehouseError as error:
            if error.code == "ResourceNotFoundException":
                return Run("UNKNOWN", error=str(error))
            raise
        status = answer["Status"]
        if status == "FINISHED":
            return Run("FINISHED")
        if status not in {"FAILED", "ABORTED"}:
            return Run("RUNNING", has_begun=status == "STARTED")
        parts = answer.get("SubStatements", [])
        failed = next((n for n, part in enumerate(parts) if part["Status"] == "FAILED"), -1)
        part = parts[failed] if failed >= 0 else answer
        return Run(
            "FAILED", failed, str(part.get("Error") or answer.get("Error", "")), int(part.get("RedshiftQueryId", 0))
        )

    async def find(self, name: str) -> str:
        """Find the id of statements by their exact name, where the id was never stored.

        Args:
            name: as it was submitted.

        Returns:
            The id; empty where there are none of this name.
        """
        # StatementName filters by prefix, and without Status only finished ones are listed. The policy allows
        # statements of the caller's own session: those are asked for, not its role's (API reference, `RoleLevel`).
        page: dict[str, Any] = {}
        while True:
            answer = await self._call(
                "list_statements", StatementName=name, Status="ALL", RoleLevel=False, MaxResults=100, **page
            )
            for statement in answer["Statements"]:
                if statement.get("StatementName") == name:
                    return str(statement["Id"])
            if not answer.get("NextToken"):
                return ""
            page = {"NextToken": answer["NextToken"]}

    async def rows(self, statement_id: str, index: int) -> list[tuple[str, ...]]:
        """Read the rows that one statement of a finished transaction gave.

        Args:
            statement_id: of the transaction.
            index: of the statement in it, from 0 on.

        Returns:
            The rows, every value as text, NULL as an empty text.
        """
        rows: list[tuple[str, ...]] = []
        page: dict[str, Any] = {}
        while True:
            answer = await self._call("get_statement_result", Id=f"{statement_id}:{index + 1}", **page)
            rows += [tuple(map(_text, record)) for record in answer["Records"]]
            if not answer.get("NextToken"):
                return rows
            page = {"NextToken": answer["NextToken"]}

    async def run(self, statements: Sequence[Statement], *, name: str, token: Token) -> str:
        """Submit statements as one transaction, wait for its end, and return its id.

        Args:
            statements: in their order; at most `limits.MAX_STATEMENTS`.
            name: by which `find` finds them.
            token: parts of the client token; the same parts run the statements once.

        Raises:
            WarehouseError: it was not taken, or failed.
        """
        return await self.end(await self.submit(statements, name=name, token=token), statements)

    async def run_pieces(self, statements: Sequence[Statement], *, name: str, token: Token) -> None:
        """Run any number of statements, as many at a time as one call takes; wait for each piece's end.

        Args:
            statements: in their order.
            name: under which Redshift lists them.
            token: what makes this call known again.

        Raises:
            WarehouseError: a piece failed; those before it are committed.
        """
        for number, piece in enumerate(cut_into_pieces(statements)):
            await self.run(piece, name=name, token=(*token, number))

    async def run_alone(self, statement: Statement, *, name: str, token: Token) -> str:
        """Run one statement in no transaction, as some have to be, wait for its end, and return its id.

        Args:
            statement: that runs.
            name: under which Redshift lists it.
            token: what makes this call known again.

        Raises:
            WarehouseError: it was not taken, or failed.
        """
        _check_size(statement, name)
        answer = await self._call(
            "execute_statement",
            Sql=statement.sql,
            StatementName=name,
            ClientToken=build_token(token),
            **self._connection,
        )
        return await self.end(str(answer["Id"]), (statement,))

    async def end(self, statement_id: str, statements: Sequence[Statement] | None = None) -> str:
        """Wait for the end of statements; give their id.

        Args:
            statement_id: as `submit` gave it.
            statements: as they were submitted, where it is an error that they failed.

        Raises:
            WarehouseError: they failed; it names the step.
        """
        while (run := await self.describe(statement_id)).state == "RUNNING":  # noqa: ASYNC110 - it can only be polled
            await asyncio.sleep(POLL_SECONDS)
        if statements is not None and run.state != "FINISHED":
            # One that ran alone has no parts of which one failed.
            place = run.failed_index if len(statements) > 1 else 0
            step = statements[place].step if 0 <= place < len(statements) else ""
            raise WarehouseError(": ".join(filter(None, (step, run.error or run.state))), step=step)
        return statement_id

    async def cancel(self, statement_id: str) -> None:
        """Ask to stop statements. They may commit all the same.

        Args:
            statement_id: as `submit` gave it.
        """
        await self._call("cancel_statement", Id=statement_id)

    async def _call(self, operation: str, **arguments: Any) -> Any:
        return await make_call(
            lambda: getattr(self._client, operation)(**arguments),
            lambda refusal: WarehouseError(f"{operation}: {refusal}", code=refusal.code, transient=refusal.transient),
            attempts=1,
        )


def cut_into_pieces(statements: Sequence[Statement]) -> list[list[Statement]]:
    """Cut statements into pieces of at most `MAX_STATEMENTS`, and of `MAX_SQL_BYTES` where one is not longer by itself.

    The limit of bytes is documented of one statement; what keeps to it in each call is right whatever else is counted.

    Args:
        statements: in their order.

    Returns:
        The pieces, in order, none of them empty.
    """
    pieces: list[list[Statement]] = []
    size = MAX_SQL_BYTES
    for statement in statements:
        more = len(statement.sql.encode())
        if size + more > MAX_SQL_BYTES or len(pieces[-1]) == MAX_STATEMENTS:
            pieces.append([])
            size = 0
        pieces[-1].append(statement)
        size += more
    return pieces


def _check_size(statement: Statement, name: str) -> None:
    if (size := len(statement.sql.encode())) > MAX_SQL_BYTES:
        what = f"{name}: the statement {statement.step} has {size:,} bytes, and the Data API takes {MAX_SQL_BYTES:,}"
        raise WarehouseError(f"{what}; `fastetl check` says what to shorten")


def _connection(target: RedshiftTarget) -> dict[str, str]:
    names = {
        "WorkgroupName": target.workgroup,
        "ClusterIdentifier": target.cluster,
        "Database": target.database,
        "DbUser": target.db_user,
        "SecretArn": target.secret_arn,
    }
    return {name: value for name, value in names.items() if value}


def _text(field: Any) -> str:
    return "" if field.get("isNull") else str(next(iter(field.values())))
