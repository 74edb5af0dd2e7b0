"""`fastetl local`: AWS and a deployment of fastetl on this machine, left running; and SQL against its warehouse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastetl.cli.demo import warehouse_option
from fastetl.cli.options import DEBUG, Subcommands, command, require
from fastetl.cli.output import echo_json, tell

if TYPE_CHECKING:
    from fastetl.local.stack import Embedded

AWS_PORT, DATA_API_PORT = 4566, 4567
WATCH_SECONDS = 0.5
START_LIMIT_SECONDS, STOP_LIMIT_SECONDS = 90, 30
REPEATED_SECONDS = 60
"""A function that fails is tried again and again; the same message is shown once in this time."""

ENDPOINT = "AWS_ENDPOINT_URL_REDSHIFT_DATA"
UNLIMITED = 10_000
"""Columns of what is no terminal: nothing is wrapped there."""

port = click.IntRange(1, 65_535)
aws_port_option = click.option(
    "--aws-port", type=port, default=AWS_PORT, show_default=True, metavar="PORT", help="Of DynamoDB, S3 and the rest."
)
running_option = click.option(
    "--aws-port",
    type=port,
    show_default="the one that runs",
    metavar="PORT",
    help="Which one: its port of DynamoDB, S3 and the rest.",
)


@click.group("local", cls=Subcommands, invoke_without_command=True)
@click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    envvar="FASTETL_CONFIG",
    show_envvar=True,
    show_default="fastetl.toml, or the demonstration's where there is none",
    help="The configuration file.",
)
@warehouse_option
@aws_port_option
@click.option(
    "--data-api-port",
    type=port,
    default=DATA_API_PORT,
    show_default=True,
    metavar="PORT",
    help="Of the warehouse's Data API.",
)
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Keep tables, files and warehouse in this folder, and go on with what is there.",
)  # fmt: skip
@click.option("--detach", is_flag=True, help="Return when it runs; `fastetl local stop` ends it.")
@click.option("--verbose", is_flag=True, help="Show all of the functions' log.")
@click.pass_context
def local(
    ctx: click.Context,
    config: Path | None,
    warehouse: Any,
    aws_port: int,
    data_api_port: int,
    data: Path | None,
    *,
    detach: bool,
    verbose: bool,
) -> None:
    """Run AWS and a deployment of fastetl on this machine.

    Everything listens on 127.0.0.1 and runs until Ctrl-C.

    When the configuration's file changes, the functions go on with what it says now, new pipelines included. With
    `fastetl local --detach` and `eval "$(fastetl local env)"` one terminal is enough. What it held is gone at the end,
    unless --data names a folder for it; that is written when it ends in order, not when it is killed.
    """
    if ctx.invoked_subcommand is not None:
        return
    require("local", ctx.command_path)
    from fastetl.cli.configuration import read_text
    from fastetl.cli.running import check_ports
    from fastetl.local.demonstration import demo_config

    if config is None and Path("fastetl.toml").exists():
        config = Path("fastetl.toml")
    if data and warehouse != "duckdb":
        raise click.BadParameter("only a DuckDB can be kept; leave --warehouse out", param_hint="--data")
    text = read_text(config) if config else demo_config()
    check_ports(aws_port, data_api_port)
    if detach:
        _detach(sys.argv[1:], aws_port)
    else:
        asyncio.run(_serve(text, warehouse, (aws_port, data_api_port), config, data, verbose=verbose))


local.params.append(DEBUG)


def _detach(arguments: list[str], aws_port: int) -> None:
    from fastetl.cli.running import find_running, log_path
    from fastetl.errors import FastetlError

    path = log_path(aws_port)
    again = [argument for argument in arguments if argument != "--detach"]
    with path.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-c", "from fastetl.cli import app; app()", *again],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (running := find_running(aws_port)) and running.pid == process.pid:
            tell(f"running in the background, its log in {path}", colour="green")
            tell('Next: eval "$(fastetl local env)"; `fastetl local stop` ends it')
            return
        time.sleep(0.1)
    if (code := process.poll()) is None:
        process.terminate()
        raise FastetlError(f"it did not start within {START_LIMIT_SECONDS} s; see {path}")
    for line in path.read_text(encoding="utf-8").splitlines():
        tell(line, colour="red")
    raise click.exceptions.Exit(max(1, code))


async def _serve(
    text: str, warehouse: Any, ports: tuple[int, int], config: Path | None, data: Path | None, *, verbose: bool
) -> None:
    from fastetl.cli.configuration import read_text
    from fastetl.cli.running import Running, announce
    from fastetl.errors import ConfigError
    from fastetl.local.stack import Embedded

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    root = config.parent if config else None
    show = _LogShower(verbose=verbose)
    with contextlib.ExitStack() as announced:  # left last: `fastetl local stop` waits until the ports are free
        async with Embedded(text, warehouse=warehouse, ports=ports, root=root, on_line=show, data=data) as stack:
            await stack.create_tables()
            await stack.connect()
            await stack.wait_for_coordinator()
            announced.enter_context(announce(Running(ports[0], os.getpid(), stack.environment)))
            for name, value in stack.environment.items():
                click.echo(f"export {name}={shlex.quote(value)}")
            tables = ", ".join(
                f"{pipeline.table} -> {part.target}" for pipeline in stack.config.pipelines for part in pipeline.targets
            )
            tell(f"running: {tables}; end with Ctrl-C", colour="green")
            await stack.ingest.warm()  # a module that is missing shows now, not with the first item
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_SECONDS):
                        await stop.wait()
                changed = text
                if config:
                    with contextlib.suppress(ConfigError):  # an editor is just writing it
                        changed = read_text(config)
                if changed != text:
                    await _deploy(stack, changed)
                    text = changed


class _LogShower:
    """Shows the functions' warnings and errors as sentences; of a repeated one, not every time."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._shown: dict[str, float] = {}

    def __call__(self, function: str, line: str) -> None:
        from fastetl.local.function_log import explain_line

        if self._verbose:
            tell(f"{function}: {line}")
            return
        text = explain_line(function, line)
        if text and time.monotonic() - self._shown.get(text, -REPEATED_SECONDS) >= REPEATED_SECONDS:
            self._shown[text] = time.monotonic()
            tell(text, colour="red")


