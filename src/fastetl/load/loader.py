"""Load the files that wait on S3 into the warehouse, each exactly once.

A wake-up reads the ledger and the warehouse (`survey.py`), decides on one step (`decide.py`), and takes it
(`steps.py`). A step depends only on what was just read, and no process holds a lock. So every step may be repeated, and
any coordinator can finish what another one had begun when it died. Only the warehouse knows whether a batch is loaded.

```
FORMED ─► SUBMITTING ─► SUBMITTED ─► LOADED
              ▲             │ failed, lost, or unknown
              │             ▼
            RETRY ◄──── RESOLVING ─► LOADED | SPLIT | QUARANTINED
```
"""

from __future__ import annotations

import math

from fastetl.aws import Deployment
from fastetl.load.decide import Action, decide
from fastetl.load.plan import Planner
from fastetl.load.steps import Foresee, Step, Steps
from fastetl.load.survey import COUNTED_FILES, Backlog, Survey
from fastetl.load.together import Standing
from fastetl.model import Batch, Head, Layout

BEGINNINGS: frozenset[Action] = frozenset({"open", "submit"})
"""Steps with which a load begins; every other step follows or ends one."""


async def foresee_nothing(_batch: Batch) -> int:
    """Know nothing of the stream."""
    return 0


class Loader:
    """Loads one pipeline."""

    def __init__(self, deployment: Deployment, foresee: Foresee = foresee_nothing) -> None:
        """Describe the loads of one pipeline.

        Args:
            deployment: of the pipeline.
            foresee: tells up to when everything will be loaded once a batch is.
        """
        self._pipeline = deployment.pipeline
        self._ledger = deployment.ledger
        self._planner = Planner(deployment)
        self._survey = Survey(deployment, self._planner)
        self._steps = Steps(deployment, self._planner, foresee)

    async def wake_up(self, share: float = 1.0) -> Step:
        """Take the next step of this pipeline.

        Args:
            share: a load begins when this share of one of its thresholds is reached: 1 as a rule, less beside the
                load of another pipeline, infinite where no load may begin.

        Returns:
            What was done.

        Raises:
            StaleStepError: another coordinator took the step first.
            LedgerError, StorageError, WarehouseError: try again with the next wake-up; nothing is lost.
        """
        head, open_batches = await self._survey.read_ledger()
        verdicts = await self._survey.ask_warehouse(open_batches)
        waiting = await self._survey.find_waiting(head, open_batches, share)
        decision = decide(head, open_batches, waiting, verdicts, self._survey.now())
        if math.isinf(share) and decision.action in BEGINNINGS:
            return Step("idle", decision.batch)
        return await self._steps.take(head, decision)

    async def stand(self) -> tuple[Standing, Backlog, Head]:
        """Read how much waits, and whether the pipeline has something to load.

        Returns:
            What `choose` needs to know of the pipeline, how much waits, and HEAD.

        Raises:
            LedgerError, StorageError: it could not be read.
        """
        return await self._survey.read_standing()

    async def backlog(self, most: int = COUNTED_FILES) -> Backlog:
        """Count what waits to be loaded.

        Args:
            most: counting stops after this many files.
        """
        return (await self._survey.read_standing(most))[1]

    async def columns_left_null(self, batch: Batch) -> list[str]:
        """Name the columns of today's configuration that a batch's files, which are older, do not have.

        Args:
            batch: whose files are of one layout.
        """
        if batch.layout_id == self._pipeline.layout.layout_id:
            return []
        there = set(_list_columns(await self._planner.layout(batch.layout_id)))
        return [name for name in _list_columns(self._pipeline.layout) if name not in there]


def _list_columns(layout: Layout) -> list[str]:
    """List the columns of all targets: their names, and with several targets these before them."""
    own = [f"{target}.{name}" for target, columns in layout.targets for name, _ in columns]
    return own or [name for name, _ in layout.columns]
