"""Predict what a setting costs in a day, how fresh the warehouse is, and whether it keeps up. Pure.

A day is a list of hours, or of shorter parts of equal length, each with its rate.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from fastetl.tune.model import (
    HOUR,
    Ingestion,
    Loading,
    Measured,
    Settings,
    Workload,
    ingest,
    init_duration,
    load,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.tune.prices import Book, Constants

DAYS_PER_MONTH = 30
GB = 1e9
LISTED_AT_ONCE = 1000
"""Keys in a page of S3's list (Amazon S3 API reference, ListObjectsV2)."""
LISTED_AHEAD_SECONDS = 300
"""The hour that follows is listed as well, where it is so near."""
READ_UNIT_BYTES, WRITE_UNIT_BYTES = 4096, 1024
"""DynamoDB Developer Guide, "Read/write capacity"."""
ROUNDED_UP_SECONDS = 0.0005
"""Lambda bills whole milliseconds: half of one more, on the average."""


class Prediction(msgspec.Struct, frozen=True):
    """What a setting would give."""

    settings: Settings
    dollars_per_day: dict[str, float]
    """Dollars by service."""
    per_million: float
    """Dollars for a million changes."""
    fresh_p50: float
    """Seconds from a change to its being in the warehouse."""
    fresh_p99: float
    margin: float
    """In the busiest hour."""
    memory_mb: float
    """Of the largest invocation."""
    records_per_invocation: float
    duration_seconds: float
    """Of the busiest hour's invocations."""
    invocations_per_day: float
    cold_starts_per_day: float
    files_per_day: float
    loads_per_day: float
    cpu_seconds_per_day: float

    @property
    def dollars(self) -> float:
        """Per day."""
        return sum(self.dollars_per_day.values())

    @property
    def headroom(self) -> float:
        """Memory that is left, as a share of what is given."""
        return 1 - self.memory_mb / self.settings.memory_mb


class Hour(msgspec.Struct, frozen=True):
    """A rate that lasts for some seconds of the day, and what it makes of the functions."""

    seconds: float
    ingestion: Ingestion
    loading: Loading = Loading(math.inf, 0.0, 0.0)


def ingest_day(measured: Measured, settings: Settings, workload: Workload, constants: Constants) -> list[Hour]:
    """Say what the ingest function does at each of a day's rates."""
    lasting = Counter(round(rate, 9) for rate in workload.hours)  # a sine's two slopes are the same
    share = 24 * HOUR / len(workload.profile)
    return [
        Hour(count * share, ingest(measured, settings, rate, workload.shards, constants))
        for rate, count in lasting.items()
    ]


Loadings = dict[tuple[float, float], Loading]
"""What is known for the same thresholds, by files per second and their size."""


def load_day(
    settings: Settings, hours: Iterable[Hour], constants: Constants, known: Loadings | None = None
) -> list[Hour]:
    """Say what the coordinator makes of it."""
    known = {} if known is None else known
    loaded = []
    for hour in hours:
        files = (hour.ingestion.invocations, hour.ingestion.file_bytes)
        if files not in known:
            known[files] = load(settings, hour.ingestion, constants)
        loaded.append(Hour(hour.seconds, hour.ingestion, known[files]))
    return loaded


def predict(measured: Measured, settings: Settings, workload: Workload, book: Book) -> Prediction:
    """Predict what a day costs and how fresh the warehouse is.

    Args:
        measured: of the pipeline.
        settings: to predict for.
        workload: rate, hours and shards.
        book: of prices and constants.
    """
    hours = ingest_day(measured, settings, workload, book.constants)
    return combine(measured, settings, workload, book, load_day(settings, hours, book.constants))


