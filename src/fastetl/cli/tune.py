"""`fastetl tune` and `fastetl cost`: what settings cost and give, measured with the user's own records."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import Progress

from fastetl.aws import FunctionLog, SourceTable, open_clients
from fastetl.cli.output import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    PipelineName,
    choose_pipeline,
    echo_json,
    problems,
    read_config,
    read_text,
    results,
)
from fastetl.config import parse_seconds
from fastetl.errors import ConfigError, EventError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.config import Pipeline
    from fastetl.tune import Book, Calibration, Measured, Record, Saved, Workload

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

Rate = Annotated[str, typer.Option(help="Changes on the average: like 500/s, 10/m or 2e6/d.")]
ProfileName = Annotated[str, typer.Option(help=f"The day's course: {', '.join(PROFILES)}.")]
Shards = Annotated[int, typer.Option(min=0, help="Of the stream; 0 works out how many the rate needs.")]
EventFile = Annotated[Path | None, typer.Option(help="Measure with this event's records.")]
TableName = Annotated[str, typer.Option(help="Measure with items of this DynamoDB table.")]
PricesFile = Annotated[Path | None, typer.Option(help="Prices and constants that differ; see fastetl/tune/prices.py.")]
Architecture = Annotated[str, typer.Option(help="arm64 or x86_64, as deployed.")]
MeasuredFile = Annotated[Path | None, typer.Option(help="Use what an earlier run has written with --save.")]
Memory = Annotated[int, typer.Option(help="The running setting: IngestMemory.")]
BatchSize = Annotated[int, typer.Option(help="The running setting: BatchSize.")]
Window = Annotated[float, typer.Option(help="The running setting: BatchingWindow, in seconds.")]
Parallelization = Annotated[int, typer.Option(min=0, max=10, help="The running setting: ParallelizationFactor.")]
ShapeName = Annotated[
    str, typer.Option(help="Measure with made-up items, without a configuration: flat, nested, tiny.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("tune")(find_settings)
    app.command()(cost)


def find_settings(
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
    rate: Rate = "100/s",
    freshness: Annotated[str, typer.Option(help="99 of 100 changes are in the warehouse within this time.")] = "15m",
    profile: ProfileName = "flat",
    shards: Shards = 0,
    margin: Annotated[float, typer.Option(min=1, help="Times the busiest hour's rate that must be carried.")] = 1.5,
    event: EventFile = None,
    table: TableName = "",
    shape: ShapeName = "",
    compressions: Annotated[str, typer.Option(help="To choose from, besides the configured one.")] = "gzip,zstd",
    prices: PricesFile = None,
    architecture: Architecture = "",
    calibrate: Annotated[str, typer.Option(help="Log group of the running ingest function, to learn from.")] = "",
    measured: MeasuredFile = None,
    save: Annotated[Path | None, typer.Option(help="Write down what was measured.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report, one page with charts.")] = None,
    memory: Memory = 0,
    batch_size: BatchSize = 0,
    window: Window = -1,
    parallelization: Parallelization = 0,
    as_json: AsJson = False,
) -> None:
    """Find the cheapest, the fastest and a balanced setting for a rate, by measuring the function on this machine."""
    from fastetl import tune  # noqa: PLC0415 - the `local` extra

    source = _Source(config, pipeline, event, table, shape)
    book = _read_book(prices, architecture)
    workload, goal = _workload(rate, profile, shards, None, book), tune.Goal(_seconds("--freshness", freshness), margin)
    saved = _read_or_measure(measured, source, compressions.split(","))
    if save:
        save.write_bytes(msgspec.json.encode(saved))
    workload = _workload(rate, profile, shards, saved.item_bytes, book)
    calibration = _calibrate(calibrate, saved.measured[0], book) if calibrate else None
    if calibration:
        book = msgspec.structs.replace(book, constants=calibration.correct(book.constants))
    settings = tune.current_settings(source.pipeline, memory, batch_size, window, parallelization)
    try:
        proposals = tune.find_proposals(saved.measured, workload, goal, book, settings)
    except tune.NothingKeepsUpError as error:
        raise ConfigError((Problem("tune", str(error), "Ask for less, or change what is in the way"),)) from None
    by_compression = {one.compression: one for one in saved.measured}
    current = tune.predict(by_compression.get(settings.compression, saved.measured[0]), settings, workload, book)
    told = tune.build_answer(source.pipeline, saved, workload, goal, current, proposals, book, calibration)
    if html:
        html.write_text(tune.build_page(told), encoding="utf-8")
    if as_json:
        echo_json(told)
        return
    for part in tune.show_answer(told):
        results.print(part, highlight=False, markup=False)
    results.print("\nThe balanced setting, for fastetl.toml and for `make deploy`:\n", highlight=False)
    typer.echo(f"{told.configuration}\n{told.parameters}\n\n{told.power_tuning_url}")


def cost(
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
    rate: Rate = "100/s",
    profile: ProfileName = "flat",
    shards: Shards = 0,
    event: EventFile = None,
    table: TableName = "",
    shape: ShapeName = "",
    prices: PricesFile = None,
    architecture: Architecture = "",
    measured: MeasuredFile = None,
    memory: Memory = 0,
    batch_size: BatchSize = 0,
    window: Window = -1,
    parallelization: Parallelization = 0,
    as_json: AsJson = False,
) -> None:
    """Explain what the running configuration costs a month, service by service."""
    from fastetl import tune  # noqa: PLC0415 - the `local` extra

    source = _Source(config, pipeline, event, table, shape)
    book = _read_book(prices, architecture)
    _workload(rate, profile, shards, None, book)
    saved = _read_or_measure(measured, source, [])
    workload = _workload(rate, profile, shards, saved.item_bytes, book)
    settings = tune.current_settings(source.pipeline, memory, batch_size, window, parallelization)
    predicted = tune.predict(saved.measured[0], settings, workload, book)
    if as_json:
        echo_json({"fastetl": predicted, "prices_of": f"{book.region}, {book.priced_on}"})
        return
    rows = {source.pipeline.name: predicted}
    results.print(tune.show_money("$ a month", rows, lambda _: tune.DAYS_PER_MONTH, digits=2))
    results.print(
        f"{predicted.loads_per_day:,.0f} loads and {predicted.cold_starts_per_day:,.0f} cold starts a day, 99 of 100 "
        f"changes fresh within {predicted.fresh_p99:,.0f} s. AWS prices of {book.region}, {book.priced_on}, without "
        "free tiers; elsewhere, give --prices.",
        highlight=False,
    )


class _Source:
    """What is measured: a pipeline of the configuration, or a shape's; and where its records come from."""

    def __init__(self, config: Path, pipeline: str, event: Path | None, table: str, shape: str) -> None:
        from fastetl.config import parse_config  # noqa: PLC0415
        from fastetl.tune import (  # noqa: PLC0415
            SHAPES,
            STAND_INS,
            write_shape,
        )

        self.event, self.table = event, table
        if not shape:
            self.pipeline = choose_pipeline(read_config(config, offline=True), pipeline)
            self.text, self.root = read_text(config), config.parent
            return
        if shape not in SHAPES:
            raise ConfigError((Problem("--shape", f"{shape!r} is none", f"Choose one of {', '.join(SHAPES)}"),))
        self.text, self.root = write_shape(shape), Path()
        (self.pipeline,) = parse_config(self.text, {**os.environ, **STAND_INS}).pipelines


