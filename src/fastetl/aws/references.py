"""Files that enrichments read: beside the code, or objects on S3 that are fetched once and again when they change."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from fastetl.aws.s3 import Bucket, RefusedError
from fastetl.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from types_aiobotocore_s3 import S3Client


def find_local(names: Iterable[str], root: Path) -> dict[str, Path]:
    """Find the files of enrichments that are on this machine.

    Args:
        names: paths, and `s3://bucket/key`, which are left out.
        root: the folder where relative paths begin.

    Returns:
        The paths by name; files that are missing are left out.
    """
    found = {name: root / name for name in names if not name.startswith("s3://")}
    return {name: path for name, path in found.items() if path.is_file()}


class References:
    """The same files, with those on S3 fetched into `folder`."""

    def __init__(self, client: S3Client, names: Iterable[str], *, root: Path, folder: Path) -> None:
        """Describe the files that enrichments read.

        Args:
            client: an open S3 client.
            names: paths, and `s3://bucket/key`.
            root: the folder where relative paths begin.
            folder: where copies of objects are kept.
        """
        self._client = client
        self._folder = folder
        self._etags: dict[str, str] = {name: "" for name in names if name.startswith("s3://")}
        self.paths = find_local(names, root)
        """Where each is now; one that was never there is missing."""

    def has_all(self, names: Iterable[str]) -> bool:
        """Tell whether none of these files is still to be fetched from S3.

        Args:
            names: some of those that were described.
        """
        return not any(name in self._etags and name not in self.paths for name in names)

    async def refresh(self, names: Iterable[str]) -> tuple[bool, tuple[str, ...]]:
        """Fetch what changed on S3; one object that cannot be read keeps no other from being fetched.

        Args:
            names: some of those that were described; files that are no objects on S3 are passed over.

        Returns:
            Whether anything changed, and why objects could not be read. What was fetched before stays.
        """
        changed, failures = False, []
        for name in filter(self._etags.__contains__, names):
            try:
                changed |= await self._fetch(name)
            except StorageError as error:
                failures.append(str(error))
        return changed, tuple(failures)

    async def _fetch(self, name: str) -> bool:
        bucket, _, key = name.removeprefix("s3://").partition("/")
        self._folder.mkdir(parents=True, exist_ok=True)

        def path(etag: str) -> Path:
            return self._folder / f"{hashlib.sha256(f'{name} {etag}'.encode()).hexdigest()[:16]}-{Path(key).name}"

        known = self._etags[name]
        try:
            etag = await Bucket(self._client, bucket).download_changed(key, known, path)
        except RefusedError as error:
            raise StorageError(f"{name}: {error.code or error}; put it there, and let the function read it") from error
        if etag == known:
            return False
        if known:
            path(known).unlink(missing_ok=True)
        self._etags[name], self.paths[name] = etag, path(etag)
        return True
