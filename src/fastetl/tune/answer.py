"""What `fastetl tune` answers: proposals beside the current setting, as data and as lines to copy. Pure."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING

import msgspec

from fastetl.tune.awake import Awake
from fastetl.tune.calibrate import Calibration
from fastetl.tune.model import MIB, Measured, Settings, Workload, duration
from fastetl.tune.prediction import Prediction
from fastetl.tune.search import Goal, Proposals, part_size_matters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastetl.config import Pipeline
    from fastetl.tune.prices import Book
    from fastetl.tune.saved import Saved

POWER_TUNING_URL = "https://lambda-power-tuning.show/#"
"""AWS Lambda Power Tuning's page; what follows stays in the browser."""

_REGION_OF_ARN = 3
"""Its place among the parts."""

TEMPLATE_DEFAULTS = {"memory_mb": 1769, "batch_size": 10_000, "window_seconds": 60.0, "parallelization": 1}
"""Of `template.yaml`'s parameters IngestMemory, BatchSize, BatchingWindow, ParallelizationFactor."""


class Answer(msgspec.Struct, frozen=True):
    """Everything that was found; `--json` writes exactly this, and the report holds it."""

    pipeline: str
    measured_with: str
    measured: tuple[Measured, ...]
    workload: Workload
    goal: Goal
    current: Prediction
    cheapest: Prediction
    balanced: Prediction
    fastest: Prediction
    frontier: tuple[Prediction, ...]
    looked_at: int
    power_tuning_url: str
    configuration: str
    """The balanced proposal's lines for `fastetl.toml`."""
    parameters: str
    """And its parameters for `sam deploy`."""
    prices_of: str
    """Where and when the prices are from."""
    notes: tuple[str, ...] = ()
    """What limits the answer, in words."""
    calibration: Calibration | None = None
    awake: Awake | None = None
    """Of the warehouse, with the current settings and the pipelines beside."""

    @property
    def rows(self) -> dict[str, Prediction]:
        """The settings that are compared, by their names."""
        return {
            "current": self.current,
            "cheapest": self.cheapest,
            "balanced": self.balanced,
            "fastest": self.fastest,
        }


def current_settings(
    pipeline: Pipeline,
    memory_mb: int = 0,
    batch_size: int = 0,
    window_seconds: float = -1,
    parallelization: int = 0,
) -> Settings:
    """Give what the configuration says, and the template's defaults where nothing else is given.

    Args:
        pipeline: its file and load settings.
        memory_mb: of the function; 0 for the template's.
        batch_size: in records; 0 for the template's.
        window_seconds: of batching; -1 for the template's.
        parallelization: invocations for each shard at once; 0 for the template's.
    """
    return Settings(
        memory_mb=memory_mb or int(TEMPLATE_DEFAULTS["memory_mb"]),
        batch_size=batch_size or int(TEMPLATE_DEFAULTS["batch_size"]),
        window_seconds=TEMPLATE_DEFAULTS["window_seconds"] if window_seconds < 0 else window_seconds,
        parallelization=parallelization or int(TEMPLATE_DEFAULTS["parallelization"]),
        part_size=pipeline.file.part_size_bytes,
        max_bytes=pipeline.load.max_bytes,
        max_age_seconds=pipeline.load.max_age_seconds,
        compression=pipeline.file.compression,
        max_files=pipeline.load.max_files,
    )


def build_answer(
    pipeline: Pipeline,
    saved: Saved,
    workload: Workload,
    goal: Goal,
    current: Prediction,
    proposals: Proposals,
    book: Book,
    calibration: Calibration | None,
    awake: Awake | None = None,
) -> Answer:
    """Put what was measured, predicted and proposed together.

    Args:
        pipeline: that was measured.
        saved: what was measured.
        workload: rate, hours and shards.
        goal: freshness and margin.
        current: of the running settings.
        proposals: of the search.
        book: of prices and constants.
        calibration: by a real log; None without one.
        awake: when the warehouse is awake, with the current settings.
    """
    measured = saved.measured
    return Answer(
        pipeline=pipeline.name,
        measured_with=saved.measured_with,
        measured=measured,
        workload=workload,
        goal=goal,
        current=current,
        cheapest=proposals.cheapest,
        balanced=proposals.balanced,
        fastest=proposals.fastest,
        frontier=proposals.frontier,
        looked_at=proposals.looked_at,
        power_tuning_url=_power_tuning_url(measured[0], proposals.balanced, book),
        configuration=write_configuration(pipeline, proposals.balanced.settings),
        parameters=write_parameters(proposals.balanced.settings),
        prices_of=f"{book.region}, {book.priced_on}",
        notes=tuple(_notes(pipeline, saved, goal, current, proposals, calibration, book)),
        calibration=calibration,
        awake=awake,
    )


