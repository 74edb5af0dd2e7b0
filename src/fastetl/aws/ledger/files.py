"""FILE items, `F#<file_id>`: which files exist, and what has become of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.aws.calls import gather
from fastetl.aws.ledger.items import parse_item, write_item
from fastetl.aws.ledger.pending import PendingIndex, entry_keys, index_keys
from fastetl.aws.ledger.table import ConditionFailedError, if_absent
from fastetl.errors import LedgerError
from fastetl.model import FileItem, FileState, PendingFile, follows_gap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from fastetl.aws.ledger.table import LedgerTable

LOADED_FILES_KEPT_SECONDS = 90 * 24 * 3600
"""A FILE item recognises a redelivery; streams redeliver for 24 hours, and the rest is for `fastetl reconcile`."""


class Files:
    """The FILE items of a ledger."""

    def __init__(self, table: LedgerTable) -> None:
        """Describe the items.

        Args:
            table: the ledger's.
        """
        self._table = table
        self._index = PendingIndex(table)

    async def register(self, item: FileItem, *, is_read: bool = True) -> FileItem:
        """Record a file, unless its id is recorded already.

        Args:
            item: the file.
            is_read: whether its records were just read, so that their age tells of a gap.

        Returns:
            What the ledger holds under this `file_id` now, which may be an earlier attempt's.
        """
        row = {"pk": f"F#{item.file_id}", **msgspec.to_builtins(item)}
        if item.state == "PENDING":
            row |= index_keys(item)
        if item.state == "REJECTED":
            row |= entry_keys(item.pipeline, "rejected", item.created, item.file_id)
        put: dict[str, Any] = {"Item": write_item(row), **if_absent()}
        try:
            if is_read and follows_gap(item):
                await self._put_together(put, {"Item": write_item(_write_gap(item))})
            else:
                await self._table.call("put_item", **put, ReturnValuesOnConditionCheckFailure="ALL_OLD")
        except ConditionFailedError as failure:
            return parse_item(failure.item, FileItem) if failure.item else await self._read_one(item.file_id)
        return item

    async def read(self, file_ids: Sequence[str]) -> dict[str, FileItem]:
        """Read FILE items consistently; ids that the ledger does not know are left out.

        Args:
            file_ids: of the files; any number.

        Returns:
            The items by `file_id`.
        """
        rows = await self._table.get_each([f"F#{file_id}" for file_id in file_ids])
        return {item.file_id: item for item in (parse_item(row, FileItem) for row in rows)}

    def pending(self, pipeline: str) -> AsyncIterator[PendingFile]:
        """Yield the files that the index shows as waiting, oldest first, page by page as far as the caller goes on.

        Args:
            pipeline: its name.
        """
        return self._index.files(pipeline)

    async def latest(self, pipeline: str, most: int) -> list[str]:
        """Give the ids of files that are not loaded and were registered last, as the index has them.

        Args:
            pipeline: its name.
            most: how many that wait, in quarantine, and of which every record was rejected.
        """
        found = [file.file_id for file in await self._index.latest_files(pipeline, most)]
        for kind in ("quarantined", "rejected"):
            found += [file_id async for file_id in self._index.entries(pipeline, kind, latest=most)]
        return found

    def quarantined(self, pipeline: str, since: int = 0) -> AsyncIterator[str]:
        """Yield the ids of the files in quarantine, as the index has them, in the order of their registration.

        Args:
            pipeline: its name.
            since: Unix milliseconds: no file that was registered before.
        """
        return self._index.entries(pipeline, "quarantined", since=since)

    def rejected(self, pipeline: str, since: int) -> AsyncIterator[str]:
        """Yield the ids of files of which every record was rejected, as the index has them.

        Args:
            pipeline: its name.
            since: Unix milliseconds: no file that was registered before.
        """
        return self._index.entries(pipeline, "rejected", since=since)

    def possible_gaps(self, pipeline: str, since: int) -> AsyncIterator[str]:
        """Yield the ids of files that began where the stream was about to forget, as the index has them.

        Args:
            pipeline: its name.
            since: Unix milliseconds: no file that was registered before.
        """
        return self._index.entries(pipeline, "gaps", since=since)

    async def mark_loaded(self, files: Mapping[str, str], *, now_ms: int) -> None:
        """Mark files as loaded, after the warehouse has committed them. Repeating it changes nothing.

        Args:
            files: by file id, the batch that loaded each.
            now_ms: Unix milliseconds, from which the items' time to live counts.
        """
        expires = now_ms // 1000 + LOADED_FILES_KEPT_SECONDS

        async def mark(file_id: str) -> None:
            try:
                await self._table.update(
                    f"F#{file_id}",
                    {"state": "LOADED", "batch_id": files[file_id], "expires": expires},
                    remove=("q", "qk"),
                    only_if={"state": "PENDING"},
                )
            except ConditionFailedError:
                # It was marked before; or a restored ledger has lost it, so that it was registered again and the
                # gate refused it. A quarantined file is in no batch.
                return

        await gather(mark, files)

    async def mark_quarantined(self, file_id: str, batch_id: str, reason: str) -> None:
        """Take a file out of what waits. Repeating it changes nothing; a loaded file stays loaded.

        Args:
            file_id: of the file.
            batch_id: the batch that failed.
            reason: for operators; in the warehouse's words.
        """
        if not (item := (await self.read([file_id])).get(file_id)):
            return
        changes = {"state": "QUARANTINED", "batch_id": batch_id, "reason": reason}
        listed = entry_keys(item.pipeline, "quarantined", item.created, file_id)
        try:
            await self._table.update(f"F#{file_id}", changes | listed, only_if={"state": "PENDING"})
        except ConditionFailedError:
            return

    async def scan(self, pipeline: str, *states: FileState) -> AsyncIterator[FileItem]:
        """Read the FILE items of a pipeline, those of some states if any are named.

        It reads the whole table, consistently, in bounded memory: for what has to know every file, as
        `rebuild-ledger` and the end of a backfill do.

        Args:
            pipeline: its name.
            states: the states that are wanted; every state where none is named.
        """
        async for row in self._table.scan("F#", pipeline):
            item = parse_item(row, FileItem)
            if not states or item.state in states:
                yield item

    async def requeue(self, item: FileItem, *beside: Mapping[str, Any]) -> None:
        """Let a file wait for a load again, provided that its state is still the item's.

        Args:
            item: the file, as it was read.
            beside: arguments of UpdateItem that are done in the same transaction.

        Raises:
            StaleStepError: its state is another one by now, or a condition of what is beside it is not met.
        """
        changes = {"state": "PENDING", "batch_id": "", "reason": "", **index_keys(item)}
        write = self._table.writing(f"F#{item.file_id}", changes, remove=("expires",), only_if={"state": item.state})
        if not beside:
            await self._table.call("update_item", **write)
            return
        updates = [{"Update": {"TableName": self._table.name, **each}} for each in (write, *beside)]
        await self._table.call("transact_write_items", TransactItems=updates)

    async def drop(self, item: FileItem) -> None:
        """Give a quarantined file up. Its object stays.

        Args:
            item: the file, as it was read.
        """
        changes, only_if = {"state": "DROPPED"}, {"state": "QUARANTINED"}
        await self._table.update(f"F#{item.file_id}", changes, remove=("q", "qk"), only_if=only_if)

    async def end_rejects(self, file_id: str) -> None:
        """Note that a file's rejects were replayed or dropped. An item that has expired needs no note.

        Args:
            file_id: of the file that the records were rejected from.
        """
        try:
            await self._table.update(f"F#{file_id}", {"rejects_ended": True}, only_if={"file_id": file_id})
        except ConditionFailedError:
            return

    async def _put_together(self, *puts: Mapping[str, Any]) -> None:
        items = [{"Put": {"TableName": self._table.name, **each}} for each in puts]
        await self._table.call("transact_write_items", TransactItems=items)

    async def _read_one(self, file_id: str) -> FileItem:
        row = await self._table.get(f"F#{file_id}")
        if row is None:
            raise LedgerError(f"file {file_id} was there and is not; the invocation is to be repeated")
        return parse_item(row, FileItem)


def _write_gap(item: FileItem) -> dict[str, Any]:
    """Write the item that lists a file which began where the stream was about to forget."""
    listed = entry_keys(item.pipeline, "gaps", item.created, item.file_id)
    expires = item.created // 1000 + LOADED_FILES_KEPT_SECONDS
    return {"pk": f"G#{item.file_id}", "pipeline": item.pipeline, "expires": expires, **listed}