def combine(
    measured: Measured, settings: Settings, workload: Workload, book: Book, hours: Sequence[Hour]
) -> Prediction:
    """Put a day together whose hours are known already."""
    invocations = sum(hour.ingestion.invocations * hour.seconds for hour in hours)
    busiest = max((hour.ingestion for hour in hours), key=lambda each: each.invocations * each.records)
    dollars = split_cost(measured, settings, workload, book, hours)
    return Prediction(
        settings=settings,
        dollars_per_day=dollars,
        per_million=sum(dollars.values()) / (workload.per_day / 1e6),
        fresh_p50=_quantile(0.5, hours),
        fresh_p99=_quantile(0.99, hours),
        margin=min(hour.ingestion.margin for hour in hours),
        memory_mb=max(hour.ingestion.memory_mb for hour in hours),
        records_per_invocation=workload.per_day / invocations,
        duration_seconds=busiest.duration_seconds,
        invocations_per_day=invocations,
        cold_starts_per_day=_cold_starts(settings, workload, book.constants, invocations),
        files_per_day=invocations,
        loads_per_day=sum(hour.seconds / hour.loading.cycle_seconds for hour in hours),
        cpu_seconds_per_day=sum(
            hour.ingestion.invocations * hour.seconds * measured.at(hour.ingestion.records).cpu_seconds
            for hour in hours
        ),
    )


def _cold_starts(settings: Settings, workload: Workload, constants: Constants, invocations: float) -> float:
    """Say how many environments are started a day: each lane keeps one busy, until Lambda replaces it."""
    return min(invocations, workload.shards * settings.parallelization * 24 * HOUR / constants.environment_seconds)


def split_cost(
    measured: Measured, settings: Settings, workload: Workload, book: Book, hours: Sequence[Hour]
) -> dict[str, float]:
    """Give a day's dollars by service."""
    prices, constants = book.prices, book.constants
    invocations = billed = size = puts = loads = awake = 0.0
    for hour in hours:
        each, seconds = hour.ingestion, hour.seconds
        count = each.invocations * seconds
        invocations += count
        billed += count * (each.duration_seconds + ROUNDED_UP_SECONDS)
        size += count * each.file_bytes
        puts += count * _requests(each.file_bytes, settings.part_size)
        loads += seconds / hour.loading.cycle_seconds
        busy = max(hour.loading.load_seconds, constants.redshift_minimum_seconds)
        awake += min(1.0, busy / hour.loading.cycle_seconds) * seconds
    starts = _cold_starts(settings, workload, constants, invocations)
    billed += starts * init_duration(measured, settings.memory_mb, constants)
    return {
        "Lambda, ingest": billed * settings.memory_mb / 1024 * book.gb_second
        + invocations * prices.lambda_million_requests / 1e6,
        "Lambda, coordinator": _coordinating(loads, book),
        "S3": (puts + 2 * loads) * prices.s3_thousand_puts / 1e3
        + (invocations + 2 * loads) * prices.s3_thousand_gets / 1e3
        + size * constants.days_kept / GB * prices.s3_gb_month / DAYS_PER_MONTH,
        "DynamoDB, ledger": (invocations * constants.ledger_writes_per_file + loads * constants.ledger_writes_per_load)
        * prices.dynamodb_million_writes
        / 1e6
        + (
            invocations * constants.ledger_reads_per_file
            + _wake_ups(loads, constants) * constants.ledger_reads_per_wake_up
        )
        * prices.dynamodb_million_reads
        / 1e6,
        "Looks after the stream": _looking(workload, book, hours),
        "CloudWatch": invocations * constants.log_bytes_per_invocation / GB * prices.cloudwatch_log_gb
        + constants.metrics * prices.cloudwatch_metric_month / DAYS_PER_MONTH,
        "Redshift": awake * (1 - constants.redshift_awake) / HOUR * constants.redshift_rpus * prices.redshift_rpu_hour,
    }


def _wake_ups(loads: float, constants: Constants) -> float:
    """Say how often the coordinator runs in a day: by its schedule, and when a load has ended."""
    return 24 * HOUR / constants.wake_up_seconds + loads


def _coordinating(loads: float, book: Book) -> float:
    constants, wake_ups = book.constants, _wake_ups(loads, book.constants)
    starts = min(wake_ups, 24 * HOUR / constants.environment_seconds)
    seconds = wake_ups * constants.coordinator_seconds + starts * constants.coordinator_init_seconds
    memory_gb = constants.coordinator_memory_mb / 1024
    return seconds * memory_gb * book.gb_second + wake_ups * book.prices.lambda_million_requests / 1e6


