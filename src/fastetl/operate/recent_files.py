"""Find the files that ingest wrote last, without reading all that there are.

The ledger's index has the files that are not loaded, and the batches by their ends; a batch knows its files. So what is
read grows with what is asked for, and not with the age of the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastetl.load import list_members

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastetl.aws import Ledger
    from fastetl.model import Batch, FileItem

LATEST_BATCHES = 10
"""Whose files are looked at. Batches of halves, and of files that were tried alone, end beside the others."""

READ_AT_ONCE = 1000

CLOCK_SLACK_MS = 600_000


async def read_latest_files(ledger: Ledger, pipeline: str, most: int = 100) -> list[FileItem]:
    """Read files that were registered last, the latest first.

    Args:
        ledger: of the stack.
        pipeline: its name.
        most: how many.

    Returns:
        Their items. Where most of the latest are loaded, they are some of the batches that ended last, the latest file
        of each among them.
    """
    ids = dict.fromkeys(await ledger.files.latest(pipeline, most))
    # In this order: a file that is loaded meanwhile goes from the index into an open batch, which then ends.
    batches = await _read_open(ledger, pipeline)
    batches += [batch async for batch in ledger.batches.closed(pipeline, latest=LATEST_BATCHES)]
    ids |= dict.fromkeys(batch.latest_file for batch in batches if batch.latest_file)
    for batch in batches:
        ids |= dict.fromkeys(list_members(batch)[: max(0, most - len(ids))])
    found = await ledger.files.read(list(ids))
    return sorted(found.values(), key=lambda file: -file.created)[:most]


async def read_files_since(ledger: Ledger, pipeline: str, since: int) -> AsyncIterator[FileItem]:
    """Read the files that were registered since a moment, a part of them at a time.

    Args:
        ledger: of the stack.
        pipeline: its name.
        since: Unix milliseconds.

    Yields:
        Their items, each once.
    """
    seen: set[str] = set()
    asked: list[str] = []

    async def read() -> list[FileItem]:
        found = await ledger.files.read(asked)
        asked.clear()
        return [file for file in found.values() if file.created >= since]

    async for file_id in list_since(ledger, pipeline, since):
        if file_id not in seen:
            seen.add(file_id)
            asked.append(file_id)
        if len(asked) == READ_AT_ONCE:
            for file in await read():
                yield file
    for file in await read():
        yield file


async def list_since(
    ledger: Ledger, pipeline: str, since: int, is_wanted: Callable[[Batch], bool] = lambda _: True
) -> AsyncIterator[str]:
    """List files of the ledger, among them all that were registered since a moment.

    Args:
        ledger: of the stack.
        pipeline: its name.
        since: Unix milliseconds.
        is_wanted: whether the files of a batch are listed.

    Yields:
        Ids, some of them more than once; of files that wait or are in a batch also of those that are older.
    """
    # In this order: a file that is loaded meanwhile goes from the index into an open batch, which then ends.
    async for pending in ledger.files.pending(pipeline):
        if pending.created >= since:
            yield pending.file_id
    async for file_id in ledger.files.quarantined(pipeline, since):
        yield file_id
    async for file_id in ledger.files.rejected(pipeline, since):
        yield file_id
    for batch in filter(is_wanted, await _read_open(ledger, pipeline)):
        for file_id in list_members(batch):
            yield file_id
    # A file is loaded after it was registered, by clocks that may differ.
    async for batch in ledger.batches.closed(pipeline, since=max(0, since - CLOCK_SLACK_MS)):
        for file_id in list_members(batch) if is_wanted(batch) else ():
            yield file_id


async def _read_open(ledger: Ledger, pipeline: str) -> list[Batch]:
    head = await ledger.batches.head(pipeline)
    return [await ledger.batches.read(batch_id) for batch_id in (head.open if head else ())]
