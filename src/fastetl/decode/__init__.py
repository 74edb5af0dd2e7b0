"""Events of a table's stream as frames of text columns, and the records that cannot be converted as rejects."""

from __future__ import annotations

from fastetl.decode.decoder import Changes, Decoder, LineReader, count_drift, parse_source_arn
from fastetl.decode.event import cut_name, parse_record
from fastetl.decode.native import LinesOf, free_rows, load_library

__all__ = [
    "Changes",
    "Decoder",
    "LineReader",
    "LinesOf",
    "count_drift",
    "cut_name",
    "free_rows",
    "load_library",
    "parse_record",
    "parse_source_arn",
]
