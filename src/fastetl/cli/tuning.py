"""Read what `fastetl tune` and `fastetl cost` have in common: what is measured, at which rate, and for which prices."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from fastetl import tune
from fastetl.aws import Item, SourceTable, open_clients
from fastetl.cli.configuration import choose_pipeline, read_config, read_text
from fastetl.cli.output import tell
from fastetl.cli.tune import ASSUMED_RATE
from fastetl.config import Pipeline, parse_config, parse_seconds
from fastetl.errors import ConfigError, EventError, Problem

SAMPLED = 1000
"""Items read from a table."""

PROFILES = {
    "flat": (1.0,) * 24,
    # A shop's day: a fifth of the peak at night, the peak in the evening.
    "day": tuple(1 + 0.67 * math.sin((hour - 13) / 24 * 2 * math.pi) for hour in range(24)),
    "nightly": (0.5,) * 2 + (12.0,) + (0.5,) * 21,
}
"""How the rate changes over the hours of a day."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Asked:
    """What was asked for: a pipeline of the configuration, or a shape's; its records, its rate, its prices."""

    def __init__(
        self,
        *,
        config: Path,
        pipeline: str,
        rate: str,
        beside: tuple[str, ...],
        profile: str,
        shards: int,
        event: Path | None,
        table: str,
        shape: str | None,
        prices: Path | None,
        architecture: str | None,
        measured: Path | None,
        memory: int | None,
        batch_size: int | None,
        window: float | None,
        parallelization: int | None,
    ) -> None:
        self.event, self.table, self.measured = event, table, measured
        if shape:
            self.text, self.root = tune.write_shape(shape), Path()
            others = parse_config(self.text, {**os.environ, **tune.STAND_INS}).pipelines
            (self.pipeline,) = others
        else:
            read = read_config(config, offline=True)
            self.pipeline, others = choose_pipeline(read, pipeline), read.pipelines
            self.text, self.root = read_text(config), config.parent
        self.rate = _parse_rate(rate or _ask_for_rate())
        self._hours, self._shards = PROFILES[profile], shards
        self._beside = dict(_parse_beside(each, self.pipeline, others) for each in beside)
        self.book = tune.read_book(prices)
        if architecture:
            self.book = msgspec.structs.replace(self.book, architecture=architecture)
        self.current_settings = tune.current_settings(
            self.pipeline, memory or 0, batch_size or 0, -1 if window is None else window, parallelization or 0
        )

    def build_workload(self, item_bytes: float) -> tune.Workload:
        """Give what is to be carried; where no shards are given, as many as the busiest hour needs."""
        workload = tune.Workload(self.rate, self._hours, max(1, self._shards))
        if self._shards:
            return workload
        units = max(workload.hours) * math.ceil(item_bytes / 1024)
        shards = max(1, math.ceil(units / self.book.constants.shard_writes_per_second))
        return msgspec.structs.replace(workload, shards=shards)

    def predict_awake(self, measured: tune.Measured, workload: tune.Workload, book: tune.Book) -> tune.Awake:
        """Predict when the warehouse is awake: with this pipeline, and with those beside, whose changes are like its.

        Args:
            measured: of this pipeline.
            workload: of this pipeline.
            book: of prices and constants.
        """
        settings = self.current_settings
        members = [tune.build_member(self.pipeline.name, measured, settings, workload, book)]
        for name, (other, rate) in self._beside.items():
            load = other.load
            loading = msgspec.structs.replace(
                settings, max_bytes=load.max_bytes, max_age_seconds=load.max_age_seconds, max_files=load.max_files
            )
            beside = msgspec.structs.replace(workload, rate=rate, shards=1)
            members.append(tune.build_member(name, measured, loading, beside, book))
        return tune.predict_awake(members, self.pipeline.redshift, book)


def _parse_beside(text: str, pipeline: Pipeline, others: Sequence[Pipeline]) -> tuple[str, tuple[Pipeline, float]]:
    name, _, rate = text.partition("=")
    sharing = {
        each.name: each
        for each in others
        if each.name != pipeline.name and each.redshift.warehouse == pipeline.redshift.warehouse
    }
    if name not in sharing:
        named = ", ".join(sorted(sharing)) or "there is none"
        remedy = f"Write it like orders=10/s, with a pipeline of the same warehouse: {named}"
        raise ConfigError((Problem("--beside", f"{name!r} loads into no warehouse of {pipeline.name}", remedy),))
    return name, (sharing[name], _parse_rate(rate, "--beside"))


