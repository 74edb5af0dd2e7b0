"""The third story: a table that is older than its stream is carried over from an export."""

from __future__ import annotations

from fastetl.backfill.backfiller import CLOCK_SLACK_SECONDS, Backfiller, Unfinished
from fastetl.backfill.convert import Converter
from fastetl.backfill.distribute import convert_on_lambda
from fastetl.backfill.export_folder import ExportFolder
from fastetl.backfill.export_format import DataFile, Export
from fastetl.backfill.lost_end import reopen_resync
from fastetl.backfill.scan import Throttle, scan_table

__all__ = [
    "CLOCK_SLACK_SECONDS",
    "Backfiller",
    "Converter",
    "DataFile",
    "Export",
    "ExportFolder",
    "Throttle",
    "Unfinished",
    "convert_on_lambda",
    "reopen_resync",
    "scan_table",
]
