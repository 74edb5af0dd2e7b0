"""Keep HEAD's epochs, by which ingest stamps changes, and those of the warehouse the same.

A ledger can be lost, restored to an earlier time, or replaced by a new stack's. Changes that were stamped without an
epoch that has begun would be old for the mirror, which would ignore them. So an epoch is written into the warehouse,
beside the target, before any HEAD has it, and HEAD is made from what the warehouse has.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import get_args

import msgspec

from fastetl.aws import Deployment
from fastetl.errors import LostEpochsError, WarehouseError
from fastetl.load.failures import explain
from fastetl.model import Head
from fastetl.sql import (
    EpochKind,
    Statement,
    confirm_epoch_sql,
    epochs_sql,
    owner_sql,
    write_epochs_sql,
)
from fastetl.versions import EpochStart

ASK_LIMIT_SECONDS = 30
"""For the warehouse's answer where HEAD is to be made; a coordinator that gets none asks again when it next wakes."""

_MISSING = re.compile(r"\b(relation|schema|table)\b.*does not exist", re.IGNORECASE | re.DOTALL)
"""How Redshift says that a table, or its schema, is not there; where the table may not be seen it says otherwise."""


class KeptEpoch(msgspec.Struct, frozen=True):
    """An epoch as the warehouse has it."""

    start: EpochStart
    kind: EpochKind


class Kept(msgspec.Struct, frozen=True):
    """What the warehouse says of the epochs."""

    epochs: tuple[KeptEpoch, ...]
    reached: int = 0
    """The latest epoch that rows of the target carry; 0 where none does, or where that was not asked."""


