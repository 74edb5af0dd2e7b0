"""Take the step that was decided: write it to the ledger, and submit statements to the warehouse.

Each write has the condition that the ledger is still as it was when the decision was made, so that only one of two
coordinators takes a step. A step that fails half-way is repeated by the next wake-up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from fastetl.aws import Deployment, gather, is_transient
from fastetl.errors import LedgerError, StorageError, WarehouseError
from fastetl.load import batches
from fastetl.load.decide import FIRST_DELAY_SECONDS, Action, Decision, resolve_changes
from fastetl.load.plan import Planner, name_attempt
from fastetl.model import MAX_OPEN_BATCHES, Batch, FileItem, Head
from fastetl.sql import Statement

RESTORE_POLL_SECONDS = 900
"""Between two looks at files that were asked for from an archive: an archive takes hours (Amazon S3 User Guide,
"Understanding archive retrieval options")."""

MARKED_AT_ONCE = 500
"""Files that one step marks or asks for. A batch has up to 10,000, which may take longer than a coordinator lives where
DynamoDB throttles: each step notes how far it has come, and the next one goes on from there."""

Outcome = Literal[
    "idle", "waiting", "opened", "restoring", "submitted", "resolving", "marked", "loaded", "retry", "split",
    "quarantined", "dissolved",
]  # fmt: skip


Foresee = Callable[[Batch], Awaitable[int]]
"""Tells up to when everything will be loaded once a batch is: Unix milliseconds, or 0 where that is not known."""


class Step(msgspec.Struct, frozen=True):
    """What one wake-up did."""

    action: Outcome
    batch: Batch | None = None
    paused: str = ""
    """Why the pipeline was paused by this step, if it was."""

    @property
    def progressed(self) -> bool:
        """Whether another wake-up right away may do more."""
        return self.action not in {"idle", "waiting"}


class Steps:
    """Takes the steps of one pipeline."""

    def __init__(self, deployment: Deployment, planner: Planner, foresee: Foresee) -> None:
        self._ledger = deployment.ledger
        self._bucket = deployment.bucket
        self._warehouse = deployment.warehouse
        self._clock = deployment.clock
        self._planner = planner
        self._foresee = foresee

    async def take(self, head: Head, decision: Decision) -> Step:
        """Take a step.

        Args:
            head: that the decision was based on.
            decision: of `decide`.

        Returns:
            What was done.

        Raises:
            StaleStepError: another coordinator took it first.
            LedgerError, StorageError, WarehouseError: it is not done, or half done; repeating it completes it.
        """
        if decision.pause:
            head = await self._pause(head, decision.pause)
        if decision.action == "open":
            return await self._open(head, decision.files)
        if decision.batch is None:
            return Step("idle")
        step = await self._of_batch[decision.action](self, head, decision.batch, decision)
        return msgspec.structs.replace(step, paused=decision.pause or step.paused)

    async def _wait(self, _head: Head, batch: Batch, _decision: Decision) -> Step:
        return Step("waiting", batch)

    async def _open(self, head: Head, files: Sequence[FileItem]) -> Step:
        batch = await self._planner.stage(head.installation, files)
        await self._ledger.batches.open(head, [batch], now_ms=self._now())
        return Step("opened", batch)

    async def _begin(self, _head: Head, batch: Batch, decision: Decision) -> Step:
        """Write down that an attempt is submitted, and submit it."""
        changes = {**decision.changes, "complete_up_to": await self._foresee(batch)}
        attempt = msgspec.structs.replace(batch, **changes)
        kept = await self._planner.keep(batch)
        planned = await self._planner.load(attempt)
        steps = tuple(statement.step for statement in planned)
        batch = await self._ledger.batches.advance(batch, **changes, **kept, steps=steps)
        return await self._submit(batch, planned)

    async def _submit_again(self, _head: Head, batch: Batch, _decision: Decision) -> Step:
        return await self._submit(batch, await self._planner.load(batch))

    async def _submit(self, batch: Batch, planned: Sequence[Statement]) -> Step:
        try:
            statement_id = await self._warehouse.submit(planned, name=name_attempt(batch), token=(name_attempt(batch),))
        except WarehouseError as error:
            if error.transient:
                return Step("waiting", batch)
            changes = resolve_changes("infrastructure", str(error))
            return Step("resolving", await self._ledger.batches.advance(batch, **changes))
        submitted = await self._ledger.batches.advance(batch, state="SUBMITTED", statement_id=statement_id)
        return Step("submitted", submitted)

    async def _cancel(self, _head: Head, batch: Batch, _decision: Decision) -> Step:
        await self._warehouse.cancel(batch.statement_id)
        return Step("waiting", batch)

    async def _advance(self, _head: Head, batch: Batch, decision: Decision) -> Step:
        """Write down what a batch has become; the next step does something about it."""
        outcome: Outcome = "resolving" if decision.action in {"resolve", "ask_again"} else "submitted"
        return Step(outcome, await self._ledger.batches.advance(batch, **decision.changes))

    async def _ask_verdict(self, head: Head, batch: Batch, _decision: Decision) -> Step:
        """Have the warehouse settle how the attempt ended; until then nothing else is done with the batch."""
        name = f"{name_attempt(batch)}/resolve/{batch.resolves}"
        kept = await self._planner.keep(batch) if batch.failure == "files" else {}
        try:
            statement_id = await self._warehouse.submit(self._planner.resolve(batch), name=name, token=(name,))
        except WarehouseError as error:
            if not error.transient:
                await self._pause(head, str(error))
            return Step("waiting", batch)
        batch = await self._ledger.batches.advance(batch, statement_id=statement_id, submitted_at=self._now(), **kept)
        return Step("resolving", batch)

    async def _retry(self, _head: Head, batch: Batch, decision: Decision) -> Step:
        return Step("retry", await self._ledger.batches.advance(batch, **decision.changes))

    async def _restore(self, head: Head, batch: Batch, _decision: Decision) -> Step:
        """Ask S3 for files that are in an archive, `MARKED_AT_ONCE` at a time, until all can be read."""
        left = [file_id for file_id in batches.list_members(batch) if file_id > batch.marked_to]
        asked = left[:MARKED_AT_ONCE]
        found = await self._ledger.files.read(asked)
        try:
            readable = await gather(self._bucket.restore, [file.key for file in found.values()])
        except StorageError as error:
            if is_transient(error):
                raise
            reason = f"files are in an archive, and cannot be asked for: {error}"
            await self._pause(head, reason)
            again = self._now() + RESTORE_POLL_SECONDS * 1000
            return Step("waiting", await self._ledger.batches.advance(batch, not_before=again), paused=reason)
        restoring = batch.restoring or not all(readable)
        if left[MARKED_AT_ONCE:]:
            changes: dict[str, Any] = {"marked_to": asked[-1], "restoring": restoring}
        elif restoring:
            again = self._now() + RESTORE_POLL_SECONDS * 1000
            changes = {"marked_to": "", "restoring": False, "not_before": again}
        else:
            changes = {"marked_to": "", "failure": ""}
        return Step("restoring", await self._ledger.batches.advance(batch, **changes))

    # --- how a batch ends ----------------------------------------------------------------------------------------

    async def _mark(self, head: Head, batch: Batch, decision: Decision) -> Step:
        # First the files, then HEAD: the other way round a file would be in no batch and not yet loaded.
        loaded = dict.fromkeys(batches.list_members(batch), batch.batch_id)
        if left := await self._mark_some(batch, loaded, self._mark_loaded):
            return Step("marked", left)
        await self._ledger.batches.close(head, batch, "LOADED", now_ms=self._now(), **decision.head_changes)
        return Step("loaded", batch)

    async def _dissolve(self, head: Head, batch: Batch, decision: Decision) -> Step:
        """Close a batch of which files are loaded already, or that was a probe: its other files wait again."""
        if batch.failure == "files":
            steps = [statement.step for statement in self._planner.resolve(batch)]
            rows = await self._warehouse.rows(batch.statement_id, steps.index("verdict_files"))
            loaded = {row[0]: row[1] for row in rows}
            if left := await self._mark_some(batch, loaded, self._mark_loaded):
                return Step("marked", left)
        await self._ledger.batches.close(head, batch, "SPLIT", now_ms=self._now(), **decision.head_changes)
        return Step("dissolved", batch)

    async def _quarantine(self, head: Head, batch: Batch, _decision: Decision) -> Step:
        failed = dict.fromkeys(batches.list_members(batch), batch.batch_id)

        async def mark(files: Mapping[str, str]) -> None:
            for file_id, batch_id in files.items():
                await self._ledger.files.mark_quarantined(file_id, batch_id, batch.error)

        found = await self._ledger.files.read(list(failed))
        if not all(await gather(self._bucket.restore, [file.key for file in found.values()])):
            # Whatever COPY said of it: what is in an archive is no bad data.
            changes = {"state": "RETRY", "failure": "archived", "not_before": 0}
            return Step("retry", await self._ledger.batches.advance(batch, **changes))
        if left := await self._mark_some(batch, failed, mark):
            return Step("marked", left)
        await self._ledger.batches.close(head, batch, "QUARANTINED", now_ms=self._now())
        return Step("quarantined", batch)

    async def _mark_some(
        self, batch: Batch, files: Mapping[str, str], mark: Callable[[Mapping[str, str]], Awaitable[None]]
    ) -> Batch | None:
        """Mark the next `MARKED_AT_ONCE` files in the order of their ids.

        Args:
            batch: whose files they are; it says up to which one they are marked.
            files: all of them, with the batch that their items are to name.
            mark: marks files; repeating it changes nothing.

        Returns:
            The batch, with how far it has come, if more files are left; None when all are marked.
        """
        left = sorted(file_id for file_id in files if file_id > batch.marked_to)
        now = left[:MARKED_AT_ONCE]
        await mark({file_id: files[file_id] for file_id in now})
        # Noted after the files are marked: who dies in between has them marked once more.
        return await self._ledger.batches.advance(batch, marked_to=now[-1]) if left[MARKED_AT_ONCE:] else None

    async def _mark_loaded(self, files: Mapping[str, str]) -> None:
        await self._ledger.files.mark_loaded(files, now_ms=self._now())

    async def _split(self, head: Head, batch: Batch, _decision: Decision) -> Step:
        members = batches.list_members(batch)
        found = await self._ledger.files.read(members)
        if missing := [file_id for file_id in members if file_id not in found]:
            # Splitting the rest would leave them in no batch, and nobody would load them.
            what = f"{len(missing)} files of batch {batch.batch_id} have no item, {missing[0]} among them"
            raise LedgerError(f"{what}; run `fastetl rebuild-ledger`")
        files = [found[file_id] for file_id in members]
        parts = [
            await self._planner.stage(head.installation, part, parent=batch.batch_id)
            for part in batches.split(files, batch.suspects)
        ]
        # A full HEAD has no room for both: the second part waits again, in no batch, and is opened later.
        room = MAX_OPEN_BATCHES - len(head.open) + 1
        opened = parts[: max(1, room - 1)]
        await self._ledger.batches.open(head, opened, instead_of=batch, now_ms=self._now())
        return Step("split", batch)

    async def _pause(self, head: Head, reason: str) -> Head:
        """Pause the pipeline, or tell a new reason of its pause; an operator's pause stays what it is."""
        if head.paused_by == "operator" or head.paused == reason[:500]:
            return head
        probe_at = head.probe_at if head.paused else self._now() + FIRST_DELAY_SECONDS * 1000
        return await self._ledger.batches.change_head(head, paused=reason[:500], paused_by="fastetl", probe_at=probe_at)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    _of_batch: Mapping[Action, Callable[[Steps, Head, Batch, Decision], Awaitable[Step]]] = {
        "wait": _wait,
        "restore": _restore,
        "submit": _begin,
        "resubmit": _submit_again,
        "follow": _advance,
        "cancel": _cancel,
        "resolve": _advance,
        "ask": _ask_verdict,
        "ask_again": _advance,
        "mark": _mark,
        "dissolve": _dissolve,
        "split": _split,
        "quarantine": _quarantine,
        "retry": _retry,
    }