def _ask_for_rate() -> str:
    if sys.stdin.isatty() and sys.stderr.isatty():
        answer: str = click.prompt("How many changes, on the average", default=ASSUMED_RATE, err=True)
        return answer
    tell(f"assuming {ASSUMED_RATE}, that is 100 changes a second; give --rate for yours", colour="yellow")
    return ASSUMED_RATE


def _parse_rate(rate: str, option: str = "--rate") -> float:
    number, _, unit = rate.partition("/")
    try:
        found = float(number) / _UNITS[unit or "s"]
    except (ValueError, KeyError):
        found = math.nan
    if 0 < found < math.inf:
        return found
    raise ConfigError((Problem(option, f"{rate!r} is not a rate", "Write it like 500/s, 10/m or 2e6/d"),))


def parse_freshness(text: str) -> float:
    """Read a time in seconds.

    Raises:
        ConfigError: it is not one.
    """
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise ConfigError((Problem("--freshness", str(error), "Write it like 300, 90s or 15m"),)) from None


@contextmanager
def open_for_writing(option: str, path: Path | None) -> Iterator[TextIO | None]:
    """Open a file before any work is done, so that a wrong path is told at once; None where no path is given.

    Raises:
        ConfigError: it cannot be written.
    """
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        problem = Problem(option, f"{path} cannot be written: {error.strerror}", "Name another file")
        raise ConfigError((problem,)) from None
    with file:
        yield file


def read_or_measure(asked: Asked, compressions: Sequence[str]) -> tune.Saved:
    """Read what an earlier run has saved, or measure.

    Raises:
        ConfigError: the file cannot be read, or a compression is unknown.
        MeasuringError: the function failed.
    """
    if unknown := set(compressions) - {"gzip", "zstd", "none", ""}:
        problem = Problem("--compressions", f"{', '.join(unknown)}: unknown", "Choose from gzip, zstd and none")
        raise ConfigError((problem,))
    if asked.measured:
        return tune.read_saved(asked.measured)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        return _measure(asked, compressions, progress)


def _measure(asked: Asked, compressions: Sequence[str], progress: Progress) -> tune.Saved:
    pipeline, records = asked.pipeline, _read_records(asked)
    tell(f"measuring with {tune.describe(records)}")
    task = progress.add_task("starting", total=1.0)

    def advance(what: str, done: float) -> None:
        progress.update(task, description=what, completed=done)

    async def run() -> tune.Measured:
        async with tune.Bench(asked.text, root=asked.root) as bench:
            return await tune.measure_pipeline(bench, pipeline, records, advance)

    found = [asyncio.run(run())]
    for compression in compressions:
        if compression not in {"", pipeline.file.compression}:
            advance(compression, 0.95)
            found.append(tune.with_compression(found[0], pipeline, records, compression, time.process_time))
    return tune.Saved(
        pipeline=pipeline.name,
        measured_with=tune.describe(records),
        item_bytes=len(tune.EventCutter(pipeline, records).cut(len(records))) / len(records),
        measured=tuple(found),
        machine=platform.machine(),
    )


def _read_records(asked: Asked) -> list[tune.Record]:
    pipeline: Pipeline = asked.pipeline
    if asked.event:
        try:
            return tune.read_records(asked.event.read_bytes())
        except OSError as error:
            raise EventError(f"{asked.event}: {error.strerror}; name another with --event") from None
    if not asked.table:
        return tune.records_of_items(pipeline, tune.make_up_items(pipeline))
    items = asyncio.run(_sample(asked.table))
    if not items:
        raise EventError(f"table {asked.table} has no items to measure with; give --event, or neither")
    return tune.records_of_items(pipeline, items)


async def _sample(table: str) -> list[Item]:
    (client,) = await open_clients("dynamodb")
    async with client:
        return await SourceTable(client, table).sample(SAMPLED)
