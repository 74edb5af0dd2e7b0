"""How commands are declared: the options that several share, and what a command needs beside the base package."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from fastetl.cli.commands import SENTENCES

config_option = click.option(
    "--config", "-c",
    type=click.Path(path_type=Path),
    default=Path("fastetl.toml"), show_default=True, envvar="FASTETL_CONFIG", show_envvar=True,
    help="The configuration file.",
)  # fmt: skip
pipeline_option = click.option(
    "--pipeline", "-p", default="", metavar="NAME", help="The pipeline; needed where the configuration has several."
)
pipelines_option = click.option(
    "--pipeline", "-p", default="", metavar="NAME", show_default="all", help="One pipeline only."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, also on errors.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
since_option = click.option(
    "--from", "since", default="", metavar="HOUR", help="First hour or day, UTC: 2026-01-31T00."
)
until_option = click.option("--to", "until", default="", metavar="HOUR", help="The hour or day after the last, UTC.")
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")


class Command(click.Command):
    """A command that says which extra of the package it needs, before it does anything."""

    def __init__(self, *arguments: Any, extra: str = "cli", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.extra = extra

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:  # noqa: D102 - click's
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click leaves it out where an option lacks its value
            raise

    def invoke(self, ctx: click.Context) -> Any:  # noqa: D102 - click's
        require(self.extra, ctx.command_path)
        return super().invoke(ctx)


def command(name: str, *, extra: str = "cli", answers: bool = True) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function.

    Args:
        name: as it is typed; the first sentence of its help is in `COMMANDS`, the function's docstring says the rest.
            For a subcommand, the docstring says everything.
        extra: of the package, which the command needs; empty for the base package.
        answers: whether it has an answer, so that it takes `--json`.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        details = function.__doc__ or ""
        function.__doc__ = "\n\n".join(filter(None, (SENTENCES.get(name, ""), details)))
        if answers:
            function = json_option(function)
        function = debug_option(function)
        return click.command(name, cls=Command, extra=extra)(function)

    return decorate


def require(extra: str, what: str) -> None:
    """Make sure that an extra of the package is installed.

    Raises:
        click.ClickException: it is not; the message says what to install.
    """
    missing = [name for name in find_requirements(extra) if not _is_installed(name)]
    if missing:
        raise MissingExtraError(what, extra, missing)


class MissingExtraError(click.ClickException):
    """A command needs packages that an extra of fastetl brings."""

    exit_code = 2

    def __init__(self, what: str, extra: str, missing: list[str]) -> None:
        super().__init__(
            f"{what} needs the extra `{extra}` (not installed: {', '.join(missing)}): pip install 'fastetl[{extra}]'"
        )


def find_requirements(extra: str) -> list[str]:
    """List the distributions that an extra brings, as the package's own metadata has them."""
    if not extra:
        return []
    found = []
    for line in metadata.requires("fastetl") or ():
        if re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", line):
            name = re.match(r"[\w.-]+", line)
            inner = re.match(r"fastetl\[(\w+)\]", line)
            found += find_requirements(inner[1]) if inner else [name[0]] if name else []
    return found


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
