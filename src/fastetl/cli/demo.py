"""`fastetl demo`: everything once, on this machine."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastetl.cli.options import command
from fastetl.cli.output import echo_json, tell, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastetl.local.demonstration import Advance, Demonstrated
    from fastetl.local.single_table import SingleTableDemonstrated

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
  fastetl demo --single-table       carries a table of several kinds of items to a table for each
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
@click.option(
    "--single-table", is_flag=True,
    help="The second part: a shop's items of several kinds in one table, each kind in a table of its own.",
)  # fmt: skip
@click.option(
    "--customers", type=click.IntRange(2, 10_000), default=400, show_default=True, metavar="NUMBER",
    help="How many the shop has, with --single-table.",
)  # fmt: skip
def demo(
    flights: int, warehouse: Any, config: Path | None, customers: int, *, single_table: bool, as_json: bool
) -> None:
    """It takes a minute and touches no AWS account. Exit code 1 says that source and warehouse differ."""
    if single_table:
        _demonstrate_single_table(customers, warehouse, as_json=as_json)
        return
    from fastetl.cli.configuration import read_text
    from fastetl.local.demonstration import demo_config, demonstrate

    text = demo_config() if config is None else read_text(config)
    with _show_progress() as advance:
        done = asyncio.run(demonstrate(text, flights, warehouse, advance))
    if as_json:
        echo_json(done)
    else:
        _show(done)
    if not (done.mirror_equals_source and done.log_has_each_event_once):
        raise click.exceptions.Exit(1)


@contextlib.contextmanager
def _show_progress() -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def advance(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(phase)
            progress.update(tasks[phase], completed=done, total=total)

        yield advance


def _demonstrate_single_table(customers: int, warehouse: Any, *, as_json: bool) -> None:
    from fastetl.local.single_table import demonstrate_single_table

    with _show_progress() as advance:
        done = asyncio.run(demonstrate_single_table(customers, warehouse, advance))
    if as_json:
        echo_json(done)
    else:
        _show_tables(done)
    if not all(each.is_equal for each in done.tables):
        raise click.exceptions.Exit(1)


def _show_tables(done: SingleTableDemonstrated) -> None:
    click.echo(f"{done.changes:,} changes of one table; {done.moved:,} carts became orders meanwhile.\n")
    rows = [[each.table, f"{each.rows:,}", f"{each.expected:,}"] for each in done.tables]
    write_table(["table", "rows", "expected from the items"], rows)
    equal = all(each.is_equal for each in done.tables)
    click.echo()
    click.secho(f"each table equals the items of its kind: {'yes' if equal else 'NO'}", fg="green" if equal else "red")
    click.echo(f"after {done.seconds:,} seconds\n\n{NEXT}")


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
