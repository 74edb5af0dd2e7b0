"""The sparse index `pending`: a hint of which files wait. Only a consistent read of the FILE item decides."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

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


def index_keys(item: FileItem) -> dict[str, str]:
    """Give the attributes that put a FILE item into the index.

    Args:
        item: the file that waits.

    Returns:
        The index's two keys, by attribute.
    """
    bucket = int(item.file_id[:8], 16) % INDEX_BUCKETS
    return {"q": f"{item.pipeline}#{bucket}", "qk": f"{item.created:013d}#{item.file_id}"}


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

    async def page(self, q: str, start: Mapping[str, Any] | None) -> tuple[list[PendingFile], Any]:
        """Read one page of one of the index's keys.

        Args:
            q: the index's key: a pipeline's name and one of its buckets.
            start: where the page begins, as an earlier call gave it; None for the first.

        Returns:
            The files, and where the next page begins; None where there is none.
        """
        page = {"ExclusiveStartKey": start} if start else {}
        answer = await self._table.call(
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
