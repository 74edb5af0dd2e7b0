"""Wake the coordinator: on a schedule, and whenever a statement of the warehouse has ended."""

from __future__ import annotations

import asyncio
import contextlib

from fastetl.aws import Ledger
from fastetl.config import Pipeline
from fastetl.errors import StaleStepError
from fastetl.local.functions import Function

WAKE_UP_SECONDS = 1.0
"""The schedule; a deployment has a minute."""


class SettlingError(Exception):
    """What was written does not arrive; the functions' logs say why."""


class WakeUps:
    """The wake-ups of one stack's coordinator."""

    def __init__(self, coordinator: Function, ledger: Ledger) -> None:
        """Describe the wake-ups.

        Args:
            coordinator: the function to wake.
            ledger: of the stack.
        """
        self._coordinator = coordinator
        self._ledger = ledger
        self._wake = asyncio.Event()
        self._waking: asyncio.Task[None] | None = None
        self._has_woken = asyncio.Event()

    def start(self) -> None:
        """Wake the coordinator from now on."""
        self._waking = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Wake it no more."""
        if self._waking:
            self._waking.cancel()
            await asyncio.gather(self._waking, return_exceptions=True)

    async def wait_for_first(self) -> None:
        """Wait until the coordinator has woken once: every pipeline that can be moved on has its HEAD then."""
        await self._has_woken.wait()

    def wake(self) -> None:
        """Wake the coordinator at once."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._coordinator.invoke(b"{}")
            self._has_woken.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAKE_UP_SECONDS):
                    await self._wake.wait()
            self._wake.clear()

    async def load_all(self, pipeline: Pipeline) -> None:
        """Wake the coordinator until nothing of a pipeline waits.

        Args:
            pipeline: whose files are to be loaded.

        Raises:
            SettlingError: the pipeline is paused.
        """
        while True:
            head = await self._ledger.batches.head(pipeline.name)
            waits = await anext(self._ledger.files.pending(pipeline.name), None) is not None
            if head and head.paused:
                raise SettlingError(f"{pipeline.name} is paused: {head.paused}")
            if head and not head.open and not waits:
                return
            if head and not head.open and not head.load_requested:
                with contextlib.suppress(StaleStepError):  # the coordinator changed HEAD; look again
                    await self._ledger.batches.change_head(head, load_requested=True)
                self._wake.set()
            await asyncio.sleep(0.05)
