"""`fastetl tune` and `fastetl cost`: what settings cost and give, measured with the user's own records."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.progress import Progress
from rich.table import Table

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
from fastetl.config_reading import parse_seconds
from fastetl.errors import ConfigError, EventError, Problem
from fastetl.lambdas.environment import open_clients
from fastetl.source import SourceTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.config import Pipeline
    from fastetl.tune.calibrate import Calibration
    from fastetl.tune.model import Measured, Workload
    from fastetl.tune.prices import Book
    from fastetl.tune.records import Record

SAMPLED = 1000
"""Items read from a table."""
CALIBRATED_LINES = 10_000
"""Of a function's log, at most."""

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


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(tune)
    app.command()(cost)


class _Saved(msgspec.Struct, frozen=True):
    """What `--save` writes."""

    pipeline: str
    measured_with: str
    item_bytes: float
    measured: tuple[Any, ...]


def tune(
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
    rate: Rate = "100/s",
    freshness: Annotated[str, typer.Option(help="99 of 100 changes are in the warehouse within this time.")] = "15m",
    profile: ProfileName = "flat",
    shards: Shards = 0,
    margin: Annotated[float, typer.Option(min=1, help="Times the busiest hour's rate that must be carried.")] = 1.5,
    event: EventFile = None,
    table: TableName = "",
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
    as_json: AsJson = False,
) -> None:
    """Find the cheapest, the fastest and a balanced setting for a rate, by measuring the function on this machine."""
    from fastetl.tune import answer, model, report  # noqa: PLC0415 - the `local` extra
    from fastetl.tune.search import Goal, NothingKeepsUpError, search  # noqa: PLC0415

    chosen = choose_pipeline(read_config(config, offline=True), pipeline)
    book = _read_book(prices, architecture)
    workload, goal = _workload(rate, profile, shards, None, book), Goal(_seconds("--freshness", freshness), margin)
    saved = _load(measured) if measured else _measure(config, chosen, event, table, compressions.split(","))
    if save:
        save.write_bytes(msgspec.json.encode(saved))
    workload = _workload(rate, profile, shards, saved.item_bytes, book)
    found: tuple[Measured, ...] = saved.measured
    calibration = _calibrate(calibrate, config, found[0], book) if calibrate else None
    if calibration:
        constants = msgspec.structs.replace(book.constants, cpu_factor=calibration.cpu_factor)
        book = msgspec.structs.replace(book, constants=constants)
    try:
        proposals = search(found, workload, goal, book)
    except NothingKeepsUpError as error:
        raise ConfigError((Problem("tune", str(error), "Ask for less, or change what is in the way"),)) from None
    settings = answer.current_settings(chosen, memory, batch_size, window)
    by_compression = {one.compression: one for one in found}
    current = model.predict(by_compression.get(settings.compression, found[0]), settings, workload, book)
    told = answer.build_answer(
        chosen, saved.measured_with, found, workload, goal, current, proposals, book, calibration
    )
    if html:
        html.write_text(report.build_page(told), encoding="utf-8")
    if as_json:
        echo_json(told)
        return
    shown = Table(*("", *told.rows), title=f"{chosen.name}: {workload.rate:,g} changes a second", header_style="bold")
    columns = [report.write_row(name, prediction) for name, prediction in told.rows.items()]
    for row in zip(report.COLUMNS[1:], *(column[1:] for column in columns), strict=True):
        shown.add_row(*row)
    results.print(shown, _money(told.rows, per_day=True))
    if calibration:
        results.print(
            f"{calibration.invocations} real invocations: {calibration.real_seconds * 1000:,.0f} ms, predicted "
            f"{calibration.predicted_seconds * 1000:,.0f} ms; CPU factor {calibration.cpu_factor:.2f}", highlight=False
        )  # fmt: skip
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
    prices: PricesFile = None,
    architecture: Architecture = "",
    measured: MeasuredFile = None,
    memory: Memory = 0,
    batch_size: BatchSize = 0,
    window: Window = -1,
    table_gb: Annotated[float, typer.Option(min=0, help="Size of the table, for what zero-ETL needs.")] = 0,
    distinct: Annotated[
        float, typer.Option(min=0, max=1, help="Share of changes that are an item's first of a month.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Explain what the running configuration costs a month, service by service, and what others would."""
    from fastetl.tune import answer, model, others  # noqa: PLC0415 - the `local` extra

    chosen = choose_pipeline(read_config(config, offline=True), pipeline)
    book = _read_book(prices, architecture)
    _workload(rate, profile, shards, None, book)
    saved = _load(measured) if measured else _measure(config, chosen, event, table, [])
    workload = _workload(rate, profile, shards, saved.item_bytes, book)
    settings = answer.current_settings(chosen, memory, batch_size, window)
    predicted = model.predict(saved.measured[0], settings, workload, book)
    elsewhere = others.compare(workload, saved.item_bytes, table_gb, distinct, book)
    if as_json:
        echo_json({"fastetl": predicted, "others": elsewhere})
        return
    results.print(_money({chosen.name: predicted}, per_day=False))
    results.print(
        f"{predicted.loads_per_day:,.0f} loads a day, 99 of 100 changes fresh within {predicted.fresh_p99:,.0f} s. "
        f"AWS prices of {_priced_on()}, us-east-1, without free tiers.", highlight=False
    )  # fmt: skip
    shown = Table("by list price", "$ a month", "but", header_style="bold")
    for other in elsewhere:
        shown.add_row(other.name, f"{other.dollars_per_month:,.2f}", other.remark)
    results.print(shown)


def _money(rows: dict[str, Any], *, per_day: bool) -> Table:
    """Show where the money goes."""
    days = 1 if per_day else 30
    shown = Table("$ a day" if per_day else "$ a month", *rows, header_style="bold")
    for service in next(iter(rows.values())).dollars_per_day:
        shown.add_row(service, *(f"{each.dollars_per_day[service] * days:,.2f}" for each in rows.values()))
    shown.add_row("in all", *(f"{each.dollars * days:,.2f}" for each in rows.values()), style="bold")
    return shown


def _read_book(path: Path | None, architecture: str) -> Book:
    from fastetl.tune.prices import read_book  # noqa: PLC0415

    book = read_book(path)
    if architecture not in {"", "arm64", "x86_64"}:
        raise ConfigError((Problem("--architecture", f"{architecture!r} is none", "Choose arm64 or x86_64"),))
    return msgspec.structs.replace(book, architecture=architecture) if architecture else book


def _priced_on() -> str:
    from fastetl.tune.prices import PRICED_ON  # noqa: PLC0415

    return PRICED_ON


def _workload(rate: str, profile: str, shards: int, item_bytes: float | None, book: Book) -> Workload:
    from fastetl.tune.model import Workload  # noqa: PLC0415

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


def _load(path: Path) -> _Saved:
    from fastetl.tune.model import Measured  # noqa: PLC0415

    try:
        saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
        return msgspec.structs.replace(saved, measured=msgspec.convert(saved.measured, tuple[Measured, ...]))
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError((Problem(str(path), str(error), "Write it anew with `fastetl tune --save`"),)) from None


def _measure(config: Path, pipeline: Pipeline, event: Path | None, table: str, compressions: Sequence[str]) -> _Saved:
    from fastetl.tune import measure as measuring  # noqa: PLC0415
    from fastetl.tune.records import EventCutter, describe  # noqa: PLC0415

    if unknown := set(compressions) - {"gzip", "zstd", "none", ""}:
        problem = Problem("--compressions", f"{', '.join(unknown)}: unknown", "Choose from gzip, zstd and none")
        raise ConfigError((problem,))
    records = _records(pipeline, event, table)
    problems.print(f"measuring with {describe(records)}", markup=False, highlight=False)
    with Progress(console=problems, transient=True) as progress:
        task = progress.add_task("starting", total=1.0)

        async def run() -> Measured:
            async with measuring.Bench(read_text(config), root=config.parent) as bench:
                return await measuring.measure(
                    bench, pipeline, records, lambda what, done: progress.update(task, description=what, completed=done)
                )

        found = [asyncio.run(run())]
        for compression in compressions:
            if compression not in {"", pipeline.file.compression}:
                progress.update(task, description=compression, completed=0.95)
                found.append(measuring.with_compression(found[0], pipeline, records, compression, time.process_time))
    size = len(EventCutter(pipeline, records).cut(len(records))) / len(records)
    return _Saved(pipeline.name, describe(records), size, tuple(found))


def _records(pipeline: Pipeline, event: Path | None, table: str) -> list[Record]:
    from fastetl.tune.records import make_up_items, read_records, records_of_items  # noqa: PLC0415

    if event:
        try:
            return read_records(event.read_bytes())
        except OSError as error:
            raise EventError(f"{event}: {error.strerror}; name another with --event") from None
    if not table:
        return records_of_items(pipeline, make_up_items(pipeline))

    async def sample() -> list[Record]:
        from fastetl.config import Config  # noqa: PLC0415

        (client,) = await open_clients(Config("", "", ()), "dynamodb")
        async with client:
            return await SourceTable(client, table).sample(SAMPLED)

    items = asyncio.run(sample())
    if not items:
        raise EventError(f"table {table} has no items to measure with; give --event, or neither")
    return records_of_items(pipeline, items)


def _calibrate(log_group: str, config: Path, measured: Measured, book: Book) -> Calibration | None:
    from fastetl.tune.calibrate import LEAST, calibrate, read_invocations  # noqa: PLC0415

    lines = asyncio.run(_read_log(log_group, config))
    found = calibrate(measured, read_invocations(lines), book.constants)
    if found is None:
        problems.print(f"{log_group} has fewer than {LEAST} invocations to learn from; nothing is corrected")
    return found


async def _read_log(log_group: str, config: Path) -> list[str]:
    """Read the latest lines of a function's log that matter."""
    async with AsyncExitStack() as stack:
        (client,) = await open_clients(read_config(config, offline=True), "logs")
        await stack.enter_async_context(client)
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=log_group, filterPattern="?REPORT ?ingested", PaginationConfig={"MaxItems": CALIBRATED_LINES}
        )
        return [event["message"] async for page in pages for event in page["events"]]