async def _deploy(stack: Embedded, text: str) -> None:
    from fastetl.cli.failures import write
    from fastetl.errors import ConfigError

    try:
        await stack.deploy(text)
    except ConfigError as error:
        for problem in error.problems:
            tell(write(problem), colour="yellow")
        tell("the functions go on with the configuration before", colour="yellow")
    else:
        await stack.ingest.warm()
        names = ", ".join(pipeline.name for pipeline in stack.config.pipelines)
        tell(f"the functions go on with the changed configuration: {names}", colour="green")


@command("env", extra="local", of=local)
@running_option
def env(aws_port: int | None, *, as_json: bool) -> None:
    """Print how to reach a running `fastetl local`, as environment variables.

    For this terminal: eval "$(fastetl local env)". Any AWS client, and every command of fastetl, then works with it.
    """
    from fastetl.cli.running import get_running

    running = get_running(aws_port)
    if as_json:
        echo_json(running.environment)
        return
    for name, value in running.environment.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@command("stop", extra="local", of=local)
@running_option
def stop(aws_port: int | None, *, as_json: bool) -> None:
    """End a running `fastetl local`; what it held is gone, unless it was started with --data."""
    from fastetl.cli.running import find_running, get_running
    from fastetl.errors import FastetlError

    running = get_running(aws_port)
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT_SECONDS
    while find_running(running.aws_port):
        if time.monotonic() > deadline:
            raise FastetlError(f"process {running.pid} does not end; end it with `kill -9 {running.pid}`")
        time.sleep(0.1)
    if as_json:
        echo_json({"stopped": running.pid})
    tell("stopped")


@command("sql", extra="local", of=local)
@click.argument("query")
@click.option(
    "--endpoint-url", metavar="URL", envvar=ENDPOINT, show_envvar=True, show_default="the one that runs",
    help="Where its Data API is.",
)  # fmt: skip
def sql(query: str, endpoint_url: str | None, *, as_json: bool) -> None:
    """Ask the warehouse of a running `fastetl local`. QUERY is one statement."""
    from fastetl.cli.running import get_running
    from fastetl.local.warehouse import query as ask

    if not query.strip(" ;\n"):
        raise click.BadParameter("the SQL is empty", param_hint="QUERY")
    names, rows = ask(query, endpoint_url or get_running(None).environment[ENDPOINT])
    if as_json:
        echo_json([dict(zip(names, row, strict=True)) for row in rows])
    elif not names:
        tell("done")
    else:
        _write_rows(names, [["" if value is None else str(value) for value in row] for row in rows])


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
