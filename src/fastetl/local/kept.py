"""The folder in which `fastetl local --data FOLDER` keeps what it holds from one run to the next.

```
FOLDER/kept/about.json        the versions that wrote it
FOLDER/kept/aws.pickle        tables with their streams, buckets, Kinesis streams
FOLDER/kept/warehouse.duckdb  the warehouse
FOLDER/kept/positions.json    how far each mapping has read
```

A run works on copies and puts them into the folder at its orderly end, all at once: a run that is killed leaves the
folder as it was at its start.
"""

from __future__ import annotations

import fcntl
import shutil
from importlib import metadata
from pathlib import Path

import msgspec

from fastetl.errors import ConfigError, Problem

AWS, WAREHOUSE, POSITIONS, ABOUT = "aws.pickle", "warehouse.duckdb", "positions.json", "about.json"

Positions = dict[str, dict[str, str]]
"""The sequence number up to which everything is acknowledged or given up, by mapping and shard."""


class KeptFolder:
    """A folder, locked for one run from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept, self._next, self._last = path / "kept", path / "next", path / "last"

    def open(self, working: Path) -> Positions:
        """Copy what the folder holds into a working folder; give how far each mapping has read.

        Raises:
            ConfigError: the folder cannot be written, is in use, or was written with other versions.
        """
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._lock = (self._path / "lock").open("w")
        except OSError as error:
            raise _refuse(f"{self._path} cannot be written: {error.strerror}", "Name another folder") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise _refuse(
                f"{self._path} is in use by another `fastetl local`", "End that one, or name another folder"
            ) from None
        if not self._kept.exists() and self._last.exists():
            self._last.rename(self._kept)  # the process died between two renames
        if not self._kept.exists():
            return {}
        about = msgspec.json.decode((self._kept / ABOUT).read_bytes())
        if about != _about():
            self.close()
            message = f"{self._path} was written with {_name(about)}, and this is {_name(_about())}"
            raise _refuse(message, "Name another folder, or remove this one")
        for name in (AWS, WAREHOUSE):
            shutil.copyfile(self._kept / name, working / name)
        return msgspec.json.decode((self._kept / POSITIONS).read_bytes(), type=Positions)

    def keep(self, working: Path, positions: Positions) -> None:
        """Put the working folder's content in the place of what the folder holds."""
        shutil.rmtree(self._next, ignore_errors=True)
        self._next.mkdir()
        for name in (AWS, WAREHOUSE):
            shutil.copyfile(working / name, self._next / name)
        (self._next / POSITIONS).write_bytes(msgspec.json.encode(positions))
        (self._next / ABOUT).write_bytes(msgspec.json.encode(_about()))
        shutil.rmtree(self._last, ignore_errors=True)
        if self._kept.exists():
            self._kept.rename(self._last)
        self._next.rename(self._kept)
        shutil.rmtree(self._last, ignore_errors=True)

    def close(self) -> None:
        """Let other runs have the folder."""
        self._lock.close()


def _about() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("fastetl", "moto", "duckdb")}


def _name(about: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in about.items())


def _refuse(message: str, remedy: str) -> ConfigError:
    return ConfigError((Problem("--data", message, remedy),))
