"""Tasks that share one state, and that wait for each other's changes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any


class WatchedTasks:
    """Tasks that run until `stop`; `changed` is notified whenever one of them changes what they share."""

    def __init__(self) -> None:
        self.changed = asyncio.Condition()
        self.broken: BaseException | None = None
        """What ended one of the tasks."""
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def notifying(self) -> AsyncIterator[None]:
        """Change what the tasks share, and wake the tasks that wait for a change."""
        async with self.changed:
            yield
            self.changed.notify_all()

    async def wait_for(self, predicate: Callable[[], Any]) -> None:
        """Wait until something is true; look again after each change."""
        async with self.changed:
            await self.changed.wait_for(predicate)

    def spawn(self, work: Any) -> None:
        """Run a coroutine as one of the tasks."""
        task: asyncio.Task[None] = asyncio.create_task(self._report_breakage(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel every task."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _report_breakage(self, work: Awaitable[None]) -> None:
        """Let those who wait see an exception, rather than wait for a task that has ended."""
        try:
            await work
        except Exception as error:
            async with self.notifying():
                self.broken = error
            raise
