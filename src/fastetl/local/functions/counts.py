"""What a mapping counts."""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct):
    """What a mapping has done so far."""

    read: int = 0
    acknowledged: int = 0
    dropped: int = 0
    """Given up, with or without a destination."""
    invocations: int = 0
    failed_invocations: int = 0
    repeated: int = 0
    """Invocations with records that had been acknowledged before."""

    @property
    def outstanding(self) -> int:
        """Read, and neither acknowledged nor given up."""
        return self.read - self.acknowledged - self.dropped
