"""The tuner: measures the ingest function on this machine, and finds settings for a rate and a freshness.

`measure` runs the real function, `prediction` says what a setting would cost and how fresh the warehouse would be,
`search` looks through all settings, and `answer` puts together what the terminal and the HTML page show.
"""

from __future__ import annotations

from fastetl.tune.answer import Answer, build_answer, current_settings
from fastetl.tune.awake import Awake, build_member, predict_awake, write_hours
from fastetl.tune.calibrate import LEAST_INVOCATIONS, LOG_FILTER, Calibration, build_calibration, read_invocations
from fastetl.tune.measure import STAND_INS, Bench, measure_pipeline, with_compression
from fastetl.tune.model import Measured, Workload
from fastetl.tune.prediction import DAYS_PER_MONTH, Prediction, predict
from fastetl.tune.prices import Book, read_book
from fastetl.tune.records import EventCutter, Record, describe, make_up_items, read_records, records_of_items
from fastetl.tune.report import build_page
from fastetl.tune.saved import Saved, read_saved, write_saved
from fastetl.tune.search import Goal, NothingKeepsUpError, find_proposals
from fastetl.tune.shapes import SHAPES, write_shape
from fastetl.tune.terminal import show_answer, show_money

__all__ = [
    "DAYS_PER_MONTH",
    "LEAST_INVOCATIONS",
    "LOG_FILTER",
    "SHAPES",
    "STAND_INS",
    "Answer",
    "Awake",
    "Bench",
    "Book",
    "Calibration",
    "EventCutter",
    "Goal",
    "Measured",
    "NothingKeepsUpError",
    "Prediction",
    "Record",
    "Saved",
    "Workload",
    "build_answer",
    "build_calibration",
    "build_member",
    "build_page",
    "current_settings",
    "describe",
    "find_proposals",
    "make_up_items",
    "measure_pipeline",
    "predict",
    "predict_awake",
    "read_book",
    "read_invocations",
    "read_records",
    "read_saved",
    "records_of_items",
    "show_answer",
    "show_money",
    "with_compression",
    "write_hours",
    "write_saved",
    "write_shape",
]
