"""What a record, or an element of a list, is rejected with."""

from __future__ import annotations


class RejectedError(Exception):
    """A record, or an element of a list, that cannot be converted."""

    def __init__(self, column: str, reason: str, detail: str) -> None:
        """Describe what does not fit.

        Args:
            column: that has no value; empty where the record as a whole is meant.
            reason: a code, fit for a metric's dimension.
            detail: what was expected, in words; without item content.
        """
        self.column = column
        self.reason = reason
        self.detail = detail
        super().__init__(reason)
