"""What a setting would cost, how fresh the warehouse would be, and whether it would keep up. Pure.

Measured: CPU, memory and bytes of the real handler at several batch sizes (`measure.Sample`). Modelled: how Lambda cuts
batches, what share of a CPU memory buys, when the coordinator loads, and what all of it costs (`prices`).

A day is a list of hours, each with its rate. Within an hour the rate is even, and the pipeline is in a steady state.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.tune.prices import Book, Constants

HOUR = 3600.0
DAYS_PER_MONTH = 30
GB = 1e9
MIB = 1024 * 1024
ROUNDED_UP_SECONDS = 0.0005
"""Lambda bills whole milliseconds: half of one more, on the average."""
STEPS = 10
"""How finely it is looked at when the first file of a load comes."""


class Sample(msgspec.Struct, frozen=True):
    """What one invocation of the real handler took, at one batch size; medians of several."""

    records: int
    event_bytes: int
    file_bytes: int
    cpu_seconds: float
    """Of the function's process until its reply: user and system time."""
    wall_seconds: float
    memory_mb: float
    """The process's peak so far."""
    spread: float = 0.0
    """Of the CPU seconds: interquartile range divided by the median."""


class Measured(msgspec.Struct, frozen=True):
    """Everything that was measured for one way of writing files."""

    compression: str
    samples: tuple[Sample, ...]
    """By rising batch size; at least two."""
    init_seconds: float
    """CPU time until the handler is ready."""

    def at(self, records: float) -> Sample:
        """Give what a batch of any size would take: between two measurements, or beyond them, on a straight line."""
        sizes = [sample.records for sample in self.samples]
        after = min(max(sum(size < records for size in sizes), 1), len(sizes) - 1)
        low, high = self.samples[after - 1], self.samples[after]
        share = (records - low.records) / (high.records - low.records)

        def between(name: str) -> float:
            first, second = getattr(low, name), getattr(high, name)
            return max(0.0, float(first + (second - first) * share))

        return Sample(
            max(1, round(records)),
            round(between("event_bytes")),
            round(between("file_bytes")),
            between("cpu_seconds"),
            between("wall_seconds"),
            max(between("memory_mb"), min(sample.memory_mb for sample in self.samples)),
        )


class Workload(msgspec.Struct, frozen=True):
    """What has to be carried."""

    rate: float
    """Changes per second, the mean of a day."""
    profile: tuple[float, ...] = (1.0,) * 24
    """The hours' rates as multiples of the mean."""
    shards: int = 1
    """Of the stream."""

    @property
    def hours(self) -> list[float]:
        """Changes per second in each hour."""
        mean = sum(self.profile) / len(self.profile)
        return [self.rate * share / mean for share in self.profile]

    @property
    def per_day(self) -> float:
        """Changes."""
        return self.rate * 24 * HOUR


class Settings(msgspec.Struct, frozen=True):
    """What can be chosen: template parameters and lines of `fastetl.toml`."""

    memory_mb: int
    batch_size: int
    window_seconds: float
    parallelization: int
    part_size: int
    """Bytes."""
    max_bytes: int
    max_age_seconds: int
    compression: str = "gzip"
    max_files: int = 10_000


class Ingestion(msgspec.Struct, frozen=True):
    """The ingest function in one hour."""

    records: float
    """Of one invocation."""
    duration_seconds: float
    invocations: float
    """Per second."""
    file_bytes: float
    memory_mb: float
    wait_seconds: float
    """The longest that a record waits for its batch."""
    margin: float
    """How many times the hour's rate could be carried."""


class Loading(msgspec.Struct, frozen=True):
    """The coordinator in one hour."""

    cycle_seconds: float
    """From one load to the next."""
    load_seconds: float
    files: float
    """Of one load."""


class Prediction(msgspec.Struct, frozen=True):
    """What a setting would give."""

    settings: Settings
    dollars_per_day: dict[str, float]
    """By service."""
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


def cpu_share(memory_mb: float, constants: Constants) -> float:
    """What memory buys of the one CPU that an invocation can use."""
    return min(1.0, memory_mb / constants.memory_of_one_cpu_mb)


def stretch(cpu_seconds: float, share: float, constants: Constants) -> float:
    """Say how long work takes with a share of a CPU.

    The share is given out in slices, one each period, and work begins with a whole slice and anywhere in a period. So
    it is over earlier than work divided by share, on the average by what a period has beyond a slice.
    """
    return max(cpu_seconds, cpu_seconds / share - (1 - share) * constants.quota_period_seconds)


