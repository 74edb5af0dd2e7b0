"""Model what an invocation takes, how Lambda cuts batches, and when the coordinator loads. Pure.

Measured: CPU, memory and bytes of the real handler at several batch sizes (`measure.Sample`). Modelled: what share of a
CPU memory buys, and how services behave (`prices.Constants`). Within an hour the rate is even, and the pipeline is in a
steady state; `prediction` puts a day of hours together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fastetl.tune.prices import Constants

HOUR = 3600.0
MIB = 1024 * 1024
STEPS = 10
"""How finely it is looked at when the first file of a load comes."""


class Sample(msgspec.Struct, frozen=True):
    """What one invocation of the real handler took, at one batch size; medians of several."""

    records: int
    event_bytes: int
    file_bytes: int
    cpu_seconds: float
    """User and system time of the function's process until its reply."""
    wall_seconds: float
    memory_mb: float
    """The process's peak so far."""
    spread: float = 0.0
    """Interquartile range of the CPU seconds, divided by their median."""


class Measured(msgspec.Struct, frozen=True):
    """Everything that was measured for one way of writing files."""

    compression: str
    samples: tuple[Sample, ...]
    """The measurements by rising batch size; at least two."""
    init_seconds: float
    """CPU time until the handler is ready."""

    def at(self, records: float) -> Sample:
        """Give what a batch of any size would take: between two measurements, or beyond them, on a straight line.

        Args:
            records: of the batch.
        """
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
    """Shards of the stream."""

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
    """Records of one invocation."""
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
    """Seconds from one load to the next."""
    load_seconds: float
    files: float
    """Files of one load."""


def cpu_share(memory_mb: float, constants: Constants) -> float:
    """Give the share of one CPU that a function's memory buys."""
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
