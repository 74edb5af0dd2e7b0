"""Rows of a table's items as ingest would write them, staged on S3 for one comparison or repair."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Self

import msgspec
import orjson
import polars as pl

from fastetl.aws import gather
from fastetl.decode import Decoder, parse_key
from fastetl.ingest import encode_frames, refine
from fastetl.sql import BUCKETS
from fastetl.versions import EXPORT_LABEL, EpochStart

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.aws import Deployment, Item
    from fastetl.ingest import Enricher

CHUNK_ITEMS = 2_000
OBJECT_BYTES = 64 * 1024 * 1024
"""Of CSV, compressed, in one staged object at most."""


class RowMaker:
    """Makes rows of items, by the way that changes take."""

    def __init__(self, deployment: Deployment, enricher: Enricher) -> None:
        """Describe whose rows are made.

        Args:
            deployment: of the pipeline.
            enricher: runs the pipeline's enrichments.
        """
        self._pipeline = deployment.pipeline
        self._decoder = Decoder(msgspec.structs.replace(deployment.pipeline, source="stream"))
        self._enricher = enricher
        self._run = deployment.new_name()

    def make_rows(
        self, arn: str, found: Iterable[tuple[Item, Item | None]], epochs: tuple[EpochStart, ...] = (), read_at: int = 0
    ) -> tuple[pl.DataFrame, int]:
        """Make rows of items.

        Args:
            arn: of the table.
            found: of each item its key, perhaps with more, and the item; None where the table does not have it.
            epochs: that the rows are stamped with.
            read_at: when they were read, in Unix seconds.

        Returns:
            Rows as files hold them, and how many items do not fit into any.
        """
        event = orjson.dumps({"Records": [self._record(arn, keyed, item, read_at) for keyed, item in found]})
        changes = self._decoder.decode(event, epochs)
        refined = refine(
            changes, self._enricher, self._pipeline.layout, lambda at: self._decoder.write_records(event, at)
        ).changes
        return refined.frame, len(refined.rejects)

    def _record(self, arn: str, keyed: Item, item: Item | None, read_at: int) -> dict[str, Any]:
        """Make the record that an export of the table would become."""
        keys = {name: keyed[name] for name in self._pipeline.keys}
        name = hashlib.blake2b(orjson.dumps([self._run, keys]), digest_size=16).hexdigest()
        image = {"NewImage": item} if item is not None else {}
        body = {"Keys": keys, **image, "SequenceNumber": "0", "ApproximateCreationDateTime": read_at}
        op = "INSERT" if item is not None else "REMOVE"
        return {"eventID": name, "eventName": op, "dynamodb": body, "eventSourceARN": f"{arn}/verify/{EXPORT_LABEL}"}


class StagedRows:
    """What is on S3 for one comparison or repair; when it ends, in whatever way, nothing is.

    ```
    async with StagedRows(maker, deployment, folder) as staged:
        await staged.put_items(arn, items, below=BUCKETS)
        url = await staged.write_manifest()
    ```
    """

    def __init__(self, maker: RowMaker, deployment: Deployment, folder: str) -> None:
        """Describe where rows are staged.

        Args:
            maker: of the rows.
            deployment: of the pipeline.
            folder: on S3, of this comparison alone.
        """
        self._maker = maker
        self._pipeline = deployment.pipeline
        self._bucket = deployment.bucket
        self._bucket_name = deployment.config.bucket
        self._folder = folder
        self._sizes: dict[str, int] = {}
        self.rows = 0
        """Of items that the table has."""
        self.gone = 0
        """Of items that it does not have."""
        self.unfit = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await gather(self._bucket.delete, [*self._sizes, *([self._manifest_key] if self._sizes else [])])

    async def put_items(self, arn: str, items: Sequence[Item], *, below: int) -> None:
        """Stage items that were read, as far as they are in the sample.

        Args:
            arn: of the table.
            items: whole.
            below: keys in buckets below this number are in the sample.
        """
        for first in range(0, len(items), CHUNK_ITEMS):
            pairs = [(item, item) for item in items[first : first + CHUNK_ITEMS]]
            frame, unfit = self._maker.make_rows(arn, pairs)
            # What a filter leaves out is no row of the table.
            frame = frame.filter(pl.col("_deleted").ne_missing("true"))
            if below < BUCKETS:
                frame = frame.filter(_is_below(frame["_key"], below))
            await self._put(frame, unfit)

    async def put_found(
        self, arn: str, found: dict[str, Item | None], *, read_at: int, epoch: EpochStart | None = None
    ) -> None:
        """Stage what became of some keys.

        Args:
            arn: of the table.
            found: the item of each key, as `_key` has it; None where the table does not have it.
            read_at: when they were read, in Unix seconds.
            epoch: that the rows are stamped with.
        """
        pairs = [(parse_key(key, self._pipeline.keys), item) for key, item in found.items()]
        for first in range(0, len(pairs), CHUNK_ITEMS):
            chunk = pairs[first : first + CHUNK_ITEMS]
            await self._put(*self._maker.make_rows(arn, chunk, (epoch,) if epoch else (), read_at))

    async def write_manifest(self) -> str:
        """Write the list of what is staged, and give its address for COPY; empty where nothing is."""
        if not self._sizes:
            return ""
        entries = [
            {"url": f"s3://{self._bucket_name}/{key}", "mandatory": True, "meta": {"content_length": size}}
            for key, size in self._sizes.items()
        ]
        await self._bucket.replace(self._manifest_key, orjson.dumps({"entries": entries}))
        return f"s3://{self._bucket_name}/{self._manifest_key}"

    @property
    def _manifest_key(self) -> str:
        return f"{self._folder}.manifest"

    async def _put(self, frame: pl.DataFrame, unfit: int) -> None:
        self.unfit += unfit
        if frame.is_empty():
            return
        key = f"{self._folder}/{len(self._sizes):06d}"
        body = b"".join(encode_frames([frame], self._pipeline.layout, OBJECT_BYTES))
        # Before it is there: so it is deleted even if nobody learns that it was written.
        self._sizes[key] = len(body)
        await self._bucket.replace(key, body)
        gone = int((frame["_deleted"] == "true").sum())
        children = list(self._pipeline.layout.children)
        elements = int(frame["_target"].is_in(children).sum()) if children else 0
        self.rows += frame.height - gone - elements
        self.gone += gone


def _is_below(keys: Iterable[str], below: int) -> list[bool]:
    return [int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()[:4], 16) < below for key in keys]
