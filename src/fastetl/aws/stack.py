"""The edge to a deployed stack: what CloudFormation says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastetl.aws.calls import make_call
from fastetl.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stack:
    """One stack. Every method raises `StackError` when CloudFormation does not do what was asked."""

    def __init__(self, client: Any, name: str) -> None:
        """Describe a stack.

        Args:
            client: an open CloudFormation client.
            name: the stack's name.
        """
        self._client = client
        self.name = name

    async def describe(self) -> tuple[dict[str, str], dict[str, str]]:
        """Give the stack's parameters and its outputs, by their names."""
        answer = await self._call("describe_stacks", StackName=self.name)
        stack: Mapping[str, Any] = answer["Stacks"][0]
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])}
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
        return parameters, outputs

    async def find_resource(self, logical_id: str) -> str:
        """Give the name that a resource of the template has in this stack.

        Args:
            logical_id: its name in the template.
        """
        answer = await self._call("describe_stack_resource", StackName=self.name, LogicalResourceId=logical_id)
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    async def _call(self, operation: str, **arguments: Any) -> Any:
        return await make_call(
            lambda: getattr(self._client, operation)(**arguments),
            lambda refusal: StackError(f"{operation} {self.name}: {refusal}"),
        )
