"""The same changes carried by others, by their list prices: what a month would cost, and what it would not do. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from fastetl.tune.prediction import DAYS_PER_MONTH, GB

if TYPE_CHECKING:
    from fastetl.tune.model import Workload
    from fastetl.tune.prices import Book

FIREHOSE_INTERVAL_SECONDS = 900
"""Firehose's longest buffering interval (Amazon Data Firehose Developer Guide): the rarest COPY."""
FIREHOSE_STEP_BYTES = 5_000

PUBLISHED = "2025"
"""The year of the list prices in `prices.Others`."""


class Other(msgspec.Struct, frozen=True):
    """Another way."""

    name: str
    dollars_per_month: float
    remark: str


def compare(workload: Workload, item_bytes: float, table_gb: float, distinct: float, book: Book) -> list[Other]:
    """Work out what a month would cost.

    Args:
        workload: what has to be carried.
        item_bytes: of one changed item, on the average.
        table_gb: size of the table, whose point-in-time recovery zero-ETL needs.
        distinct: share of a month's changes that are the first of their item: what is billed by active rows.
        book: prices; `book.others` above all.
    """
    others = book.others
    changes = workload.per_day * DAYS_PER_MONTH
    size_gb = changes * item_bytes / GB
    units = changes * math.ceil(item_bytes / 1024)
    rounded_gb = changes * math.ceil(item_bytes / FIREHOSE_STEP_BYTES) * FIREHOSE_STEP_BYTES / GB
    return [
        Other(
            "Kinesis and Firehose",
            units / 1e6 * others.kinesis_million_change_units
            + size_gb * others.kinesis_gb
            + rounded_gb * others.firehose_gb
            + _redshift(FIREHOSE_INTERVAL_SECONDS, book),
            "appends changes as they come: no mirror, no order, duplicates stay",
        ),
        Other(
            "zero-ETL integration",
            size_gb * others.export_gb
            + table_gb * others.pitr_gb_month
            + _redshift(others.zero_etl_interval_seconds, book),
            "no code at all, and at least 15 minutes old; items arrive as one SUPER column",
        ),
        Other(
            "Fivetran",
            changes * distinct / 1e6 * others.fivetran_million_rows,
            "first tier for every row, which larger volumes do not pay; the warehouse's own cost comes on top",
        ),
        Other(
            "Airbyte Cloud",
            size_gb * others.airbyte_gb,
            "the warehouse's own cost comes on top",
        ),
    ]


def _redshift(interval_seconds: float, book: Book) -> float:
    """Give the dollars of a warehouse that wakes up for its minimum at each interval."""
    constants = book.constants
    share = min(1.0, constants.redshift_minimum_seconds / interval_seconds) * (1 - constants.redshift_awake)
    hours = 24 * DAYS_PER_MONTH * share
    return hours * constants.redshift_rpus * book.prices.redshift_rpu_hour
