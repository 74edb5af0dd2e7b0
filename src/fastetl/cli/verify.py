"""`fastetl verify`: whether the mirror is what the table is, row by row."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.options import Finite, command, config_option, pipeline_option, yes_option
from fastetl.cli.output import echo_json, tell, write_count, write_duration, write_size

if TYPE_CHECKING:
    from fastetl.aws import Deployment
    from fastetl.operate import Verified

SETTLE_SECONDS = 420
"""The longest batching window of a mapping, 300 seconds (AWS Lambda API reference), and two minutes for ingest."""


@command("verify")
@config_option
@pipeline_option
@click.option(
    "--sample", type=Finite(min=0, max=100, min_open=True), default=100, show_default=True, metavar="PERCENT",
    help="Of the keys, always the same ones. The whole table is read all the same.",
)  # fmt: skip
@click.option(
    "--rate", type=Finite(min=0), default=0, show_default="no limit", metavar="UNITS",
    help="Read units a second at most.",
)  # fmt: skip
@click.option(
    "--settle", type=Finite(min=0), default=SETTLE_SECONDS, show_default=True, metavar="SECONDS",
    help="After which a change is in a file, where it is not known up to when everything is loaded.",
)  # fmt: skip
@click.option("--repair", is_flag=True, help="Carry the rows that differ over, and no others.")
@yes_option
def verify(
    config: Path, pipeline: str, sample: float, rate: float, settle: float, *, repair: bool, yes: bool, as_json: bool
) -> None:
    """Changes may flow meanwhile: what is only on its way does not count. Values are never shown.

    Exit code 1 says that rows differ, or that some could not be compared; with --repair, that some were not repaired.
    """
    from fastetl.cli.deployments import run

    async def work(one: Deployment) -> Verified:
        from fastetl.backfill import Throttle
        from fastetl.cli.enrichment import build_enricher
        from fastetl.operate import READ_UNITS_OF_A_DOLLAR, RowComparer

        enricher = await build_enricher(one.config, one.pipeline, config)

        def tell_wait(what: str, seconds: float) -> None:
            tell(f"{one.pipeline.name}: waiting, {write_duration(seconds)} at most, until {what}")

        comparer = RowComparer(one, enricher, settle_seconds=settle, on_wait=tell_wait)
        cost = await comparer.estimate()
        dollars = cost.read_units / READ_UNITS_OF_A_DOLLAR
        size = f"{write_count(cost.items, 'item')}, {write_size(cost.bytes)}"
        units = f"{write_count(cost.read_units, 'read unit')} (${dollars:,.2f} on demand)"
        tell(f"{cost.pipeline}: reading {size} takes about {units}, and one COPY of it")
        if not yes:
            await asyncio.to_thread(click.confirm, "Read it?", default=True, abort=True, err=True)
        throttle = Throttle(rate, time.time, asyncio.sleep)
        found = await comparer.verify(sample / 100, throttle.used)
        return await comparer.repair(found) if repair else found

    found = run(config, lambda deployments: work(deployments.choose(pipeline)))
    if as_json:
        echo_json(found)
    else:
        _tell(found)
    if found.undecided or found.unfit or found.is_cut or count_keys(found) > found.repaired:
        raise click.exceptions.Exit(1)


def count_keys(found: Verified) -> int:
    """Count the items whose rows differ, in one target or in several."""
    return len({each.key for each in found.differences})


def _tell(found: Verified) -> None:
    for each in found.differences:
        columns = f": {', '.join(each.columns)}" if each.columns else ""
        target = f"{each.target}: " if each.target else ""
        click.echo(f"{target}{each.key} {each.what}{columns}")
    sums = f"{write_count(found.items, 'item')} compared, {write_count(len(found.differences), 'difference')}"
    if found.repaired:
        sums += f", {found.repaired:,} repaired"
    is_left = count_keys(found) > found.repaired
    remedy = "; `fastetl verify --repair` carries these rows over" if is_left and not found.repaired else ""
    tell(f"{found.pipeline}: {sums}{remedy}", colour="red" if is_left else None)
    if found.unfit:
        tell(f"{write_count(found.unfit, 'item')} fit no row and were not compared: they are rejects", colour="yellow")
    if found.undecided:
        tell(f"{write_count(found.undecided, 'key')} went on changing: verify again", colour="yellow")
    if found.is_cut:
        tell("more rows differ than were looked at again: repair these, and verify again", colour="red")
    if found.waited_for == "settling":
        tell("it is not known up to when everything is loaded: --settle was waited for instead")