def _looking(workload: Workload, book: Book, hours: Iterable[Hour]) -> float:
    """Give a day's dollars for looking after the stream: S3's lists, and the ledger's reads and writes.

    Asking Lambda for the mapping and DynamoDB for the stream's shards costs nothing.
    """
    constants, prices = book.constants, book.prices
    size = constants.watermark_bytes + workload.shards * constants.watermark_bytes_per_shard
    looks = lists = loads = files = 0.0
    for hour in hours:
        ingestion, loading = hour.ingestion, hour.loading
        ended = hour.seconds / loading.cycle_seconds
        # Files are listed before each load and after it.
        listed = hour.seconds / min(loading.cycle_seconds, constants.list_seconds) + ended
        since = min(loading.cycle_seconds, constants.list_seconds) + ingestion.wait_seconds + LISTED_AHEAD_SECONDS
        lists += listed * _count_lists(ingestion.invocations * HOUR, 1 + since / HOUR)
        # Of the two looks of a load the second takes the place of the next one.
        every = loading.cycle_seconds if loading.cycle_seconds < math.inf else constants.look_seconds
        looks += hour.seconds / every * math.ceil(every / constants.look_seconds - 1e-9) + ended
        loads += ended
        files += ingestion.invocations * hour.seconds
    # Of each look: HEAD, the latest backfill, the watermark, and each file once.
    reads = files + looks * 2 + _wake_ups(loads, constants) * math.ceil(size / READ_UNIT_BYTES)
    writes = looks * math.ceil(size / WRITE_UNIT_BYTES)
    return (
        lists * prices.s3_thousand_puts / 1e3
        + reads * prices.dynamodb_million_reads / 1e6
        + writes * prices.dynamodb_million_writes / 1e6
    )


def _count_lists(files_per_hour: float, hours: float) -> float:
    """Count the requests by which the files of some hours and given-up events are listed twice, and rejects once."""
    pages = math.ceil(files_per_hour / LISTED_AT_ONCE)
    # The present hour is listed when any part of it is over; the mean over the hour.
    present = sum(max(0.0, 1 - page * LISTED_AT_ONCE / files_per_hour) for page in range(pages)) if pages else 1.0
    return 2 * (present + (hours - 1) * max(1, pages)) + hours + 2


def _requests(file_bytes: float, part_size: int) -> float:
    """Count the requests that one upload takes."""
    return 1.0 if file_bytes < part_size else 2.0 + math.ceil(file_bytes / part_size)


def share_fresh(seconds: float, hours: Iterable[Hour]) -> float:
    """Say which share of all changes is in the warehouse so soon: each waits for its batch and for its load."""
    fresh = changes = 0.0
    for hour in hours:
        ingestion, loading = hour.ingestion, hour.loading
        weight = ingestion.invocations * ingestion.records * hour.seconds
        fixed = ingestion.duration_seconds + loading.load_seconds
        changes += weight
        if weight:
            fresh += weight * _share_before(seconds, fixed, ingestion.wait_seconds, loading.cycle_seconds)
    return fresh / changes if changes else 1.0


def _share_before(seconds: float, fixed: float, first: float, second: float) -> float:
    """Say how probable a sum of two waits, each evenly spread, is to be over by then."""
    left, first, second = seconds - fixed, max(first, 1e-6), max(second, 1e-6)
    areas = (max(0.0, left - cut) ** 2 for cut in (0.0, first, second, first + second))
    whole, without_first, without_second, beyond = areas
    return (whole - without_first - without_second + beyond) / (2 * first * second)


def _quantile(share: float, hours: Sequence[Hour]) -> float:
    low, high = (
        0.0,
        max(
            hour.ingestion.duration_seconds
            + hour.loading.load_seconds
            + hour.ingestion.wait_seconds
            + hour.loading.cycle_seconds
            for hour in hours
        ),
    )
    if math.isinf(high):
        return math.inf
    while high - low > 0.001 * high + 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if share_fresh(middle, hours) < share else (low, middle)
    return high
