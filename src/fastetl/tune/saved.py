"""Keep what was measured in a file: `fastetl tune --save` writes it, `--measured` reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fastetl.errors import ConfigError, Problem
from fastetl.tune.model import Measured


class Saved(msgspec.Struct, frozen=True):
    """What was measured, and with what."""

    pipeline: str
    measured_with: str
    item_bytes: float
    """Bytes of one record in an event."""
    measured: tuple[Measured, ...]
    machine: str = ""
    """The architecture, as Python names it: x86_64, aarch64 …"""


def write_saved(saved: Saved) -> str:
    """Write what was measured as JSON, for `read_saved`.

    Args:
        saved: what was measured.
    """
    return msgspec.json.encode(saved).decode()


def read_saved(path: Path) -> Saved:
    """Read what an earlier run has written.

    Args:
        path: of the file that `write_saved` wrote.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Saved)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError((Problem(str(path), str(reason), "Write another with `fastetl tune --save`"),)) from None
