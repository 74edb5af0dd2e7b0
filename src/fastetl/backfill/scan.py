"""Make an export of a table by reading it, segment by segment, for tables without point-in-time recovery.

What is written has the layout of DynamoDB's exports, so that everything after it is the same. A segment is one data
file; one that is there already is not read again.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import msgspec
import orjson
from isal import isal_zlib

from fastetl.aws import gather
from fastetl.backfill.export_format import DataFile, Export, write_files, write_summary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastetl.aws import Bucket, SourceTable

SEGMENT_BYTES = 64 * 1024 * 1024
"""How much of the table one segment reads, roughly. Its lines are compressed as they come, and held until the end."""

MAX_SEGMENTS = 100_000
"""DynamoDB allows a million (API reference, Scan, `TotalSegments`)."""

_GZIP = 31
"""A gzip container (zlib manual, `deflateInit2`)."""


class Began(msgspec.Struct, frozen=True):
    """How the reading began; a process that goes on with it keeps to that."""

    exported_at: int
    segments: int


class Throttle:
    """Limits the read units a second, over all segments together."""

    def __init__(
        self, units_per_second: float, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """Describe a limit of the rate at which read units are used.

        Args:
            units_per_second: the limit; 0 for none.
            clock: gives Unix seconds.
            sleep: waits for a number of seconds.
        """
        self._rate = units_per_second
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()

    async def used(self, units: float) -> None:
        """Wait as long as the limit asks for after some read units were used.

        Args:
            units: that were just used.
        """
        if self._rate:
            self._free_at = max(self._free_at, self._clock()) + units / self._rate
            await self._sleep(max(0.0, self._free_at - self._clock()))


async def scan_table(
    source: SourceTable,
    bucket: Bucket,
    folder: str,
    throttle: Throttle,
    *,
    exported_at: int,
    at_once: int = 8,
    on_segment: Callable[[int, int], None] = lambda _done, _of: None,
) -> None:
    """Read a table into an export.

    Args:
        source: the table.
        bucket: where the export goes.
        folder: its key, without a closing `/`; the last part names the export.
        throttle: how fast.
        exported_at: Unix seconds, now.
        at_once: segments.
        on_segment: is told how many segments are there, of how many.

    Raises:
        SourceError, StorageError: it is not whole; calling again goes on.
    """
    table = await source.describe()
    segments = max(1, min(MAX_SEGMENTS, table.bytes // SEGMENT_BYTES))
    await bucket.put(f"{folder}/_started", iter([msgspec.json.encode(Began(exported_at, segments))]), {})
    began = msgspec.json.decode(await bucket.get(f"{folder}/_started"), type=Began)
    done = 0

    async def read(segment: int) -> DataFile:
        nonlocal done
        key = f"{folder}/data/{segment:06d}.json.gz"
        file = await _read_segment(source, bucket, key, segment, began.segments, throttle)
        done += 1
        on_segment(done, began.segments)
        return file

    listed = await gather(read, range(began.segments), at_once=at_once)
    files_key = f"{folder}/manifest-files.json"
    await bucket.replace(files_key, write_files(listed))
    items = sum(file.items for file in listed)
    export = Export(folder.rpartition("/")[2], table.arn, "full", began.exported_at, items, files_key)
    await bucket.replace(f"{folder}/manifest-summary.json", write_summary(export))


async def _read_segment(
    source: SourceTable, bucket: Bucket, key: str, segment: int, segments: int, throttle: Throttle
) -> DataFile:
    if there := await bucket.head(key):
        return DataFile(key, int(there.metadata["items"]), there.metadata["md5"])
    body, items = bytearray(), 0
    gzip = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP)
    async for page, units in source.scan(segment, segments):
        body += gzip.compress(b"".join(b'{"Item":%s}\n' % orjson.dumps(item) for item in page))
        items += len(page)
        await throttle.used(units)
    body += gzip.flush()
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    await bucket.put(key, iter([bytes(body)]), {"items": str(items), "md5": md5})
    return DataFile(key, items, md5)
