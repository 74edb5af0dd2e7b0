"""HEAD, `P#<pipeline>`, and BATCH items, `B#<batch_id>`: which batches are open, and how far each has come.

`O#<pipeline>` has the open batches once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.aws.calls import gather
from fastetl.aws.ledger.items import parse_item, write_item
from fastetl.aws.ledger.pending import PendingIndex, entry_keys
from fastetl.aws.ledger.table import if_absent
from fastetl.errors import LedgerError
from fastetl.model import Batch, BatchState, Head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from fastetl.aws.ledger.table import LedgerTable
    from fastetl.versions import EpochStart

CLOSED_BATCHES_KEPT_SECONDS = 90 * 24 * 3600
"""A BATCH item of which files are tried again lets attempts go on rising; without it the warehouse tells the highest
one that is fenced off."""

OPEN_STATES: frozenset[BatchState] = frozenset({"FORMED", "SUBMITTING", "SUBMITTED", "RESOLVING", "RETRY"})


class Batches:
    """HEAD and the batches of a ledger."""

    def __init__(self, table: LedgerTable) -> None:
        """Describe HEAD and the batches.

        Args:
            table: the ledger's.
        """
        self._table = table
        self._index = PendingIndex(table)

    async def head(self, pipeline: str) -> Head | None:
        """Read HEAD consistently; None where there is none.

        Args:
            pipeline: its name.
        """
        row = await self._table.get(f"P#{pipeline}")
        return parse_item(row, Head) if row else None

    async def create_head(
        self, pipeline: str, installation: str, *, stack: str = "", epochs: tuple[EpochStart, ...] = ()
    ) -> Head:
        """Make HEAD where there is none; should it have been lost, with the batches that are still open.

        Args:
            pipeline: its name.
            installation: a name that no other installation has; batch ids depend on it.
            stack: `Head.stack`; empty where the epochs are not known.
            epochs: as the warehouse has them.
        """
        surviving = tuple(batch.batch_id for batch in await self._find_open(pipeline))
        head = Head(pipeline, 1, open=surviving, installation=installation, epochs=epochs, stack=stack)
        row = {"pk": f"P#{pipeline}", **msgspec.to_builtins(head)}
        await self._table.call("put_item", Item=write_item(row), **if_absent())
        return head

    async def change_head(self, head: Head, **changes: Any) -> Head:
        """Change HEAD, provided that nobody has since it was read.

        Args:
            head: HEAD as it was read.
            changes: its new values, by name.

        Returns:
            HEAD with the changes and a higher generation.
        """
        changes["generation"] = head.generation + 1
        await self._table.update(f"P#{head.pipeline}", changes, only_if={"generation": head.generation})
        return msgspec.structs.replace(head, **changes)

    async def read(self, batch_id: str) -> Batch:
        """Read a batch consistently.

        Args:
            batch_id: of the batch.

        Raises:
            LedgerError: the batch has no item, or DynamoDB did not give it.
        """
        row = await self._table.get(f"B#{batch_id}")
        if row is None:
            raise LedgerError(f"batch {batch_id} is open but has no item; run `fastetl rebuild-ledger`")
        return parse_item(row, Batch)

    async def closed(self, pipeline: str, *, since: int = 0, latest: int = 0) -> AsyncIterator[Batch]:
        """Yield batches that have ended, in the order of their ends, as the index has them.

        Args:
            pipeline: its name.
            since: Unix milliseconds: no batch that ended before.
            latest: only this many, the latest first; 0: all of them, the earliest first.
        """
        async for batch_id in self._index.entries(pipeline, "closed", since=since, latest=latest):
            for batch in await self._read_each([batch_id]):
                yield batch

    async def open(self, head: Head, batches: Sequence[Batch], *, now_ms: int, instead_of: Batch | None = None) -> Head:
        """Put batches into HEAD in one transaction, in the place of the one that they split, if any.

        A batch of the same files that was closed before is taken up again, and its attempts go on rising.

        Args:
            head: HEAD as it was read.
            batches: to put into it.
            now_ms: Unix milliseconds, from which the time to live of the item of `instead_of` counts.
            instead_of: the batch that they are the parts of.

        Returns:
            HEAD with the batches and a higher generation.
        """
        kept = [batch_id for batch_id in head.open if instead_of is None or batch_id != instead_of.batch_id]
        opened = tuple(kept) + tuple(batch.batch_id for batch in batches)
        writes = [self._form(batch) for batch in batches]
        if instead_of is not None:
            writes.append(self._moved(instead_of, _closed(instead_of, "SPLIT", now_ms)))
        return await self._swap(head, writes, open=opened, load_requested=False)

    async def advance(self, batch: Batch, **changes: Any) -> Batch:
        """Take one step of a batch, provided that nobody else has taken it.

        Args:
            batch: as it was read.
            changes: its new values, by name.

        Returns:
            The batch with the changes.
        """
        await self._table.call("update_item", **self._moved(batch, changes))
        return msgspec.structs.replace(batch, **changes)

    async def close(self, head: Head, batch: Batch, state: BatchState, *, now_ms: int, **changes: Any) -> Head:
        """Take a batch out of HEAD: the last step, after its files have been marked. `changes` are HEAD's.

        Args:
            head: HEAD as it was read.
            batch: as it was read.
            state: how it ended.
            now_ms: Unix milliseconds, from which its item's time to live counts.
            changes: HEAD's new values, by name.

        Returns:
            HEAD without the batch.
        """
        changes |= {"open": tuple(batch_id for batch_id in head.open if batch_id != batch.batch_id)}
        if state == "LOADED" and head.paused_by == "fastetl":
            changes |= {"paused": "", "paused_by": ""}
        return await self._swap(head, [self._moved(batch, _closed(batch, state, now_ms))], **changes)

    async def _swap(self, head: Head, writes: list[dict[str, Any]], **changes: Any) -> Head:
        changes["generation"] = head.generation + 1
        swap = self._table.writing(f"P#{head.pipeline}", changes, only_if={"generation": head.generation})
        # What HEAD names is known by another key as well, should HEAD be lost.
        copy = self._table.writing(f"O#{head.pipeline}", {"pipeline": head.pipeline, "open": changes["open"]})
        # HEAD last: what it names is there, even where writes show one by one, as moto's do.
        updates = [{"Update": {"TableName": self._table.name, **write}} for write in [*writes, copy, swap]]
        await self._table.call("transact_write_items", TransactItems=updates)
        return msgspec.structs.replace(head, **changes)

    def _form(self, batch: Batch) -> dict[str, Any]:
        changes = msgspec.structs.asdict(batch)
        counters = {name: changes.pop(name) for name in ("attempt", "resolves")}
        write = self._table.writing(
            f"B#{batch.batch_id}", changes, unless_there=counters, remove=("expires", "q", "qk")
        )
        states = {f":open{n}": state for n, state in enumerate(sorted(OPEN_STATES))}
        write["ConditionExpression"] = f"attribute_not_exists(pk) OR NOT #state IN ({', '.join(states)})"
        write["ExpressionAttributeValues"] |= write_item(states)
        return write

    def _moved(self, batch: Batch, changes: Mapping[str, Any]) -> dict[str, Any]:
        was = {"state": batch.state, "attempt": batch.attempt, "resolves": batch.resolves}
        return self._table.writing(f"B#{batch.batch_id}", changes, only_if=was)

    async def _find_open(self, pipeline: str) -> list[Batch]:
        """Find the batches that a lost HEAD has named."""
        row = await self._table.get(f"O#{pipeline}")
        named = [each["S"] for each in row["open"]["L"]] if row else []
        return [batch for batch in await self._read_each(named) if batch.state in OPEN_STATES]

    async def _read_each(self, batch_ids: Sequence[str]) -> list[Batch]:
        rows = await gather(lambda batch_id: self._table.get(f"B#{batch_id}"), batch_ids)
        return [parse_item(row, Batch) for row in rows if row]


def _closed(batch: Batch, state: BatchState, now_ms: int) -> dict[str, Any]:
    listed = entry_keys(batch.pipeline, "closed", now_ms, batch.batch_id)
    return {"state": state, "expires": now_ms // 1000 + CLOSED_BATCHES_KEPT_SECONDS, **listed}