class Epochs:
    """The epochs of one pipeline."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe whose epochs are kept.

        Args:
            deployment: of the pipeline.
        """
        self._pipeline = deployment.pipeline
        self._owner = deployment.owner
        self._ledger = deployment.ledger
        self._warehouse = deployment.warehouse
        self._new_name = deployment.new_name

    async def head(self) -> Head:
        """Read HEAD; where there is none, or it is another stack's, give it the warehouse's epochs first.

        Raises:
            WarehouseError: the epochs could not be read, so that HEAD is not made.
            StaleStepError: another process has just changed it.
        """
        head = await self._ledger.batches.head(self._pipeline.name)
        return head if head and head.stack == self._owner else await self._adopt(head)

    async def restore(self, carried: Iterable[EpochStart] = ()) -> Head:
        """Give HEAD the epochs that only the warehouse has, and the warehouse those that only HEAD has.

        Args:
            carried: epochs that rows of files carry, whether or not HEAD or the warehouse still knows them.

        Returns:
            HEAD with all of them, but for those that wait for a resync: since they were lost, newer changes were
            loaded, which are stamped without them.

        Raises:
            LostEpochsError: rows of the target carry an epoch that none of the three knows.
            WarehouseError: they could not be read or written; the target may belong to another stack.
            StaleStepError: another process has just changed HEAD.
        """
        carried = sorted(carried, key=lambda start: start.epoch)
        if carried:
            sql = write_epochs_sql(self._pipeline, self._owner, (), carried=carried)
            await self._ask(sql, waits=True)
        head = await self._adopt(await self._ledger.batches.head(self._pipeline.name), carried, waits=True)
        there = {kept.start.epoch for kept in (await self._read(waits=True)).epochs}
        if any(start.epoch not in there for start in head.epochs):
            await self._write(head)
        return head

    async def awaits_resync(self, carried: Iterable[EpochStart]) -> bool:
        """Tell whether files wait for a resync, since no HEAD has their epoch.

        Args:
            carried: epochs that rows of files carry.

        Raises:
            WarehouseError: the epochs could not be read.
        """
        kept = (await self._read(waits=True)).epochs
        begun = {each.start.epoch for each in kept if each.kind != "announced"}
        resynced = max((each.start.epoch for each in kept if each.kind == "resync"), default=0)
        return any(start.epoch not in begun and start.epoch > resynced for start in carried)

    async def announce(self, head: Head, starts_at: int) -> tuple[Head, EpochStart | None]:
        """Write the next epoch into the warehouse, where it is in force for nobody yet.

        Args:
            head: HEAD as it was read.
            starts_at: T0, in Unix seconds.

        Returns:
            HEAD as it was read, with the epochs that only the warehouse had, and the new one; None in place of that
            where another process has taken its number.
        """
        there = await self._read(waits=True)
        last = max((kept.start.epoch for kept in there.epochs), default=0)
        new = EpochStart(max([last, there.reached, *(start.epoch for start in head.epochs)]) + 1, starts_at)
        kept = await self._write(head, new)
        known = _merge((), head.epochs, kept)
        is_written = any(each.start == new for each in kept)
        return msgspec.structs.replace(head, epochs=known), new if is_written else None

    async def confirm(self, epoch: int, kind: EpochKind) -> None:
        """Put an epoch in force that HEAD has: from now on loads refuse changes that are stamped without it.

        Args:
            epoch: its number.
            kind: what it began for.
        """
        await self._run(confirm_epoch_sql(self._pipeline, self._owner, epoch, kind))

    async def _adopt(self, head: Head | None, carried: Iterable[EpochStart] = (), *, waits: bool = False) -> Head:
        kept = await self._read(waits=waits)
        announced = {each.start.epoch for each in kept.epochs if each.kind == "announced"}
        # What is only announced was perhaps in another stack's HEAD: in this one it would be in force in the past.
        in_force = [start for start in carried if start.epoch not in announced or start.epoch <= kept.reached]
        epochs = _merge(in_force, head.epochs if head else (), kept.epochs)
        self._refuse_lost_epochs(epochs, kept)
        if head is None:
            name = self._pipeline.name
            return await self._ledger.batches.create_head(name, self._new_name(), stack=self._owner, epochs=epochs)
        if (head.epochs, head.stack) == (epochs, self._owner):
            return head
        return await self._ledger.batches.change_head(head, epochs=epochs, stack=self._owner)

    def _refuse_lost_epochs(self, epochs: tuple[EpochStart, ...], kept: Kept) -> None:
        """Make no HEAD of epochs that are not all there: the mirror would ignore what is stamped by them."""
        if kept.reached > max((start.epoch for start in epochs), default=0):
            target = f"{self._pipeline.schema}.{self._pipeline.target}"
            what = f"{target} has rows of epoch {kept.reached}, which neither {target}_epochs nor HEAD knows"
            remedy = (
                "run `fastetl rebuild-ledger`; where no file on S3 tells it either, put its row back, as"
                ' "When a ledger or a stack is replaced" in docs/operations.md says'
            )
            raise LostEpochsError(f"{what}; no change is stamped until it is known: {remedy}")

    async def _read(self, *, waits: bool) -> Kept:
        try:
            return await self._ask(epochs_sql(self._pipeline, reached=True), waits=waits)
        except WarehouseError as error:
            if not _MISSING.search(str(error)):
                raise
            if not await self._has_gate():
                # Nothing was ever loaded into this target.
                return Kept(())
        # A mirror that is not there ignores no change.
        return await self._ask(epochs_sql(self._pipeline), waits=waits)

    async def _has_gate(self) -> bool:
        try:
            await self._run(owner_sql(self._pipeline))
        except WarehouseError as error:
            if _MISSING.search(str(error)):
                return False
            raise
        return True

    async def _write(self, head: Head, new: EpochStart | None = None) -> tuple[KeptEpoch, ...]:
        sql = write_epochs_sql(self._pipeline, self._owner, head.epochs, new)
        return (await self._ask(sql, waits=True)).epochs

    async def _ask(self, sql: tuple[Statement, ...], *, waits: bool) -> Kept:
        """Run statements, and read the epochs that the last of them gives."""
        statement_id = await self._run(sql, waits=waits)
        rows = await self._warehouse.rows(statement_id, len(sql) - 1)
        reached = max((int(epoch) for epoch, _, kind in rows if kind == "reached"), default=0)
        return Kept(tuple(_parse(*row) for row in rows if row[2] != "reached"), reached)

    async def _run(self, sql: tuple[Statement, ...], *, waits: bool = True) -> str:
        """Run statements; with `waits` as long as the warehouse is busy, as a command does."""
        name, token = f"fastetl/epochs/{self._pipeline.name}", ("epochs", self._new_name())
        try:
            async with asyncio.timeout(None if waits else ASK_LIMIT_SECONDS):
                statement_id = await self._warehouse.submit(sql, name=name, token=token)
                await self._warehouse.end(statement_id)
                run = await self._warehouse.describe(statement_id)
        except TimeoutError:
            what = f"the warehouse has not told the epochs of {self._pipeline.name}"
            raise WarehouseError(f"{what} within {ASK_LIMIT_SECONDS} seconds", transient=True) from None
        if run.state != "FINISHED":
            step = sql[run.failed_index].step if run.failed_index >= 0 else ""
            raise WarehouseError(explain(step, run.error or run.state))
        return statement_id


def _merge(
    carried: Iterable[EpochStart], known: Iterable[EpochStart], kept: Iterable[KeptEpoch]
) -> tuple[EpochStart, ...]:
    """Add the warehouse's epochs, and those that files carry, to HEAD's, but for one that is only announced.

    Given to HEAD after its T0, it would be in force in the past: what was read before that, and what of the same time
    is read again, would be of two epochs.
    """
    begun = [each.start for each in kept if each.kind != "announced"]
    merged = {start.epoch: start for start in (*carried, *begun, *known)}
    return tuple(merged[epoch] for epoch in sorted(merged))


def _parse(epoch: str, starts_at: str, kind: str) -> KeptEpoch:
    moment = datetime.fromisoformat(starts_at).replace(tzinfo=UTC)
    if kind not in get_args(EpochKind):
        raise WarehouseError(f"epoch {epoch} has an unknown kind, {kind!r}")
    return KeptEpoch(EpochStart(int(epoch), int(moment.timestamp())), msgspec.convert(kind, EpochKind))
