"""Compare objects, ledger and warehouse.

Received records, counted before any is converted, are rows in files plus rejects. A file is an object whose metadata
says what it holds, a FILE item, and, once loaded, a row in `load_files` with the number of rows that COPY counted.
"""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec

from fastetl.aws import gather
from fastetl.ingest import build_file
from fastetl.keys import data_prefix, parse_data_key
from fastetl.operate.recent_files import list_since
from fastetl.sql import ASKED_AT_ONCE, find_since, loaded_files_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from fastetl.aws import Deployment, StoredObject
    from fastetl.model import Batch, FileItem

Thing = TypeVar("Thing")


class Difference(msgspec.Struct, frozen=True):
    """Something that is not as it should be."""

    file_id: str
    what: str
    remedy: str


class Reconciliation(msgspec.Struct, frozen=True):
    """What was found for the changes of a span of hours."""

    pipeline: str
    records: int
    rows: int
    rejects: int
    files: int
    loaded: int
    pending: int
    quarantined: int
    dropped: int
    differences: tuple[Difference, ...]


class Loaded(msgspec.Struct, frozen=True):
    """What the warehouse knows of a file."""

    batch_id: str
    rows: int


class Reconciler:
    """Compares one pipeline. Hours are text as in S3 keys, `2026/01/31/23`, in UTC."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe the pipeline to compare.

        Args:
            deployment: of the pipeline.
        """
        self._deployment = deployment
        self._config = deployment.config
        self._pipeline = deployment.pipeline
        self._bucket = deployment.bucket
        self._ledger = deployment.ledger
        self._warehouse = deployment.warehouse
        self._clock = deployment.clock
        self._new_name = deployment.new_name

    async def reconcile(self, since: str = "", until: str = "~") -> Reconciliation:
        """Compare the files whose first change is in a span of hours.

        Args:
            since: the first hour, `2026/01/31/23`.
            until: the hour after the last.

        Returns:
            The sums, and everything that differs.
        """
        counts: Counter[str] = Counter()
        differences: list[Difference] = []
        seen: set[bytes] = set()
        # What moves while this looks is only seen moving on: objects before items before rows of the warehouse.
        async for keys in take(self.keys(since, until), ASKED_AT_ONCE):
            objects = await self._heads(keys)
            seen.update(map(bytes.fromhex, objects))
            differences += await self._compare(objects, await self._ledger.files.read(list(objects)), counts)
        async for file_ids in take(self._list_without_object(since, until, seen), ASKED_AT_ONCE):
            found = await self._ledger.files.read(file_ids)
            items = {item.file_id: item for item in found.values() if since <= _hour(item.changed_min) < until}
            differences += await self._compare({}, items, counts)
        return Reconciliation(
            pipeline=self._pipeline.name,
            records=counts["records"],
            rows=counts["rows"],
            rejects=counts["rejects"],
            files=counts["files"],
            loaded=counts["loaded"],
            pending=counts["PENDING"],
            quarantined=counts["QUARANTINED"],
            dropped=counts["DROPPED"],
            differences=tuple(differences),
        )

    async def _compare(
        self, objects: Mapping[str, StoredObject], items: Mapping[str, FileItem], counts: Counter[str]
    ) -> list[Difference]:
        """Compare some files, and count them."""
        first_changes = {file_id: stored.metadata["changed-min"] for file_id, stored in objects.items()}
        first_changes |= {file.file_id: file.changed_min for file in items.values() if file.key}
        loaded = await self.loaded(first_changes)
        # What is in no ledger is counted as its object says.
        files = [build_file(stored, 0) for file_id, stored in objects.items() if file_id not in items]
        files += items.values()
        counts.update(item.state for item in items.values())
        counts["records"] += sum(_count_records(file) for file in files)
        counts["rows"] += sum(int(stored.metadata["rows"]) for stored in objects.values())
        counts["rejects"] += sum(file.rejects for file in files)
        counts["files"] += len(objects)
        counts["loaded"] += len(objects.keys() & loaded.keys())
        differences = [
            difference
            for file_id in sorted({*objects, *items})
            for difference in _compare(file_id, objects.get(file_id), items.get(file_id), loaded.get(file_id))
        ]
        return differences + await self._check_rejects(objects, items)

    async def _list_without_object(self, since: str, until: str, seen: set[bytes]) -> AsyncIterator[str]:
        """Yield the ids of files of the ledger that may be of some hours and whose objects were not found.

        Args:
            since: the first hour.
            until: the hour after the last.
            seen: ids of the files whose objects were found; the others are added.
        """
        name, registered = self._pipeline.name, _parse_hour(since) if since else 0

        def is_within(batch: Batch) -> bool:
            return since <= _hour(batch.changed_max) and _hour(batch.changed_min) < until

        async for file_id in list_since(self._ledger, name, registered, is_within):
            if (short := bytes.fromhex(file_id)) not in seen:
                seen.add(short)
                yield file_id

    async def loaded(self, first_changes: Mapping[str, str]) -> dict[str, Loaded]:
        """Ask the warehouse which of some files it has, a part of them at a time.

        Args:
            first_changes: by file id, when the first change in it happened: ISO 8601, UTC.

        Returns:
            By file id, those that are loaded.
        """
        in_order = sorted(first_changes, key=lambda file_id: first_changes[file_id])
        found: dict[str, Loaded] = {}
        for start in range(0, len(in_order), ASKED_AT_ONCE):
            asked = in_order[start : start + ASKED_AT_ONCE]
            sql = loaded_files_sql(
                self._pipeline, asked, find_since(first_changes[asked[0]], int(self._clock() * 1000))
            )
            token = ("reconcile", self._new_name())
            statement_id = await self._warehouse.run(sql, name="fastetl/reconcile", token=token)
            rows = await self._warehouse.rows(statement_id, 0)
            found |= {file_id: Loaded(batch_id, int(count)) for file_id, batch_id, count in rows}
        return found

    async def objects(self, since: str, until: str) -> dict[str, StoredObject]:
        """Find the files of some hours on S3, by their ids.

        Args:
            since: the first hour, `2026/01/31/23`.
            until: the hour after the last.

        Returns:
            The objects with their metadata, by `file_id`.
        """
        return await self._heads([key async for key in self.keys(since, until)])

    async def _heads(self, keys: Sequence[str]) -> dict[str, StoredObject]:
        found = await gather(self._bucket.head, keys)
        return {parse_data_key(stored.key)[1]: stored for stored in found if stored}

    async def keys(self, since: str, until: str) -> AsyncIterator[str]:
        """Yield the keys of the files of some hours, stream by stream; no key of other hours but one is listed.

        Args:
            since: the first hour, `2026/01/31/23`.
            until: the hour after the last.
        """
        async for folder in self._bucket.list_folders(data_prefix(self._config.prefix, self._pipeline.name)):
            async for key in self._bucket.list_keys(folder, after=folder + since):
                hour, _ = parse_data_key(key)
                if hour >= until:
                    break
                if hour >= since:
                    yield key

    async def _check_rejects(
        self, objects: Mapping[str, StoredObject], items: Mapping[str, FileItem]
    ) -> list[Difference]:
        expected = {
            file_id: (item.rejects_key, 0 if item.rejects_ended else item.rejects) for file_id, item in items.items()
        }
        for file_id in objects.keys() - items.keys():
            described = objects[file_id].metadata
            expected[file_id] = (described.get("rejects-key", ""), int(described["rejects"]))
        differences = []
        for file_id, (key, count) in sorted(expected.items()):
            if count and (there := await self._count_lines(key)) != count:
                what = f"{there} of {count} rejects are in {key}"
                differences.append(Difference(file_id, what, "The bucket's lifecycle may have removed it"))
        return differences

    async def _count_lines(self, key: str) -> int:
        if await self._bucket.head(key) is None:
            return 0
        return len(gzip.decompress(await self._bucket.get(key)).splitlines())


