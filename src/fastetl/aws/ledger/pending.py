"""The sparse index `pending`: a hint of which files wait. Only a consistent read of the FILE item decides.

Beside the files that wait it lists, under keys of their own, what is found by no other key: an entry each for files in
quarantine, batches that have ended, backfills and possible gaps. What is loaded is not in it, so that no question reads
every file.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Literal

from fastetl.aws.calls import gather
from fastetl.aws.ledger.items import write_value
from fastetl.aws.ledger.table import INDEX
from fastetl.model import FileItem, PendingFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from fastetl.aws.ledger.table import LedgerTable

INDEX_BUCKETS = 16
"""Keys of the index per pipeline. One key takes about 1,000 writes a second, so the files are spread over several."""

_PAGE = 1000

Kind = Literal["quarantined", "rejected", "closed", "backfills", "gaps"]
"""Of an entry: a file in quarantine, a file of which every record was rejected, a batch that has ended, a backfill, and
a file that began where the stream was about to forget."""


def index_keys(item: FileItem) -> dict[str, str]:
    """Give the attributes that put a FILE item into the index.

    Args:
        item: the file that waits.

    Returns:
        The index's two keys, by attribute.
    """
    bucket = int(item.file_id[:8], 16) % INDEX_BUCKETS
    return {"q": f"{item.pipeline}#{bucket}", "qk": f"{item.created:013d}#{item.file_id}"}


def entry_keys(pipeline: str, kind: Kind, at: int, name: str) -> dict[str, str]:
    """Give the attributes that put an item into the index as an entry.

    Args:
        pipeline: its name.
        kind: of the entry.
        at: Unix milliseconds, by which the entries of a kind are sorted; 0 where their order tells nothing.
        name: of what is listed.

    Returns:
        The index's two keys, by attribute.
    """
    return {"q": f"{pipeline}#{kind}", "qk": f"{at:013d}#{name}"}


class PendingIndex:
    """The index of the files that wait."""

    def __init__(self, table: LedgerTable) -> None:
        """Describe the index.

        Args:
            table: the ledger's.
        """
        self._table = table

    async def files(self, pipeline: str) -> AsyncIterator[PendingFile]:
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

    async def latest_files(self, pipeline: str, most: int) -> list[PendingFile]:
        """Give the files that the index shows as waiting and that were registered last, the latest first.

        Args:
            pipeline: its name.
            most: how many.
        """
        pages = await gather(lambda n: self.page(f"{pipeline}#{n}", None, latest=most), range(INDEX_BUCKETS))
        return sorted((file for page, _ in pages for file in page), key=lambda file: -file.created)[:most]

    async def entries(self, pipeline: str, kind: Kind, *, since: int = 0, latest: int = 0) -> AsyncIterator[str]:
        """Yield the names of entries in their order, page by page as far as the caller goes on.

        Args:
            pipeline: its name.
            kind: of the entries.
            since: Unix milliseconds: no entry of an earlier moment.
            latest: only this many, the latest first; 0: all, the earliest first.
        """
        page: dict[str, Any] = {"ScanIndexForward": False} if latest else {}
        while True:
            answer = await self._table.call(
                "query",
                IndexName=INDEX,
                KeyConditionExpression="q = :q AND qk >= :since",
                ExpressionAttributeValues={
                    ":q": write_value(f"{pipeline}#{kind}"),
                    ":since": write_value(f"{since:013d}"),
                },
                Limit=latest or _PAGE,
                **page,
            )
            for row in answer["Items"]:
                yield row["qk"]["S"].partition("#")[2]
            if latest or "LastEvaluatedKey" not in answer:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def page(self, q: str, start: Mapping[str, Any] | None, *, latest: int = 0) -> tuple[list[PendingFile], Any]:
        """Read one page of one of the index's keys.

        Args:
            q: the index's key: a pipeline's name and one of its buckets.
            start: where the page begins, as an earlier call gave it; None for the first.
            latest: only this many files, the latest first; 0: the earliest first.

        Returns:
            The files, and where the next page begins; None where there is none.
        """
        page: dict[str, Any] = {"ExclusiveStartKey": start} if start else {}
        if latest:
            page["ScanIndexForward"] = False
        answer = await self._table.call(
            "query",
            IndexName=INDEX,
            KeyConditionExpression="q = :q",
            ExpressionAttributeValues={":q": write_value(q)},
            Limit=latest or _PAGE,
            **page,
        )
        files = []
        for row in answer["Items"]:
            created, file_id = row["qk"]["S"].split("#")
            files.append(PendingFile(file_id, int(created), int(row["bytes"]["N"]), row["layout_id"]["S"]))
        return files, answer.get("LastEvaluatedKey")


class _Pages:
    """One of the index's keys, read file by file, page by page."""

    def __init__(self, index: PendingIndex, q: str) -> None:
        self._index = index
        self._q = q
        self._files: list[PendingFile] = []
        self._start: Any = None
        self._ended = False

    async def next(self) -> PendingFile | None:
        while not self._files and not self._ended:
            page, self._start = await self._index.page(self._q, self._start)
            self._files, self._ended = page[::-1], self._start is None
        return self._files.pop() if self._files else None