def _read_book(path: Path | None, architecture: str) -> Book:
    from fastetl.tune import read_book  # noqa: PLC0415

    book = read_book(path)
    if architecture not in {"", "arm64", "x86_64"}:
        raise ConfigError((Problem("--architecture", f"{architecture!r} is none", "Choose arm64 or x86_64"),))
    return msgspec.structs.replace(book, architecture=architecture) if architecture else book


def _workload(rate: str, profile: str, shards: int, item_bytes: float | None, book: Book) -> Workload:
    from fastetl.tune import Workload  # noqa: PLC0415

    per_second, found = _per_second(rate), []
    if per_second is None:
        found.append(Problem("--rate", f"{rate!r} is no rate", "Write it like 500/s, 10/m or 2e6/d"))
    if profile not in PROFILES:
        found.append(Problem("--profile", f"{profile!r} is none", f"Choose one of {', '.join(PROFILES)}"))
    if per_second is None or found:
        raise ConfigError(tuple(found))
    workload = Workload(per_second, PROFILES[profile], max(1, shards))
    if shards or item_bytes is None:
        return workload
    units = max(workload.hours) * math.ceil(item_bytes / 1024)
    return msgspec.structs.replace(workload, shards=max(1, math.ceil(units / book.constants.shard_writes_per_second)))


