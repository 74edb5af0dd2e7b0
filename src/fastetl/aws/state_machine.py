"""The edge to the stack's state machine, which converts an export's data files (Step Functions)."""

from __future__ import annotations

from typing import Any

import orjson

from fastetl.aws.calls import make_call
from fastetl.errors import StackError


class StateMachine:
    """One state machine. Every method raises `StackError` when Step Functions does not do what was asked."""

    def __init__(self, client: Any, arn: str) -> None:
        """Describe a state machine.

        Args:
            client: an open Step Functions client.
            arn: the state machine's.
        """
        self._client = client
        self.arn = arn

    async def start(self, name: str, state: dict[str, Any]) -> str:
        """Start an execution. A repeated call with the same name gives the same execution.

        Args:
            name: of the execution.
            state: its input.

        Returns:
            The execution's ARN.
        """
        answer = await self._call(
            "start_execution", stateMachineArn=self.arn, name=name, input=orjson.dumps(state).decode()
        )
        return str(answer["executionArn"])

    async def status(self, execution_arn: str) -> str:
        """Give an execution's status, as Step Functions spells it: RUNNING, SUCCEEDED, FAILED and so on.

        Args:
            execution_arn: of the execution.
        """
        return str((await self._call("describe_execution", executionArn=execution_arn))["status"])

    async def _call(self, operation: str, **arguments: Any) -> Any:
        return await make_call(
            lambda: getattr(self._client, operation)(**arguments),
            lambda refusal: StackError(f"{operation} {self.arn}: {refusal}"),
        )
