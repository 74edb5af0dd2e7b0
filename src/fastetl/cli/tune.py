"""`fastetl tune`: settings for a rate and a freshness, measured with the user's own records."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastetl.cli.options import Finite, command, config_option, pipeline_option
from fastetl.cli.output import echo_json, tell

if TYPE_CHECKING:
    from fastetl.tune import Book, Calibration, Measured, Saved

MEMORY_MB, BATCH_SIZE, WINDOW_SECONDS, PARALLELIZATION = (256, 10_240), (1, 10_000), (0, 300), (1, 10)
"""What a function and its mapping can have: the ranges of `template.yaml`'s parameters."""

ASSUMED_RATE = "100/s"

source_options = (
    config_option,
    pipeline_option,
    click.option("--rate", default="", metavar="RATE", help="Changes on the average: like 500/s, 10/m or 2e6/d."),
    click.option(
        "--beside", multiple=True, metavar="NAME=RATE",
        help="Another pipeline of the same warehouse and its rate; may be given again and again.",
    ),
    click.option(
        "--profile", type=click.Choice(["flat", "day", "nightly"]), default="flat", show_default=True,
        help="How the rate changes over the hours of a day.",
    ),
    click.option(
        "--shards", type=click.IntRange(0), default=0, show_default="as many as the rate needs", metavar="NUMBER",
        help="Shards of the stream.",
    ),
    click.option("--event", type=click.Path(path_type=Path), metavar="FILE", help="Measure with this event's records."),
    click.option("--table", default="", metavar="NAME", help="Measure with items of this DynamoDB table."),
    click.option(
        "--shape", type=click.Choice(["flat", "nested", "tiny"]),
        help="Measure with made-up items, without a configuration.",
    ),
    click.option(
        "--prices", type=click.Path(path_type=Path), metavar="FILE",
        help="A TOML file with prices and constants that differ; fastetl/tune/prices.py has their names.",
    ),
    click.option(
        "--architecture", type=click.Choice(["arm64", "x86_64"]), show_default="arm64",
        help="Of the deployed functions.",
    ),
    click.option(
        "--measured", type=click.Path(path_type=Path), metavar="FILE", help="Use what an earlier run saved with --save."
    ),
    click.option(
        "--memory", type=click.IntRange(*MEMORY_MB), metavar="MB", help="The running setting: IngestMemory."
    ),
    click.option(
        "--batch-size", type=click.IntRange(*BATCH_SIZE), metavar="RECORDS",
        help="The running setting: BatchSize.",
    ),
    click.option(
        "--window", type=Finite(*WINDOW_SECONDS), metavar="SECONDS",
        help="The running setting: BatchingWindow.",
    ),
    click.option(
        "--parallelization", type=click.IntRange(*PARALLELIZATION), metavar="NUMBER",
        help="The running setting: ParallelizationFactor.",
    ),
)  # fmt: skip
"""What is measured, and what it is compared with."""


def take_source_options(function: Any) -> Any:
    """Add the options that `tune` and `cost` share."""
    for option in reversed(source_options):
        function = option(function)
    return function


@command("tune", extra="local")
@take_source_options
@click.option(
    "--freshness",
    default="15m",
    show_default=True,
    metavar="TIME",
    help="99 of 100 changes are in the warehouse within this time: like 300, 90s or 15m.",
)
@click.option(
    "--margin",
    type=Finite(1, 1000),
    metavar="TIMES",
    default=1.5,
    show_default=True,
    help="Times the busiest hour's rate that must be carried.",
)
@click.option(
    "--compressions",
    default="gzip,zstd",
    show_default=True,
    metavar="LIST",
    help="To choose from, besides the configured one: gzip, zstd, none.",
)
@click.option(
    "--calibrate", default="", metavar="LOG_GROUP", help="Log group of the running ingest function, to learn from."
)
@click.option("--save", type=click.Path(path_type=Path), metavar="FILE", help="Write down what was measured.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the report, one page with charts.")
def tune(
    freshness: str,
    margin: float,
    compressions: str,
    calibrate: str,
    save: Path | None,
    html: Path | None,
    *,
    as_json: bool,
    **asked: Any,
) -> None:
    """It runs the ingest function on this machine with your records, and touches no deployed stack."""
    from rich.console import Console

    from fastetl import tune as tuner
    from fastetl.cli.tuning import Asked, open_for_writing, parse_freshness, read_or_measure
    from fastetl.errors import ConfigError, Problem

    source = Asked(**asked)
    goal = tuner.Goal(parse_freshness(freshness), margin)
    with open_for_writing("--save", save) as saving, open_for_writing("--html", html) as reporting:
        saved = read_or_measure(source, compressions.split(","))
        if saving:
            saving.write(tuner.write_saved(saved))
        book, workload, settings = source.book, source.build_workload(saved.item_bytes), source.current_settings
        calibration = _calibrate(calibrate, saved.measured[0], book) if calibrate else None
        if calibration:
            book = calibration.correct_book(book)
        try:
            proposals = tuner.find_proposals(saved.measured, workload, goal, book, settings)
        except tuner.NothingKeepsUpError as error:
            raise ConfigError((Problem("tune", str(error), "Ask for less, or change what is in the way"),)) from None
        current = tuner.predict(_pick(saved, settings.compression), settings, workload, book)
        awake = source.predict_awake(_pick(saved, settings.compression), workload, book)
        told = tuner.build_answer(source.pipeline, saved, workload, goal, current, proposals, book, calibration, awake)
        if reporting:
            reporting.write(tuner.build_page(told))
    if as_json:
        echo_json(told)
        return
    console = Console(width=None if sys.stdout.isatty() else 200)
    for part in tuner.show_answer(told):
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))
    click.echo("\nThe balanced setting, for fastetl.toml and for `make deploy`:\n")
    click.echo(f"{told.configuration}\n{told.parameters}\n\n{told.power_tuning_url}")


def _pick(saved: Saved, compression: str) -> Measured:
    return next((one for one in saved.measured if one.compression == compression), saved.measured[0])


def _calibrate(log_group: str, measured: Measured, book: Book) -> Calibration | None:
    from fastetl.tune import LEAST_INVOCATIONS, build_calibration, read_invocations

    found = build_calibration(measured, read_invocations(asyncio.run(_read_log(log_group))), book.constants)
    if found is None:
        tell(f"{log_group} has fewer than {LEAST_INVOCATIONS} invocations: nothing is corrected", colour="yellow")
    return found


async def _read_log(log_group: str) -> list[str]:
    from fastetl.aws import FunctionLog, open_clients
    from fastetl.tune import LOG_FILTER

    (client,) = await open_clients("logs")
    async with client:
        return await FunctionLog(client, log_group).latest_lines(LOG_FILTER, clock=time.time)