def shrink(seconds: float, share: float, constants: Constants) -> float:
    """Say which CPU time was stretched so long."""
    return min(seconds, (seconds + (1 - share) * constants.quota_period_seconds) * share)


def waits(sample: Sample, constants: Constants) -> float:
    """Give the seconds in which an invocation waits for others."""
    return constants.s3_put_seconds + constants.ledger_seconds + sample.file_bytes / constants.s3_bytes_per_second


def duration(sample: Sample, memory_mb: float, constants: Constants) -> float:
    """Give an invocation's seconds on Lambda."""
    computing = stretch(sample.cpu_seconds * constants.cpu_factor, cpu_share(memory_mb, constants), constants)
    return computing + waits(sample, constants)


def init_duration(measured: Measured, memory_mb: float, constants: Constants) -> float:
    """Give the seconds until a new environment is ready."""
    return stretch(measured.init_seconds * constants.init_factor, cpu_share(memory_mb, constants), constants)


def ingest(measured: Measured, settings: Settings, rate: float, shards: int, constants: Constants) -> Ingestion:
    """Say how batches of an hour are cut, and what each takes.

    A lane is a shard's share of the parallelization factor; it invokes when a batch is full, the window is over, or
    the event has 6 MB, and not before the previous invocation has ended.
    """
    lanes = shards * settings.parallelization
    arriving = rate / lanes
    record_bytes = measured.samples[-1].event_bytes / measured.samples[-1].records
    most = max(1.0, min(settings.batch_size, constants.payload_bytes // record_bytes))
    # Without a window a batch holds what one poll finds, on the average half of what comes between two polls.
    window = settings.window_seconds or constants.poll_seconds / 2
    records = min(most, 1 + arriving * window)
    for _ in range(20):
        taken = duration(measured.at(records), settings.memory_mb, constants)
        busy = min(most, max(1 + arriving * window, arriving * taken))
        if abs(busy - records) < 1e-6 * most:
            break
        records = busy
    sample = measured.at(records)
    taken = duration(sample, settings.memory_mb, constants)
    full = duration(measured.at(most), settings.memory_mb, constants)
    waited = min(window, max(0.0, records - 1) / arriving) if arriving else window
    return Ingestion(
        records=records,
        duration_seconds=taken,
        invocations=rate / records,
        file_bytes=sample.file_bytes,
        memory_mb=measured.at(most).memory_mb + constants.more_memory_mb,
        wait_seconds=max(waited, taken if records > 1 + arriving * window else 0.0),
        margin=most / full / arriving if arriving else math.inf,
    )


def load(settings: Settings, ingestion: Ingestion, constants: Constants) -> Loading:
    """Say how often an hour's files are loaded, and how long that takes.

    The oldest file of the next load comes within a file's time after the last load was begun. The thresholds are
    looked at when the coordinator wakes up: by its schedule, and when a load has ended.
    """
    rate = ingestion.invocations
    if rate == 0:
        return Loading(math.inf, 0.0, 0.0)
    full = min(settings.max_bytes / ingestion.file_bytes, settings.max_files) if ingestion.file_bytes else math.inf
    wake_up = constants.wake_up_seconds
    full_after, steps = full / rate, range(STEPS)
    if full_after <= settings.max_age_seconds:
        cycle = math.ceil(full_after / wake_up - 1e-9) * wake_up
    else:
        dues = [min(full_after, settings.max_age_seconds + (step + 0.5) / STEPS / rate) for step in steps]
        cycle = sum([math.ceil(due / wake_up - 1e-9) for due in dues]) * wake_up / STEPS
    files = min(rate * cycle, settings.max_files)
    taken = _load_seconds(files, files * ingestion.file_bytes, constants)
    if taken > cycle:
        # It never rests: what came during one load is the next.
        slope = constants.copy_seconds_per_file + ingestion.file_bytes / constants.copy_bytes_per_second
        cycle = constants.copy_base_seconds / (1 - rate * slope) if rate * slope < 1 else math.inf
        files = min(rate * cycle, settings.max_files)
        taken = _load_seconds(files, files * ingestion.file_bytes, constants)
    return Loading(cycle, taken, files)


def _load_seconds(files: float, size: float, constants: Constants) -> float:
    return (
        constants.copy_base_seconds + files * constants.copy_seconds_per_file + size / constants.copy_bytes_per_second
    )


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
    """Put a day together."""
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


def _requests(file_bytes: float, part_size: int) -> float:
    """How many requests one upload takes."""
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