def _notes(
    pipeline: Pipeline,
    saved: Saved,
    goal: Goal,
    current: Prediction,
    proposals: Proposals,
    calibration: Calibration | None,
    book: Book,
) -> Iterator[str]:
    """Say what limits the answer."""
    missed = []
    if current.fresh_p99 > goal.freshness_seconds:
        missed.append(f"99 of 100 changes take {current.fresh_p99:,.0f} s, not {goal.freshness_seconds:,.0f} s")
    if current.margin < goal.margin:
        missed.append(f"it carries {current.margin:.1f} times the busiest hour's rate, not {goal.margin:g} times")
    if missed:
        cheaper = " That is why it costs less than the cheapest." * (current.dollars < proposals.cheapest.dollars)
        yield f"The current setting misses what was asked: {'; '.join(missed)}.{cheaper}"
    yield f"AWS prices of {book.region}, {book.priced_on}, without free tiers; elsewhere, give --prices."
    own = pipeline.stream_arn.split(":")
    if len(own) > _REGION_OF_ARN and own[_REGION_OF_ARN] != book.region:
        yield f"The stream is in {own[_REGION_OF_ARN]}, whose prices these are not."
    if not calibration:
        yield "S3, ledger and Redshift take estimated times: --calibrate and --prices make them yours."
        if book.architecture == "arm64" and saved.machine == "x86_64":
            yield "arm64 is priced with CPU time that was measured on x86_64; --calibrate says what it is there."
    if not part_size_matters(saved.measured, book):
        yield "part_size has no influence: every file is smaller than a part can be, and goes up in one request."


def write_configuration(pipeline: Pipeline, settings: Settings) -> str:
    """Give the lines of `fastetl.toml`, in the pipeline's own table; the part's size only where it is another."""
    part = (
        f'part_size = "{settings.part_size // MIB} MiB"\n'
        if settings.part_size != pipeline.file.part_size_bytes
        else ""
    )
    return (
        f'# in [[pipelines]] name = "{pipeline.name}"\n'
        "[pipelines.file]\n"
        f'compression = "{settings.compression}"\n'
        f"{part}\n"
        "[pipelines.load]\n"
        f'max_bytes = "{settings.max_bytes // MIB} MiB"\n'
        f'max_age = "{settings.max_age_seconds}s"\n'
    )


def write_parameters(settings: Settings) -> str:
    """Give the template's parameters as `sam deploy` takes them."""
    return (
        f"IngestMemory={settings.memory_mb} BatchSize={settings.batch_size} "
        f"BatchingWindow={settings.window_seconds:g} ParallelizationFactor={settings.parallelization}"
    )


_MEMORIES_MB = (128, 192, 256, 384, 512, 768, 1024, 1280, 1536, 1769, 2560, 3538)


def _power_tuning_url(measured: Measured, chosen: Prediction, book: Book) -> str:
    """Encode sizes as int16, milliseconds and dollars as float32, little-endian, in base64."""
    sample = measured.at(chosen.records_per_invocation)
    sizes = [memory for memory in _MEMORIES_MB if memory >= sample.memory_mb]
    seconds = [duration(sample, memory, book.constants) for memory in sizes]
    dollars = [taken * memory / 1024 * book.gb_second for taken, memory in zip(seconds, sizes, strict=True)]
    fields = (
        struct.pack(f"<{len(sizes)}h", *sizes),
        struct.pack(f"<{len(sizes)}f", *(taken * 1000 for taken in seconds)),
        struct.pack(f"<{len(sizes)}f", *dollars),
    )
    return POWER_TUNING_URL + ";".join(base64.b64encode(field).decode() for field in fields)
