"""Events of a table's stream as frames of text columns, and the records that cannot be converted as rejects."""

from __future__ import annotations

from fastetl.decode.changes import Changes, count_drift
from fastetl.decode.decoder import Decoder
from fastetl.decode.elements import ElementDecoder, Elements
from fastetl.decode.event import cut_name, parse_record
from fastetl.decode.general import build_extra
from fastetl.decode.keys import parse_key
from fastetl.decode.left import LineReader
from fastetl.decode.native import LinesOf, free_rows
from fastetl.decode.rejected import RejectedError
from fastetl.decode.shared_object import load_library
from fastetl.decode.source_arn import parse_source_arn
from fastetl.decode.target_finder import TargetFinder
from fastetl.decode.window import Delivery, Position, find_position, is_windowed, part_event

__all__ = [
    "Changes",
    "Decoder",
    "Delivery",
    "ElementDecoder",
    "Elements",
    "LineReader",
    "LinesOf",
    "Position",
    "RejectedError",
    "TargetFinder",
    "build_extra",
    "count_drift",
    "cut_name",
    "find_position",
    "free_rows",
    "is_windowed",
    "load_library",
    "parse_key",
    "parse_record",
    "parse_source_arn",
    "part_event",
]