def _count_records(file: FileItem) -> int:
    """Give how many records a file was made of."""
    return file.received if file.received >= 0 else file.rows - file.elements + file.rejects


def _compare(
    file_id: str, stored: StoredObject | None, item: FileItem | None, loaded: Loaded | None
) -> list[Difference]:
    rebuild, missing = "Run `fastetl rebuild-ledger`", "Restore the object, or drop the file"
    found = []
    # The ledger forgets a loaded file after a time; the warehouse does not.
    if stored and item is None and loaded is None:
        found.append(("its object is in no ledger", rebuild))
    if item and item.key and stored is None and item.state != "LOADED":
        found.append((f"its object {item.key} is gone", missing))
    # An attempt before a deploy may have left the same file under another name.
    if stored and item and item.key == stored.key and _differ(stored, item):
        found.append(("object and ledger differ in size or checksum", missing))
    if item and item.received >= 0 and item.received != item.rows - item.elements + item.rejects:
        rows = item.rows - item.elements
        counts = f"{item.received} records were received, and {rows} rows and {item.rejects} rejects written"
        found.append((counts, "Keep its object, and report it"))
    if item and item.state == "LOADED" and loaded is None:
        found.append(("the ledger says it is loaded, the warehouse does not", rebuild))
    if item and loaded and item.state != "LOADED":
        found.append((f"it is loaded, and {item.state} in the ledger", rebuild))
    if stored and loaded and loaded.rows != int(stored.metadata["rows"]):
        found.append(
            (f"{stored.metadata['rows']} rows were written and {loaded.rows} loaded", "Keep both, and report it")
        )
    return [Difference(file_id, what, remedy) for what, remedy in found]


def _differ(stored: StoredObject, item: FileItem) -> bool:
    # S3 tells the checksum of what was written with one.
    return item.bytes != stored.bytes or bool(stored.checksum and stored.checksum != item.checksum)


async def take(things: AsyncIterator[Thing], at_once: int) -> AsyncIterator[list[Thing]]:
    """Yield things in lists of at most `at_once`.

    Args:
        things: to be put into lists, in their order.
        at_once: how many a list has at most.
    """
    taken: list[Thing] = []
    async for thing in things:
        taken.append(thing)
        if len(taken) == at_once:
            yield taken
            taken = []
    if taken:
        yield taken


def _hour(changed: str) -> str:
    return f"{changed[:4]}/{changed[5:7]}/{changed[8:10]}/{changed[11:13]}"


def _parse_hour(hour: str) -> int:
    """Give the Unix milliseconds at which an hour begins, `2026/01/31/23`."""
    return int(datetime.strptime(hour, "%Y/%m/%d/%H").replace(tzinfo=UTC).timestamp() * 1000)
