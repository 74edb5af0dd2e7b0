"""`fastetl local`: AWS and a deployment of fastetl on this machine, left running; and SQL against its warehouse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastetl.cli.commands import SENTENCES
from fastetl.cli.demo import warehouse_option
from fastetl.cli.options import command, require
from fastetl.cli.output import echo_json, tell

if TYPE_CHECKING:
    from fastetl.local.stack import Embedded

AWS_PORT, DATA_API_PORT = 4566, 4567
WATCH_SECONDS = 0.5
UNLIMITED = 10_000
"""Columns of what is no terminal: nothing is wrapped there."""

port = click.IntRange(1, 65_535)


@click.group("local", help=SENTENCES["local"], invoke_without_command=True)
@click.option("--config", "-c", type=click.Path(path_type=Path), metavar="FILE", help="Default: the demonstration's.")
@warehouse_option
@click.option("--aws-port", type=port, default=AWS_PORT, show_default=True, help="Of DynamoDB, S3 and the rest.")
@click.option("--data-api-port", type=port, default=DATA_API_PORT, show_default=True, help="Of the warehouse.")
@click.pass_context
def local(ctx: click.Context, config: Path | None, warehouse: Any, aws_port: int, data_api_port: int) -> None:
    """Start everything on 127.0.0.1 and leave it running until Ctrl-C; prints how to reach it.

    When the configuration's file changes, the functions go on with what it says now.
    """
    if ctx.invoked_subcommand is not None:
        return
    require("local", ctx.command_path)
    from fastetl.cli.configuration import read_text
    from fastetl.local.demonstration import demo_config

    text = read_text(config) if config else demo_config()
    asyncio.run(_serve(text, warehouse, (aws_port, data_api_port), config))


async def _serve(text: str, warehouse: Any, ports: tuple[int, int], config: Path | None) -> None:
    from fastetl.cli.configuration import read_text
    from fastetl.errors import ConfigError
    from fastetl.local.stack import Embedded

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Embedded(text, warehouse=warehouse, ports=ports) as stack:
        await stack.create_tables()
        await stack.connect()
        for name, value in stack.environment.items():
            click.echo(f"export {name}={value}")
        tables = ", ".join(f"{pipeline.table} -> {pipeline.target}" for pipeline in stack.config.pipelines)
        tell(f"running: {tables}; end with Ctrl-C", colour="green")
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await stop.wait()
            changed = text
            if config:
                with contextlib.suppress(ConfigError):  # an editor is just writing it
                    changed = read_text(config)
            if changed != text:
                _deploy(stack, changed)
                text = changed


def _deploy(stack: Embedded, text: str) -> None:
    from fastetl.errors import ConfigError

    try:
        stack.deploy(text)
    except ConfigError as error:
        tell(f"the functions go on with the configuration before:\n{error}", colour="yellow")
    else:
        tell("the functions go on with the changed configuration", colour="green")


@command("sql", extra="local")
@click.argument("query")
@click.option(
    "--endpoint-url", envvar="AWS_ENDPOINT_URL_REDSHIFT_DATA", show_envvar=True, show_default=True,
    default=f"http://127.0.0.1:{DATA_API_PORT}", help="Where its Data API is.",
)  # fmt: skip
def sql(query: str, endpoint_url: str, *, as_json: bool) -> None:
    """Ask the warehouse of a running `fastetl local`. QUERY is one statement."""
    from fastetl.local.warehouse import query as ask

    if not query.strip(" ;\n"):
        raise click.BadParameter("the SQL is empty", param_hint="QUERY")
    names, rows = ask(query, endpoint_url)
    if as_json:
        echo_json([dict(zip(names, row, strict=True)) for row in rows])
    elif not names:
        tell("done")
    else:
        _write_rows(names, [["" if value is None else str(value) for value in row] for row in rows])


local.add_command(sql)


def _write_rows(names: list[str], rows: list[list[str]]) -> None:
    """Write a line for each row; where that is wider than the terminal, a line for each value."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNLIMITED)
    table = Table(*names)
    for row in rows:
        table.add_row(*row)
    if Measurement.get(console, console.options, table).maximum >= console.width:
        table = Table("column", *(f"row {number}" for number in range(1, len(rows) + 1)))
        for name, *values in zip(names, *rows, strict=True):
            table.add_row(name, *values)
    console.print(table)
