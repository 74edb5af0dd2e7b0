"""`fastetl demo`: everything once, on this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastetl.cli.options import command
from fastetl.cli.output import echo_json, tell, write_table

if TYPE_CHECKING:
    from fastetl.local.demonstration import Demonstrated

SHOWN = 10
"""Differences that are shown."""

warehouse_option = click.option(
    "--warehouse", type=click.Choice(["duckdb", "postgres"]), default="duckdb", show_default=True,
    help="The database that stands in for Redshift.",
)  # fmt: skip

EXPLAINED = {
    "changes": "records that DynamoDB's stream delivered: inserts, updates and deletes",
    "files": "objects on S3 that the ingest function wrote",
    "batches": "loads, each one transaction with COPY and MERGE",
    "repeated_deliveries": "batches that the stream delivered again on purpose, as Lambda may",
    "rejects": "records that no column can hold: one flight's tail number had a NUL character",
    "rows_in_mirror": "flights that the table has now; the deleted ones are gone",
    "rows_in_log": "every change once, without the reject",
}

NEXT = """\
What to type next:
  fastetl init                      writes a configuration for a table of yours
  fastetl local                     leaves AWS and fastetl running here, for your own items
  README.md, "Try it"               shows both, and how to add a column"""


@command("demo", extra="local")
@click.option(
    "--flights",
    type=click.IntRange(100, 336_776),
    default=17_000,
    show_default=True,
    metavar="NUMBER",
    help="How many flights are written.",
)
@warehouse_option
@click.option(
    "--config", "-c", type=click.Path(path_type=Path), metavar="FILE",
    help="A configuration for the table `flights`, instead of the demonstration's own.",
)  # fmt: skip
def demo(flights: int, warehouse: Any, config: Path | None, *, as_json: bool) -> None:
    """It takes a minute and touches no AWS account. Exit code 1 says that source and warehouse differ."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from fastetl.cli.configuration import read_text
    from fastetl.local.demonstration import demo_config, demonstrate

    text = demo_config() if config is None else read_text(config)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def advance(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(phase)
            progress.update(tasks[phase], completed=done, total=total)

        done = asyncio.run(demonstrate(text, flights, warehouse, advance))
    if as_json:
        echo_json(done)
    else:
        _show(done)
    if not (done.mirror_equals_source and done.log_has_each_event_once):
        raise click.exceptions.Exit(1)


def _show(done: Demonstrated) -> None:
    for name, meaning in EXPLAINED.items():
        click.echo(f"{getattr(done, name):>8,}  {name.replace('_', ' '):<20}{meaning}")
    if done.answer:
        click.echo("\nFrom where most flights were booked (Geo-IP has added that), and their delay in minutes:\n")
        write_table(list(done.answer[0]), [list(row.values()) for row in done.answer])
    for difference in done.differences[:SHOWN]:
        tell(f"{'/'.join(difference.key)} {difference.column}: {difference.detail}", colour="red")
    click.echo()
    for question, holds in (
        ("mirror equals source", done.mirror_equals_source),
        ("log has each event once", done.log_has_each_event_once),
    ):
        click.secho(f"{question}: {'yes' if holds else 'NO'}", fg="green" if holds else "red")
    click.echo(f"after {done.seconds:,} seconds\n\n{NEXT}")
