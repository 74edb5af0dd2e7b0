"""The edge to a function of the stack, invoked with a test event (AWS Lambda)."""

from __future__ import annotations

from typing import Any

import orjson

from fastetl.aws.calls import make_call
from fastetl.errors import StackError


class Function:
    """One function. Every method raises `StackError` when Lambda does not do what was asked."""

    def __init__(self, client: Any, name: str) -> None:
        """Describe a function.

        Args:
            client: an open Lambda client.
            name: the function's.
        """
        self._client = client
        self.name = name

    async def invoke(self, event: dict[str, Any]) -> Any:
        """Invoke the function and wait for its answer; it may be invoked twice.

        Args:
            event: as JSON gives it.

        Returns:
            Its answer, as JSON gives it.

        Raises:
            StackError: it was not invoked, or it raised; the message says what.
        """

        async def request() -> tuple[str, bytes]:
            answer = await self._client.invoke(FunctionName=self.name, Payload=orjson.dumps(event))
            return answer.get("FunctionError", ""), await answer["Payload"].read()

        failed, payload = await make_call(request, lambda refusal: StackError(f"invoke {self.name}: {refusal}"))
        answer = orjson.loads(payload or b"null")
        if failed:
            what = answer if isinstance(answer, dict) else {}
            raise StackError(f"{self.name}: {what.get('errorType', failed)}: {what.get('errorMessage', '')}")
        return answer
