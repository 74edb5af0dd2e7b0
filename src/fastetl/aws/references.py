"""Files that enrichments read: beside the code, or objects on S3 that are fetched once and again when they change."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from fastetl.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from types_aiobotocore_s3 import S3Client

CHUNK_BYTES = 1 << 20


def find_local(names: Iterable[str], root: Path) -> dict[str, Path]:
    """Find those that lie on this machine; relative paths begin at `root`."""
    found = {name: root / name for name in names if not name.startswith("s3://")}
    return {name: path for name, path in found.items() if path.is_file()}


class References:
    """The same files, with those on S3 fetched into `folder`."""

    def __init__(self, client: S3Client, names: Iterable[str], *, root: Path, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._etags: dict[str, str] = {name: "" for name in names if name.startswith("s3://")}
        self.paths = find_local(names, root)
        """Where each is now; one that was never there is missing."""

    async def refresh(self) -> bool:
        """Fetch what changed on S3, and tell whether anything did.

        Raises:
            StorageError: an object cannot be read. What was fetched before stays.
        """
        changed = [await self._fetch(name) for name in self._etags]
        return any(changed)

    async def _fetch(self, name: str) -> bool:
        bucket, _, key = name.removeprefix("s3://").partition("/")
        known = {"IfNoneMatch": self._etags[name]} if self._etags[name] else {}
        try:
            answer = await self._client.get_object(Bucket=bucket, Key=key, **known)  # type: ignore[arg-type]
            etag = answer["ETag"]
            path = self._folder / f"{hashlib.sha256(f'{name} {etag}'.encode()).hexdigest()[:16]}-{Path(key).name}"
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                async for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                    file.write(chunk)
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            if code in {"304", "NotModified"}:
                return False
            raise StorageError(f"{name}: {code}; put it there, and let the function read it") from error
        except (BotoCoreError, aiohttp.ClientError, OSError) as error:
            raise StorageError(f"reading {name}: {type(error).__name__}: {error}") from error
        if (old := self.paths.get(name)) and old != path:
            old.unlink(missing_ok=True)
        self._etags[name], self.paths[name] = etag, path
        return True