def _per_second(rate: str) -> float | None:
    number, _, unit = rate.partition("/")
    try:
        found = float(number) / _UNITS[unit or "s"]
    except (ValueError, KeyError):
        return None
    return found if 0 < found < math.inf else None


def _seconds(option: str, text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise ConfigError((Problem(option, str(error), "Write it like 300, 90s or 15m"),)) from None


def _read_or_measure(path: Path | None, source: _Source, compressions: Sequence[str]) -> Saved:
    from fastetl.tune import read_saved  # noqa: PLC0415

    if unknown := set(compressions) - {"gzip", "zstd", "none", ""}:
        problem = Problem("--compressions", f"{', '.join(unknown)}: unknown", "Choose from gzip, zstd and none")
        raise ConfigError((problem,))
    if path:
        return read_saved(path)
    with Progress(console=problems, transient=True) as progress:
        return _measure(source, compressions, progress)


def _measure(source: _Source, compressions: Sequence[str], progress: Progress) -> Saved:
    from fastetl.tune import (  # noqa: PLC0415  # noqa: PLC0415
        Bench,
        EventCutter,
        Saved,
        describe,
        measure_pipeline,
        with_compression,
    )

    pipeline, records = source.pipeline, _records(source.pipeline, source.event, source.table)
    problems.print(f"measuring with {describe(records)}", markup=False, highlight=False)
    task = progress.add_task("starting", total=1.0)

    def tell(what: str, done: float) -> None:
        progress.update(task, description=what, completed=done)

    async def run() -> Measured:
        async with Bench(source.text, root=source.root) as bench:
            return await measure_pipeline(bench, pipeline, records, tell)

    found = [asyncio.run(run())]
    for compression in compressions:
        if compression not in {"", pipeline.file.compression}:
            tell(compression, 0.95)
            found.append(with_compression(found[0], pipeline, records, compression, time.process_time))
    return Saved(
        pipeline=pipeline.name,
        measured_with=describe(records),
        item_bytes=len(EventCutter(pipeline, records).cut(len(records))) / len(records),
        measured=tuple(found),
        machine=platform.machine(),
    )


def _records(pipeline: Pipeline, event: Path | None, table: str) -> list[Record]:
    from fastetl.tune import make_up_items, read_records, records_of_items  # noqa: PLC0415

    if event:
        try:
            return read_records(event.read_bytes())
        except OSError as error:
            raise EventError(f"{event}: {error.strerror}; name another with --event") from None
    if not table:
        return records_of_items(pipeline, make_up_items(pipeline))

    async def sample() -> list[Record]:
        (client,) = await open_clients("dynamodb")
        async with client:
            return await SourceTable(client, table).sample(SAMPLED)

    items = asyncio.run(sample())
    if not items:
        raise EventError(f"table {table} has no items to measure with; give --event, or neither")
    return records_of_items(pipeline, items)


def _calibrate(log_group: str, measured: Measured, book: Book) -> Calibration | None:
    from fastetl.tune import LEAST_INVOCATIONS, build_calibration, read_invocations  # noqa: PLC0415

    found = build_calibration(measured, read_invocations(asyncio.run(_read_log(log_group))), book.constants)
    if found is None:
        problems.print(
            f"{log_group} has fewer than {LEAST_INVOCATIONS} invocations to learn from; nothing is corrected"
        )
    return found


async def _read_log(log_group: str) -> list[str]:
    from fastetl.tune import LOG_FILTER  # noqa: PLC0415

    (client,) = await open_clients("logs")
    async with client:
        return await FunctionLog(client, log_group).latest_lines(LOG_FILTER, clock=time.time)
