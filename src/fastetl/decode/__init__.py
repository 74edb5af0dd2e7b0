"""Events of a table's stream as frames of text columns, and the records that cannot be converted as rejects."""

from __future__ import annotations

from fastetl.decode.decoder import Changes, Decoder, count_drift, parse_source_arn

__all__ = [
    "Changes",
    "Decoder",
    "count_drift",
    "parse_source_arn",
]
