"""A deterministic asyncio event loop: virtual time, a seeded order of what is ready, and processes that can be killed.

Time passes only when nothing is ready; then it jumps to the next timer. With neither, the program waits for something
that can never come: `DeadlockError`. Whatever runs in a thread elsewhere runs inline here.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

TASKS_KEPT = 5000
"""Tasks that may pile up before those that have ended are let go."""


MOST_STEPS = 1_000_000
"""Of one run; what takes more waits for what never comes."""


class DeadlockError(Exception):
    """Nothing is ready and nothing is scheduled, yet the main coroutine has not ended."""


class EndlessError(Exception):
    """The main coroutine goes on and on."""


class ProcessDied(BaseException):
    """Raised into what a dead process still tries to do; not an `Exception`, so that nothing handles it."""


class Process:
    """A group of tasks that live and die together, as those of one Lambda environment do."""

    def __init__(self, name: str, ended: asyncio.Future[Ended]) -> None:
        self.name = name
        self.alive = True
        self.frozen_until = 0.0
        """Virtual seconds; before, nothing of it runs."""
        self.ended = ended
        self.spared = False
        """Whether no fault meets its calls."""


class Ended:
    """How a process ended: with a result, with an error, or killed."""

    def __init__(self, result: Any = None, error: BaseException | None = None, *, killed: bool = False) -> None:
        self.result = result
        self.error = error
        self.killed = killed

    @property
    def ok(self) -> bool:
        """Whether the process came to its own, good end."""
        return self.error is None and not self.killed


_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current_process() -> Process | None:
    """The process that runs now; None in the world outside of all processes."""
    return _process.get()


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs one simulation. The same seed runs the same program in the same order."""

    def __init__(self, seed: int, *, starts_at: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._now = starts_at
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._count = itertools.count()
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_kept = TASKS_KEPT
        self._closed = False
        self.steps = 0
        self.most_steps = MOST_STEPS
        self.problems: list[str] = []
        """What asyncio reported on its own account: exceptions that nobody retrieved."""

    # --- running -------------------------------------------------------------------------------------------------

    def run_until_complete(self, main: Coroutine[Any, Any, T]) -> T:  # type: ignore[override]
        """Run to the end of `main` and give its result.

        Raises:
            DeadlockError: nothing can happen any more.
            EndlessError: more has happened than in any run that ends.
        """
        asyncio.events._set_running_loop(self)
        try:
            task = self.create_task(main, name="main")
            while not task.done():
                self._step()
                if self.steps > self.most_steps:
                    raise EndlessError(f"{self.steps:,} steps, and no end, at {self._now}")
            return task.result()
        finally:
            asyncio.events._set_running_loop(None)

    def _step(self) -> None:
        ready = self._ready
        if not ready:
            self._pass_time()
        chosen = int(self._random.random() * len(ready))
        ready[chosen], ready[-1] = ready[-1], ready[chosen]
        handle = ready.pop()
        if handle.cancelled():
            return
        process = handle._context.get(_process)
        if process is None or process.alive:
            if process is not None and process.frozen_until > self._now:
                heapq.heappush(self._timers, (process.frozen_until, next(self._count), handle))
                return
            self.steps += 1
            handle._run()

    def _pass_time(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise DeadlockError(f"nothing is ready and nothing is scheduled at {self._now}")
        self._now = timers[0][0]
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])

    def close(self) -> None:
        """Drop everything that has not ended, without letting it do anything any more."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        for task in self._tasks:
            task._log_destroy_pending = False
            if not task.done():
                _exhaust(task.get_coro())
        self._tasks.clear()

    # --- processes -----------------------------------------------------------------------------------------------

    def launch(self, name: str, main: Coroutine[Any, Any, Any]) -> Process:
        """Run `main` and all that it starts as a process of its own; `process.ended` tells how it ended."""
        process = Process(name, self.create_future())
        context = contextvars.copy_context()
        context.run(_process.set, process)
        task = self.create_task(main, name=name, context=context)

        def end(task: asyncio.Task[Any]) -> None:
            process.alive = False
            if not process.ended.done():
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
                process.ended.set_result(Ended(None if error else task.result(), error))

        outside = contextvars.copy_context()
        outside.run(_process.set, None)
        task.add_done_callback(end, context=outside)
        return process

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something that belongs to no process: what the fake services do on their own."""
        context = contextvars.copy_context()
        context.run(_process.set, None)
        return self.create_task(work, context=context)

    def kill(self, process: Process) -> None:
        """End a process where it stands: no `finally` of its runs, and nothing that it still tries has an effect."""
        if process.alive:
            process.alive = False
            if not process.ended.done():
                process.ended.set_result(Ended(killed=True))

    # --- what asyncio asks of a loop -----------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._count), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **how: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, **how)
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_kept:
            self._tasks = [each for each in self._tasks if not each.done()]
            self._tasks_kept = 2 * len(self._tasks) + TASKS_KEPT
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.problems.append(f"{context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed


def _exhaust(coroutine: Any) -> None:
    """Close a coroutine whose `finally` clauses may go on awaiting."""
    for _ in range(20):
        try:
            coroutine.close()
        except RuntimeError:
            continue  # "coroutine ignored GeneratorExit": it awaited again; once more
        except BaseException:
            return
        else:
            return
