"""What users write instead of fastetl, each as its best users would: raw event bytes in, a compressed CSV file out.

A peer writes `META` and the pipeline's columns, without header, NULL as fastetl does. It makes no `_key`, no
`_version`, no file id and no MIN/MAX, and it checks nothing: no length, range, precision, NUL. All of that is fastetl's
extra work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastetl.config import FileFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastetl.config.model import Pipeline

META = ("_event_id", "_op", "_sequence_number", "_changed_at")
NULL = FileFormat().null_marker


@dataclass(frozen=True)
class Peer:
    """One way to do the job."""

    name: str
    build: Callable[[Pipeline], Callable[[bytes], bytes]]
    """Everything that is done once per function, not per event."""
    differs: dict[str, str] = field(default_factory=dict)
    """By shape, what its file cannot say as fastetl's does, and why; the named columns are not compared."""
    cannot: dict[str, str] = field(default_factory=dict)
    """By shape, why it cannot do the job at all."""
    adds: tuple[str, ...] = ()
    """Columns of its own at each row's end."""
