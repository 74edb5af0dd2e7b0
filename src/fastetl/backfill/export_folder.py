"""Read exports, wherever they are: in a bucket of any account, or in a folder of this machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from pathlib import Path
from typing import Any

from fastetl.aws import Bucket
from fastetl.backfill.export_format import BEGIN_ANOTHER, DataFile, Export, parse_files, parse_summary
from fastetl.errors import ExportError

COPY_BYTES = 1024 * 1024


class ExportFolder:
    """An export's folder. Raises `ExportError`, or `StorageError` where S3 does not do what was asked."""

    def __init__(self, client: Any, location: str) -> None:
        """Describe an export's folder.

        Args:
            client: an open S3 client.
            location: `s3://bucket/prefix/AWSDynamoDB/01234-abcd`, or a folder's path.
        """
        self._location = location.rstrip("/")
        self._bucket: Bucket | None = None
        if location.startswith("s3://"):
            name, _, self._prefix = self._location.removeprefix("s3://").partition("/")
            self._bucket = Bucket(client, name)

    async def read(self) -> tuple[Export, tuple[DataFile, ...]]:
        """Read the manifests."""
        place = f"{self._location}/manifest-summary.json"
        export = parse_summary(await self._get("manifest-summary.json"), place)
        files = parse_files(await self._get("manifest-files.json"), f"{self._location}/manifest-files.json")
        if (listed := sum(file.items for file in files)) != export.items:
            raise ExportError(
                f"{self._location}: its manifests count {export.items} items and {listed}; {BEGIN_ANOTHER}"
            )
        return export, files

    async def fetch(self, file: DataFile, into: Path) -> None:
        """Copy a data file and compare it with its checksum.

        Args:
            file: of the export.
            into: the file to write.
        """
        if self._bucket:
            md5 = await self._bucket.download(file.key, into)
        else:
            md5 = await asyncio.to_thread(_copy, self._find(file), into)
        if base64.b64encode(md5).decode() != file.md5:
            raise ExportError(f"{file.key} is not what was exported: its MD5 differs; {BEGIN_ANOTHER}")

    async def _get(self, name: str) -> bytes:
        if self._bucket:
            return await self._bucket.get(f"{self._prefix}/{name}")
        try:
            return await asyncio.to_thread(Path(self._location, name).read_bytes)
        except OSError as error:
            remedy = "name the folder that holds manifest-summary.json"
            raise ExportError(f"{self._location}/{name}: {error.strerror}; {remedy}") from error

    def _find(self, file: DataFile) -> Path:
        """Find the folder of an export's manifests, also in a copy that has another path."""
        name = Path(file.key).name
        for folder in (Path(self._location, "data"), Path(self._location).parent / "data"):
            if (path := folder / name).is_file():
                return path
        raise ExportError(f"{self._location}: data file {file.key} is missing; copy the folder whole")


def _copy(source: Path, into: Path) -> bytes:
    shutil.copyfile(source, into)
    with into.open("rb") as file:
        return hashlib.file_digest(file, _md5).digest()


def _md5() -> Any:
    # DynamoDB's manifests have no other checksum; nobody is to be kept out by it.
    return hashlib.md5(usedforsecurity=False)
