"""What decoding makes of one event."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.decode.event import cut_name
from fastetl.model import MAX_DRIFT, UNROUTED, Reject

if TYPE_CHECKING:
    from collections.abc import Mapping


class Changes(msgspec.Struct, frozen=True):
    """What one event holds."""

    frame: pl.DataFrame
    """A row per converted record, in the event's order; every column is text as COPY reads it, null is SQL NULL."""
    file_id: str
    """Names the event's file: a hash of the stream's ARN and the event ids in order."""
    stream_arn: str
    received: int
    """Records of the event: rows and rejects."""
    rejects: tuple[Reject, ...]
    misfits: dict[tuple[str, str], int]
    """Values that became NULL or were truncated, by column and reason."""
    ignored: dict[str, int]
    """Undeclared attributes that were left out, by name."""
    decoded_native: int
    decoded_general: int
    """Records that were left to the reference, since the native pass does not decide everything."""
    changed_min: str
    changed_max: str
    """Bounds of `_changed_at`; empty without rows."""
    version_min: str
    version_max: str
    native_error: str = ""
    """Why the native pass failed, by type and place, so that the reference decoded everything; empty as a rule."""
    ties: int = 0
    """Changes of one item in the same microsecond, whose order is not known; only Kinesis has them."""
    passed_over: dict[str, int] = {}
    """Records of other tables in a Kinesis stream, by table; they are not among those received."""
    unrouted: dict[str, int] = {}
    """Items that none of several targets takes, by what tells their kind."""
    reject_positions: frozenset[int] = frozenset()
    """Where the rejects were among the records."""

    @property
    def row_positions(self) -> list[int]:
        """Where the rows' records were among those received."""
        return [position for position in range(self.received) if position not in self.reject_positions]

    @property
    def rejects_by_reason(self) -> dict[tuple[str, str], int]:
        """How many rejects, by column and reason."""
        return Counter((reject.column, reject.reason) for reject in self.rejects)

    @property
    def drift(self) -> dict[str, int]:
        """What did not fit the columns, as `FileItem.drift`."""
        return count_drift(self.ignored, self.misfits, self.rejects_by_reason, self.unrouted)


def count_drift(
    ignored: Mapping[str, int],
    misfits: Mapping[tuple[str, str], int],
    rejects: Mapping[tuple[str, str], int],
    unrouted: Mapping[str, int],
) -> dict[str, int]:
    """Sum what did not fit the columns, as the ledger keeps it.

    Args:
        ignored: counts by attribute.
        misfits: counts by column and reason.
        rejects: counts by column and reason.
        unrouted: counts of items by what tells their kind.

    Returns:
        Counts by `ignored/<attribute>`, `misfit/<column>/<reason>`, `reject/<column>/<reason>` and `unrouted/<kind>`.
    """
    drift: Counter[str] = Counter()
    for name, count in ignored.items():
        drift[f"ignored/{cut_name(name)}"] += count
    drift.update({f"misfit/{column}/{reason}": count for (column, reason), count in misfits.items()})
    drift.update({f"reject/{column}/{reason}": count for (column, reason), count in rejects.items()})
    for kind, count in unrouted.items():
        drift[f"{UNROUTED}{cut_name(kind)}"] += count
    return dict(sorted(drift.items(), key=lambda each: (-each[1], each[0]))[:MAX_DRIFT])
