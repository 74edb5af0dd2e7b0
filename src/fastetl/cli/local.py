"""`fastetl local`: AWS and a deployment of fastetl on this machine, left running; and SQL against its warehouse."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.measure import Measurement
from rich.table import Table

from fastetl.cli.output import AsJson, problems, read_text, results
from fastetl.errors import ConfigError

if TYPE_CHECKING:
    from fastetl.local.stack import Embedded

AWS_PORT, DATA_API_PORT = 4566, 4567
WATCH_SECONDS = 0.5

Warehouse = Annotated[str, typer.Option(help="What runs the SQL: duckdb or postgres.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = typer.Typer(help="AWS on this machine, with fastetl deployed in it.", invoke_without_command=True)
    commands.callback()(local)
    commands.command("sql")(sql)
    app.add_typer(commands, name="local")


def local(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Default: the demonstration's.")] = None,
    warehouse: Warehouse = "duckdb",
    aws_port: int = AWS_PORT,
    data_api_port: int = DATA_API_PORT,
) -> None:
    """Start everything on 127.0.0.1 and leave it running until interrupted; prints how to reach it.

    When the configuration's file changes, the functions go on with what it says now.
    """
    if context.invoked_subcommand is None:
        text = read_text(config) if config else demo_config()
        asyncio.run(_serve(text, warehouse, (aws_port, data_api_port), config))


def demo_config() -> str:
    """Give the demonstration's configuration, with the place of the database that it looks addresses up in."""
    text = resources.files("fastetl.local").joinpath("demo.toml").read_text(encoding="utf-8")
    database = "GeoLite2-City.mmdb"
    return text.replace(database, str(resources.files("_maxminddb_geolite2").joinpath(database)))


async def _serve(text: str, warehouse: Any, ports: tuple[int, int], config: Path | None) -> None:
    from fastetl.local.stack import Embedded  # noqa: PLC0415 - the `local` extra

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Embedded(text, warehouse=warehouse, ports=ports) as stack:
        await stack.create_tables()
        await stack.connect()
        for name, value in stack.environment.items():
            typer.echo(f"export {name}={value}")
        tables = ", ".join(f"{pipeline.table} -> {pipeline.target}" for pipeline in stack.config.pipelines)
        problems.print(f"running: {tables}; end with Ctrl-C", style="green", markup=False)
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
    try:
        stack.deploy(text)
    except ConfigError as error:
        problems.print(f"the functions go on with the configuration before:\n{error}", style="yellow", markup=False)
    else:
        problems.print("the functions go on with the changed configuration", style="green", markup=False)


def sql(
    query: Annotated[str, typer.Argument(help="One statement.")],
    as_json: AsJson = False,
    endpoint_url: Annotated[
        str, typer.Option(envvar="AWS_ENDPOINT_URL_REDSHIFT_DATA")
    ] = f"http://127.0.0.1:{DATA_API_PORT}",
) -> None:
    """Ask the warehouse of a running `fastetl local`."""
    from fastetl.local.warehouse import query as ask  # noqa: PLC0415 - the `local` extra

    names, rows = ask(query, endpoint_url)
    if not names:
        problems.print("done", style="dim")
        return
    if as_json:
        typer.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str))
        return
    results.print(_tabulate(names, [["" if value is None else str(value) for value in row] for row in rows]))


def _tabulate(names: list[str], rows: list[list[str]]) -> Table:
    """A line for each row; or, where that is wider than the terminal, a line for each value."""
    table = Table(*names)
    for row in rows:
        table.add_row(*row)
    if Measurement.get(results, results.options, table).maximum >= results.width:
        table = Table("column", *(f"row {number}" for number in range(1, len(rows) + 1)))
        for name, *values in zip(names, *rows, strict=True):
            table.add_row(name, *values)
    return table
