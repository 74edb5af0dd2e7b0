"""Convert one data file of an export into files like those of the stream, of bounded size and in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import tempfile
from collections import Counter
from typing import IO, TYPE_CHECKING, cast

import msgspec
import polars as pl
from isal import igzip
from isal.isal_zlib import error as IsalError  # noqa: N812 - it is a class

from fastetl.backfill.export_format import BEGIN_ANOTHER, ExportReader
from fastetl.decode import Decoder, count_drift
from fastetl.errors import ExportError
from fastetl.ingest import Contents, encode_frames, refine
from fastetl.model import Converted, Reject
from fastetl.versions import EXPORT_LABEL, EpochStart, build_version, list_carried

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fastetl.backfill.export_format import DataFile, Export
    from fastetl.config import Pipeline
    from fastetl.decode import Changes
    from fastetl.ingest import Enricher, FileStore, Refined

CHUNK_BYTES = 4 * 1024 * 1024
"""How much DynamoDB JSON is decoded at once: as much as an invocation of ingest has."""

READ_BYTES = 256 * 1024


class Converter:
    """Converts one pipeline's exports."""

    def __init__(self, pipeline: Pipeline, files: FileStore, enricher: Enricher) -> None:
        """Describe a converter of data files.

        Args:
            pipeline: whose table was exported.
            files: writes the files.
            enricher: runs the pipeline's enrichments.
        """
        self._pipeline = pipeline
        # An export's lines are those of a stream, whatever the pipeline reads.
        self._decoder = Decoder(msgspec.structs.replace(pipeline, source="stream"))
        self._files = files
        self._enricher = enricher

    async def convert(
        self, export: Export, file: DataFile, path: Path, epochs: tuple[EpochStart, ...], split_bytes: int
    ) -> Converted:
        """Store all files of a data file.

        Args:
            export: where it belongs.
            file: what the manifest says of it.
            path: its content, already compared with its checksum.
            epochs: the pipeline's, as HEAD has them.
            split_bytes: of DynamoDB JSON that go into one file.

        Raises:
            ExportError: it is not what the manifest says.
            StorageError, LedgerError: not everything is there; repeating it completes it.
        """
        reader = ExportReader(export, self._pipeline.keys, file.key)
        lines = _Lines(path, file)
        totals = Converted(file.name, 0, 0, 0, 0)
        with lines:
            for number in itertools.count():
                part = _Part(export, file, number, split_bytes, totals.items)
                with tempfile.TemporaryFile() as spool:
                    # Metadata goes before content, so that the content waits on the disk until it is known.
                    await asyncio.to_thread(self._write, part, lines.take(split_bytes), reader, epochs, spool)
                    if not part.items:
                        break
                    if part.rows or part.rejects:
                        pieces = _pieces(spool, self._pipeline.file.part_size_bytes)
                        await self._files.store(part.describe(epochs), pieces)
                totals = part.add_to(totals)
        if totals.items != file.items:
            raise ExportError(f"{file.key} has {totals.items} items, its manifest {file.items}; {BEGIN_ANOTHER}")
        return totals

    def _write(
        self,
        part: _Part,
        chunks: Iterator[bytes],
        reader: ExportReader,
        epochs: tuple[EpochStart, ...],
        spool: IO[bytes],
    ) -> None:
        """Decode, enrich and encode a part's lines, a chunk after the other."""

        def frames() -> Iterator[pl.DataFrame]:
            for text in chunks:
                changes = self._decoder.decode_lines(text, reader, part.first_line + part.items, epochs, part.file_id)
                refined = self._refine(changes, text, reader, part.first_line + part.items)
                part.add(refined)
                yield refined.changes.frame

        for piece in encode_frames(frames(), self._pipeline.layout, READ_BYTES):
            spool.write(piece)

    def _refine(self, changes: Changes, text: bytes, reader: ExportReader, first_line: int) -> Refined:
        """Enrich a chunk's rows, and settle what becomes of each."""

        def write_records(positions: Sequence[int]) -> list[str]:
            return self._decoder.write_lines(text, reader, first_line, positions)

        return refine(changes, self._enricher, self._pipeline.layout, write_records)


class _Part:
    """What goes into one file, and what is counted on the way."""

    def __init__(self, export: Export, file: DataFile, number: int, split_bytes: int, first_line: int) -> None:
        self.export = export
        self.file = file
        self.first_line = first_line
        # The size is in the name: with another one, the same number would be other lines.
        name = f"{export.export_id}\n{file.key}\n{file.md5}\n{split_bytes}\n{number}"
        self.file_id = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        self.items = 0
        self.rows = 0
        self.elements = 0
        self.rejects: list[Reject] = []
        self._misfits: Counter[tuple[str, str]] = Counter()
        self._ignored: Counter[str] = Counter()
        self._unrouted: Counter[str] = Counter()
        self._versions: set[str] = set()
        self._times: set[str] = set()

    def add(self, refined: Refined) -> None:
        """Count what a chunk has become."""
        changes = refined.changes
        self.elements += refined.elements
        self._unrouted.update(changes.unrouted)
        self.items += changes.received
        self.rows += changes.frame.height
        self.rejects += changes.rejects
        self._misfits.update(changes.misfits)
        self._ignored.update(changes.ignored)
        self._versions |= {changes.version_min, changes.version_max} - {""}
        self._times |= {changes.changed_min, changes.changed_max} - {""}

    def describe(self, epochs: tuple[EpochStart, ...]) -> Contents:
        """Say what the file holds; its rows were stamped by `epochs`."""
        versions = self._versions or {build_version(0, EXPORT_LABEL, "0")}
        times = self._times or {""}
        by_reason = Counter((reject.column, reject.reason) for reject in self.rejects)
        return Contents(
            file_id=self.file_id,
            label=EXPORT_LABEL,
            received=self.items,
            rows=self.rows,
            rejects=tuple(self.rejects),
            version_min=min(versions),
            version_max=max(versions),
            changed_min=min(times),
            changed_max=max(times),
            drift=count_drift(self._ignored, self._misfits, by_reason, self._unrouted),
            elements=self.elements,
            epochs=list_carried(epochs, min(versions), max(versions)),
        )

    def add_to(self, totals: Converted) -> Converted:
        """Give the sum with what was counted so far."""
        return Converted(
            totals.name,
            totals.items + self.items,
            totals.rows + self.rows,
            totals.rejects + len(self.rejects),
            totals.files + bool(self.rows),
        )


class _Lines:
    """A data file's lines, in chunks."""

    def __init__(self, path: Path, file: DataFile) -> None:
        self._stream = cast("IO[bytes]", igzip.open(path))  # type: ignore[no-untyped-call]
        self._file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def take(self, most_bytes: int) -> Iterator[bytes]:
        """Yield the next lines, chunk by chunk, until they have that many bytes."""
        taken = 0
        while taken < most_bytes:
            try:
                text = self._stream.read(min(CHUNK_BYTES, most_bytes - taken))
                if text and not text.endswith(b"\n"):
                    text += self._stream.readline()
            except (EOFError, OSError, IsalError) as error:  # type: ignore[misc]
                raise ExportError(f"{self._file.key}: its gzip is damaged: {error}; {BEGIN_ANOTHER}") from error
            if not text:
                return
            yield text
            taken += len(text)


def _pieces(spool: IO[bytes], size: int) -> Iterator[bytes]:
    spool.seek(0)
    while piece := spool.read(size):
        yield piece
