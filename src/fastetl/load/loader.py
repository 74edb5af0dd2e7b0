"""Load the files that wait on S3 into the warehouse, each exactly once.

A wake-up reads the ledger and the warehouse, decides the one step that is due (`decide.py`), and takes it. No step
needs the memory of an earlier one and no process owns anything, so every step may be repeated: whatever a coordinator
left when it died, any other coordinator finishes. Only the warehouse knows whether a batch is loaded.

```
FORMED ─► SUBMITTING ─► SUBMITTED ─► LOADED
              ▲             │ failed, lost, or unknown
              │             ▼
            RETRY ◄──── RESOLVING ─► LOADED | SPLIT | QUARANTINED
```
"""

from __future__ import annotations

import msgspec

from fastetl.aws import Deployment
from fastetl.load.decide import decide
from fastetl.load.plan import Planner
from fastetl.load.steps import Step, Steps
from fastetl.load.survey import Survey
from fastetl.model import Batch


class Backlog(msgspec.Struct, frozen=True):
    """What a pipeline has waiting, as the index shows it."""

    files: int
    bytes: int
    oldest_age_seconds: float
    more: bool
    """Whether there is more than was counted."""


class Loader:
    """Loads one pipeline."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe the loads of one pipeline.

        Args:
            deployment: of the pipeline.
        """
        self._pipeline = deployment.pipeline
        self._ledger = deployment.ledger
        self._planner = Planner(deployment)
        self._survey = Survey(deployment, self._planner)
        self._steps = Steps(deployment, self._planner)

    async def wake_up(self) -> Step:
        """Take the one step that is due.

        Returns:
            What was done.

        Raises:
            StaleStepError: another coordinator took the step first.
            LedgerError, StorageError, WarehouseError: try again with the next wake-up; nothing is lost.
        """
        head, open_batches = await self._survey.read_ledger()
        verdicts = await self._survey.ask_warehouse(open_batches)
        waiting = await self._survey.find_waiting(head, open_batches)
        decision = decide(head, open_batches, waiting, verdicts, self._survey.now())
        return await self._steps.take(head, decision)

    async def backlog(self, most: int = 20_000) -> Backlog:
        """Count what waits to be loaded.

        Args:
            most: files that are counted at most.
        """
        files = size = oldest = 0
        async for file in self._ledger.pending(self._pipeline.name):
            if files == most:
                break
            oldest = oldest or file.created
            files, size = files + 1, size + file.bytes
        age = (self._survey.now() - oldest) / 1000 if files else 0.0
        return Backlog(files, size, age, more=files == most)

    async def columns_left_null(self, batch: Batch) -> list[str]:
        """Name the columns of today's configuration that a batch's files, which are older, do not have.

        Args:
            batch: whose files are of one layout.
        """
        if batch.layout_id == self._pipeline.layout.layout_id:
            return []
        there = dict((await self._planner.layout(batch.layout_id)).columns)
        return [name for name, _ in self._pipeline.layout.columns if name not in there]
