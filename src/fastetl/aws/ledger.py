"""The edge to the ledger: one DynamoDB table that says which files exist and which batch loads them.

Items: FILE `F#<file_id>`, HEAD `P#<pipeline>`, BATCH `B#<batch_id>`; of a backfill `E#<pipeline>#<epoch>#<export>`,
and for each data file of its export that is done `X#<pipeline>#<epoch>#<export>#<name>`; `I#<pipeline>` is what ingest
failed with last, and `C#<pipeline>#<schema.table>` which columns of a table loads have ever written.
Everything that must not happen twice is a condition on a write. A condition that fails means that someone else was
faster: `StaleStepError`, read again.
The sparse index `pending` is a hint of what waits; only a consistent read of the FILE item decides.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.aws.calls import Refusal, gather, make_call
from fastetl.aws.items import parse_item, write_item, write_value
from fastetl.errors import LedgerError, StaleStepError
from fastetl.model import (
    Backfill,
    Batch,
    BatchState,
    Converted,
    FileItem,
    FileState,
    Head,
    IngestError,
    PendingFile,
    WrittenColumns,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from types_aiobotocore_dynamodb import DynamoDBClient

INDEX = "pending"
INDEX_BUCKETS = 16
"""The index is spread over so many keys per pipeline: one takes about 1,000 writes a second."""

LOADED_FILES_KEPT_SECONDS = 90 * 24 * 3600
"""A FILE item recognises a redelivery; streams redeliver for 24 hours, and the rest is for `fastetl reconcile`."""

OPEN_STATES: frozenset[BatchState] = frozenset({"FORMED", "SUBMITTING", "SUBMITTED", "RESOLVING", "RETRY"})

TABLE_SCHEMA: dict[str, Any] = {
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "q", "qk")],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": INDEX,
            "KeySchema": [{"AttributeName": "q", "KeyType": "HASH"}, {"AttributeName": "qk", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["bytes", "layout_id"]},
        }
    ],
}
"""What CreateTable takes; `template.yaml` has the same. `expires` is the time to live."""

_WITHOUT_TABLE = {"batch_get_item", "transact_write_items"}
_PAGE = 1000
_BATCH_GET = 100
"""Keys in one BatchGetItem (DynamoDB API reference)."""


class Ledger:
    """One ledger table. Every method raises `LedgerError` when DynamoDB does not do what was asked."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        """Describe a ledger.

        Args:
            client: an open DynamoDB client.
            table: the table's name.
        """
        self._client = client
        self.table = table

    # --- files ---------------------------------------------------------------------------------------------------

    async def register(self, item: FileItem) -> FileItem:
        """Record a file, unless its id is recorded already.

        Args:
            item: the file.

        Returns:
            What the ledger holds under this `file_id` now, which may be an earlier attempt's.
        """
        row = {"pk": f"F#{item.file_id}", **msgspec.to_builtins(item)}
        if item.state == "PENDING":
            row |= _index_keys(item)
        try:
            await self._call(
                "put_item", Item=write_item(row), **_if_absent(), ReturnValuesOnConditionCheckFailure="ALL_OLD"
            )
        except _ConditionFailedError as failure:
            return parse_item(failure.item, FileItem) if failure.item else await self._file(item.file_id)
        return item

    async def files(self, file_ids: Sequence[str]) -> dict[str, FileItem]:
        """Read FILE items consistently; ids that the ledger does not know are left out.

        Args:
            file_ids: of the files; any number.

        Returns:
            The items by `file_id`.
        """
        chunks = [file_ids[n : n + _BATCH_GET] for n in range(0, len(file_ids), _BATCH_GET)]
        found: dict[str, FileItem] = {}

        async def read(chunk: Sequence[str]) -> None:
            keys = [write_item({"pk": f"F#{file_id}"}) for file_id in chunk]
            while keys:
                wanted = {self.table: {"Keys": keys, "ConsistentRead": True}}
                answer = await self._call("batch_get_item", RequestItems=wanted)
                for row in answer["Responses"].get(self.table, []):
                    item = parse_item(row, FileItem)
                    found[item.file_id] = item
                keys = answer.get("UnprocessedKeys", {}).get(self.table, {}).get("Keys", [])

        await gather(read, chunks)
        return found

    async def pending(self, pipeline: str) -> AsyncIterator[PendingFile]:
        """Yield the files that the index shows as waiting, oldest first, page by page as far as the caller goes on.

        Args:
            pipeline: its name.
        """
        buckets = [_Pages(self, f"{pipeline}#{n}") for n in range(INDEX_BUCKETS)]
        firsts = await gather(_Pages.next, buckets)
        heap = [(file.created, file.file_id, n, file) for n, file in enumerate(firsts) if file]
        heapq.heapify(heap)
        while heap:
            _, _, n, file = heap[0]
            yield file
            if following := await buckets[n].next():
                heapq.heapreplace(heap, (following.created, following.file_id, n, following))
            else:
                heapq.heappop(heap)

    async def mark_loaded(self, files: Mapping[str, str], *, now_ms: int) -> None:
        """Mark files as loaded, after the warehouse has committed them. Repeating it changes nothing.

        Args:
            files: by file id, the batch that loaded each.
            now_ms: Unix milliseconds, from which the items' time to live counts.
        """
        expires = now_ms // 1000 + LOADED_FILES_KEPT_SECONDS

        async def mark(file_id: str) -> None:
            try:
                await self._update(
                    f"F#{file_id}",
                    {"state": "LOADED", "batch_id": files[file_id], "expires": expires},
                    remove=("q", "qk"),
                    only_if={"state": "PENDING"},
                )
            except _ConditionFailedError:
                # Marked before; or gone with a ledger that was restored, and then registered anew and refused
                # by the gate. A quarantined file is in no batch.
                return

        await gather(mark, files)

    async def mark_quarantined(self, file_id: str, batch_id: str, reason: str) -> None:
        """Take a file out of what waits. Repeating it changes nothing; a loaded file stays loaded.

        Args:
            file_id: of the file.
            batch_id: the batch that failed.
            reason: for operators; in the warehouse's words.
        """
        changes = {"state": "QUARANTINED", "batch_id": batch_id, "reason": reason}
        try:
            await self._update(f"F#{file_id}", changes, remove=("q", "qk"), only_if={"state": "PENDING"})
        except _ConditionFailedError:
            return

    # --- for operators -------------------------------------------------------------------------------------------

    async def all_files(self, pipeline: str, *states: FileState) -> AsyncIterator[FileItem]:
        """Read the FILE items of a pipeline, those of some states if any are named. Reads the whole table.

        Args:
            pipeline: its name.
            states: the states that are wanted; every state where none is named.
        """
        async for row in self._scan("F#", pipeline):
            item = parse_item(row, FileItem)
            if not states or item.state in states:
                yield item

    async def requeue(self, item: FileItem) -> None:
        """Let a file wait for a load again, provided that its state is still the item's.

        Args:
            item: the file, as it was read.
        """
        changes = {"state": "PENDING", "batch_id": "", "reason": "", **_index_keys(item)}
        await self._update(f"F#{item.file_id}", changes, remove=("expires",), only_if={"state": item.state})

    async def drop(self, item: FileItem) -> None:
        """Give a quarantined file up. Its object stays.

        Args:
            item: the file, as it was read.
        """
        await self._update(f"F#{item.file_id}", {"state": "DROPPED"}, only_if={"state": "QUARANTINED"})

    async def end_rejects(self, file_id: str) -> None:
        """Note that a file's rejects were replayed or dropped. An item that has expired needs no note.

        Args:
            file_id: of the file that the records were rejected from.
        """
        try:
            await self._update(f"F#{file_id}", {"rejects_ended": True}, only_if={"file_id": file_id})
        except _ConditionFailedError:
            return

    # --- backfills -----------------------------------------------------------------------------------------------

    async def put_backfill(self, backfill: Backfill) -> None:
        """Write down a backfill and how far it is.

        Args:
            backfill: the item to write.
        """
        pk = f"E#{backfill.pipeline}#{backfill.epoch}#{backfill.name}"
        await self._call("put_item", Item=write_item({"pk": pk, **msgspec.to_builtins(backfill)}))

    async def backfill(self, pipeline: str, epoch: int, name: str) -> Backfill | None:
        """Read a backfill consistently; None where there is none.

        Args:
            pipeline: its name.
            epoch: the backfill's.
            name: of the export, as `Backfill.name`.
        """
        row = await self._get(f"E#{pipeline}#{epoch}#{name}")
        return parse_item(row, Backfill) if row else None

    async def backfills(self, pipeline: str) -> tuple[Backfill, ...]:
        """Read all backfills of a pipeline, the oldest epoch's and export's first. Reads the whole table.

        Args:
            pipeline: its name.
        """
        found = [parse_item(row, Backfill) async for row in self._scan(f"E#{pipeline}#", pipeline)]
        return tuple(sorted(found, key=lambda each: (each.epoch, each.exported_at, each.export_id)))

    async def put_converted(self, backfill: Backfill, converted: Converted) -> None:
        """Write down that all files of a data file are registered.

        Args:
            backfill: that the data file belongs to.
            converted: the data file, with its counts.
        """
        pk = f"X#{backfill.pipeline}#{backfill.epoch}#{backfill.name}#{converted.name}"
        row = {"pk": pk, "pipeline": backfill.pipeline, **msgspec.to_builtins(converted)}
        await self._call("put_item", Item=write_item(row))

    async def converted(self, backfill: Backfill) -> dict[str, Converted]:
        """Read which data files are done, by name. Reads the whole table.

        Args:
            backfill: whose data files are asked for.

        Returns:
            The data files that are done, by their name in the export.
        """
        kind = f"X#{backfill.pipeline}#{backfill.epoch}#{backfill.name}#"
        found = [parse_item(row, Converted) async for row in self._scan(kind, backfill.pipeline)]
        return {each.name: each for each in found}

    # --- columns ------------------------------------------------------------------------------------------------

    async def written_columns(self, pipeline: str, table: str) -> tuple[str, ...]:
        """Read which columns of a table loads have ever written, consistently.

        Args:
            pipeline: its name.
            table: of the warehouse.
        """
        row = await self._get(f"C#{pipeline}#{table}")
        return parse_item(row, WrittenColumns).columns if row else ()

    async def put_written_columns(
        self, pipeline: str, table: str, columns: tuple[str, ...], known: tuple[str, ...]
    ) -> None:
        """Record which columns of a table loads have ever written, provided that the record is still `known`.

        Args:
            pipeline: its name.
            table: of the warehouse.
            columns: their names.
            known: the record as it was read before.
        """
        pk = f"C#{pipeline}#{table}"
        if known:
            await self._update(pk, {"columns": columns}, only_if={"columns": known})
        else:
            row = {"pk": pk, **msgspec.to_builtins(WrittenColumns(pipeline, table, columns))}
            await self._call("put_item", Item=write_item(row), **_if_absent())

    # --- ingest --------------------------------------------------------------------------------------------------

    async def put_ingest_error(self, failed: IngestError) -> None:
        """Write down what ingest failed with last.

        Args:
            failed: the pipeline, when, and the message without item content.
        """
        row = {"pk": f"I#{failed.pipeline}", **msgspec.to_builtins(failed)}
        await self._call("put_item", Item=write_item(row))

    async def ingest_error(self, pipeline: str) -> IngestError | None:
        """Read what ingest failed with last; None where it never did.

        Args:
            pipeline: its name.
        """
        row = await self._get(f"I#{pipeline}")
        return parse_item(row, IngestError) if row else None

    # --- head and batches ----------------------------------------------------------------------------------------

    async def head(self, pipeline: str) -> Head | None:
        """Read HEAD consistently; None where there is none.

        Args:
            pipeline: its name.
        """
        row = await self._get(f"P#{pipeline}")
        return parse_item(row, Head) if row else None

    async def create_head(self, pipeline: str, installation: str) -> Head:
        """Make HEAD where there is none; should it have been lost, with the batches that are still open.

        Args:
            pipeline: its name.
            installation: a name that no other installation has; batch ids depend on it.
        """
        surviving = [batch.batch_id async for batch in self._open_batches(pipeline)]
        head = Head(pipeline, generation=1, open=tuple(surviving), installation=installation)
        row = {"pk": f"P#{pipeline}", **msgspec.to_builtins(head)}
        await self._call("put_item", Item=write_item(row), **_if_absent())
        return head

    async def batch(self, batch_id: str) -> Batch:
        """Read a batch consistently.

        Args:
            batch_id: of the batch.
        """
        row = await self._get(f"B#{batch_id}")
        if row is None:
            raise LedgerError(f"batch {batch_id} is open but has no item; run `fastetl rebuild-ledger`")
        return parse_item(row, Batch)

    async def change_head(self, head: Head, **changes: Any) -> Head:
        """Change HEAD, provided that nobody has since it was read.

        Args:
            head: HEAD as it was read.
            changes: its new values, by name.

        Returns:
            HEAD with the changes and a higher generation.
        """
        changes["generation"] = head.generation + 1
        await self._update(f"P#{head.pipeline}", changes, only_if={"generation": head.generation})
        return msgspec.structs.replace(head, **changes)

    async def open_batches(self, head: Head, batches: Sequence[Batch], *, instead_of: Batch | None = None) -> Head:
        """Put batches into HEAD in one transaction, in the place of the one that they split, if any.

        A batch of the same files that was closed before is taken up again, and its attempts go on rising.

        Args:
            head: HEAD as it was read.
            batches: to put into it.
            instead_of: the batch that they are the parts of.

        Returns:
            HEAD with the batches and a higher generation.
        """
        kept = [batch_id for batch_id in head.open if instead_of is None or batch_id != instead_of.batch_id]
        opened = tuple(kept) + tuple(batch.batch_id for batch in batches)
        writes = [self._form(batch) for batch in batches]
        if instead_of is not None:
            writes.append(self._moved(instead_of, {"state": "SPLIT"}))
        return await self._swap(head, writes, open=opened, load_requested=False)

    async def advance(self, batch: Batch, **changes: Any) -> Batch:
        """Take one step of a batch, provided that nobody else has taken it.

        Args:
            batch: as it was read.
            changes: its new values, by name.

        Returns:
            The batch with the changes.
        """
        await self._call("update_item", **self._moved(batch, changes))
        return msgspec.structs.replace(batch, **changes)

    async def close_batch(self, head: Head, batch: Batch, state: BatchState, **changes: Any) -> Head:
        """Take a batch out of HEAD: the last step, after its files have been marked. `changes` are HEAD's.

        Args:
            head: HEAD as it was read.
            batch: as it was read.
            state: how it ended.
            changes: HEAD's new values, by name.

        Returns:
            HEAD without the batch.
        """
        changes |= {"open": tuple(batch_id for batch_id in head.open if batch_id != batch.batch_id)}
        if state == "LOADED" and head.paused_by == "fastetl":
            changes |= {"paused": "", "paused_by": ""}
        return await self._swap(head, [self._moved(batch, {"state": state})], **changes)

    # --- DynamoDB ------------------------------------------------------------------------------------------------

    async def _swap(self, head: Head, writes: list[dict[str, Any]], **changes: Any) -> Head:
        changes["generation"] = head.generation + 1
        swap = self._writing(f"P#{head.pipeline}", changes, only_if={"generation": head.generation})
        # HEAD last: what it names is there, even where writes show one by one, as moto's do.
        updates = [{"Update": {"TableName": self.table, **write}} for write in [*writes, swap]]
        await self._call("transact_write_items", TransactItems=updates)
        return msgspec.structs.replace(head, **changes)

    def _form(self, batch: Batch) -> dict[str, Any]:
        changes = msgspec.structs.asdict(batch)
        counters = {name: changes.pop(name) for name in ("attempt", "resolves")}
        write = self._writing(f"B#{batch.batch_id}", changes, unless_there=counters)
        states = {f":open{n}": state for n, state in enumerate(sorted(OPEN_STATES))}
        write["ConditionExpression"] = f"attribute_not_exists(pk) OR NOT #state IN ({', '.join(states)})"
        write["ExpressionAttributeValues"] |= write_item(states)
        return write

    def _moved(self, batch: Batch, changes: Mapping[str, Any]) -> dict[str, Any]:
        was = {"state": batch.state, "attempt": batch.attempt, "resolves": batch.resolves}
        return self._writing(f"B#{batch.batch_id}", changes, only_if=was)

    def _writing(
        self,
        pk: str,
        changes: Mapping[str, Any],
        *,
        unless_there: Mapping[str, Any] | None = None,
        remove: tuple[str, ...] = (),
        only_if: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        kept, was = unless_there or {}, only_if or {}
        sets = [f"#{name} = :{name}" for name in changes]
        sets += [f"#{name} = if_not_exists(#{name}, :{name})" for name in kept]
        update = "SET " + ", ".join(sets) + (" REMOVE " + ", ".join(f"#{name}" for name in remove) if remove else "")
        values = {f":{name}": value for name, value in {**changes, **kept}.items()}
        values |= {f":was_{name}": value for name, value in was.items()}
        write: dict[str, Any] = {
            "Key": write_item({"pk": pk}),
            "UpdateExpression": update,
            "ExpressionAttributeNames": {f"#{name}": name for name in (*changes, *kept, *remove, *was)},
            "ExpressionAttributeValues": write_item(values),
        }
        if was:
            write["ConditionExpression"] = " AND ".join(f"#{name} = :was_{name}" for name in was)
        return write

    async def _update(self, pk: str, changes: Mapping[str, Any], **how: Any) -> None:
        await self._call("update_item", **self._writing(pk, changes, **how))

    async def _get(self, pk: str) -> Mapping[str, Any] | None:
        answer = await self._call("get_item", Key=write_item({"pk": pk}), ConsistentRead=True)
        row: Mapping[str, Any] | None = answer.get("Item")
        return row

    async def _file(self, file_id: str) -> FileItem:
        row = await self._get(f"F#{file_id}")
        if row is None:
            raise LedgerError(f"file {file_id} was there and is not; the invocation is to be repeated")
        return parse_item(row, FileItem)

    async def pending_page(self, q: str, start: Mapping[str, Any] | None) -> tuple[list[PendingFile], Any]:
        """Read one page of one of the index's keys.

        Args:
            q: the index's key: a pipeline's name and one of its buckets.
            start: where the page begins, as an earlier call gave it; None for the first.

        Returns:
            The files, and where the next page begins; None where there is none.
        """
        page = {"ExclusiveStartKey": start} if start else {}
        answer = await self._call(
            "query",
            IndexName=INDEX,
            KeyConditionExpression="q = :q",
            ExpressionAttributeValues={":q": write_value(q)},
            Limit=_PAGE,
            **page,
        )
        files = []
        for row in answer["Items"]:
            created, file_id = row["qk"]["S"].split("#")
            files.append(PendingFile(file_id, int(created), int(row["bytes"]["N"]), row["layout_id"]["S"]))
        return files, answer.get("LastEvaluatedKey")

    async def _open_batches(self, pipeline: str) -> AsyncIterator[Batch]:
        async for row in self._scan("B#", pipeline):
            batch = parse_item(row, Batch)
            if batch.state in OPEN_STATES:
                yield batch

    async def _scan(self, kind: str, pipeline: str) -> AsyncIterator[Mapping[str, Any]]:
        page: dict[str, Any] = {}
        while True:
            answer = await self._call(
                "scan",
                ConsistentRead=True,
                FilterExpression="begins_with(pk, :kind) AND pipeline = :pipeline",
                ExpressionAttributeValues={":kind": write_value(kind), ":pipeline": write_value(pipeline)},
                **page,
            )
            for row in answer["Items"]:
                yield row
            if "LastEvaluatedKey" not in answer:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def _call(self, operation: str, **arguments: Any) -> Any:
        if operation not in _WITHOUT_TABLE:
            arguments["TableName"] = self.table
        return await make_call(
            lambda: getattr(self._client, operation)(**arguments),
            lambda refusal: _explain(operation, refusal),
            attempts=1,
        )


class _ConditionFailedError(StaleStepError):
    """A condition was not met; `item` is what stands in the way, where DynamoDB gave it."""

    def __init__(self, operation: str, item: Mapping[str, Any] | None) -> None:
        self.item = item
        super().__init__(f"{operation}: someone else was faster")


def _explain(operation: str, refusal: Refusal) -> LedgerError:
    reasons = {reason.get("Code") for reason in refusal.response.get("CancellationReasons", [])}
    if refusal.code == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in reasons:
        return _ConditionFailedError(operation, refusal.response.get("Item"))
    if refusal.code == "TransactionConflictException" or "TransactionConflict" in reasons:
        return StaleStepError(f"{operation}: someone else is changing the same item")
    return LedgerError(f"{operation}: {refusal}")


def _if_absent() -> dict[str, str]:
    return {"ConditionExpression": "attribute_not_exists(pk)"}


def _index_keys(item: FileItem) -> dict[str, str]:
    bucket = int(item.file_id[:8], 16) % INDEX_BUCKETS
    return {"q": f"{item.pipeline}#{bucket}", "qk": f"{item.created:013d}#{item.file_id}"}


class _Pages:
    """One of the index's keys, read file by file, page by page."""

    def __init__(self, ledger: Ledger, q: str) -> None:
        self._ledger = ledger
        self._q = q
        self._files: list[PendingFile] = []
        self._start: Any = None
        self._ended = False

    async def next(self) -> PendingFile | None:
        while not self._files and not self._ended:
            page, self._start = await self._ledger.pending_page(self._q, self._start)
            self._files, self._ended = page[::-1], self._start is None
        return self._files.pop() if self._files else None
