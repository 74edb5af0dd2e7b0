"""The edge to a function's log group in CloudWatch Logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastetl.aws.calls import make_call
from fastetl.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_BACK_SECONDS = (600, 3600, 86_400, 7 * 86_400)
"""How far, one after the other, until there are enough lines."""
ENOUGH_LINES, MAX_LINES = 200, 10_000


class FunctionLog:
    """One log group. Every method raises `StackError` when CloudWatch Logs does not do what was asked."""

    def __init__(self, client: Any, log_group: str) -> None:
        """Describe a function's log.

        Args:
            client: an open CloudWatch Logs client.
            log_group: its name, like `/aws/lambda/ingest`.
        """
        self._client = client
        self.log_group = log_group

    async def latest_lines(self, pattern: str, *, clock: Callable[[], float]) -> list[str]:
        """Read the latest lines that a filter pattern matches, from no longer ago than it takes to have enough.

        Args:
            pattern: CloudWatch Logs' filter pattern.
            clock: gives Unix seconds.
        """
        now, lines = clock(), []
        for seconds in LOOK_BACK_SECONDS:
            lines = await self._lines_since(int((now - seconds) * 1000), pattern)
            if len(lines) >= ENOUGH_LINES:
                break
        return lines

    async def _lines_since(self, start_ms: int, pattern: str) -> list[str]:
        lines: list[str] = []
        page: dict[str, Any] = {}
        while len(lines) < MAX_LINES:
            answer = await self._call("filter_log_events", startTime=start_ms, filterPattern=pattern, **page)
            lines += [event["message"] for event in answer["events"]]
            if not answer.get("nextToken"):
                break
            page = {"nextToken": answer["nextToken"]}
        return lines[:MAX_LINES]

    async def _call(self, operation: str, **arguments: Any) -> Any:
        return await make_call(
            lambda: getattr(self._client, operation)(logGroupName=self.log_group, **arguments),
            lambda refusal: StackError(f"{operation} {self.log_group}: {refusal}"),
        )
