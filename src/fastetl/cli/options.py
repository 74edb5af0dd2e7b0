"""Declare commands: the options that several share, and what a command needs beside the base package."""

from __future__ import annotations

import inspect
import math
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
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
since_option = click.option(
    "--from", "since", default="", metavar="HOUR", help="First hour or day, UTC: 2026-01-31T00."
)
until_option = click.option("--to", "until", default="", metavar="HOUR", help="The hour or day after the last, UTC.")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Write JSON, also on errors.")
DEBUG = click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error.")


class Finite(click.FloatRange):
    """A number in a range; neither `nan`, which is in every range, nor `inf`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: D102 - click's
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class Subcommands(click.Group):
    """A command that has commands of its own; its help shows their first sentences whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: D102 - click's
        names = self.list_commands(ctx)
        made = [self.get_command(ctx, name) for name in names]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, (each.help or "").partition("\n\n")[0]) for name, each in zip(names, made, strict=True) if each]
            )


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


def command(
    name: str, *, extra: str = "cli", answers: bool = True, of: click.Group | None = None
) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function.

    Args:
        name: as it is typed; the first sentence of its help is in `COMMANDS`, the function's docstring says the rest.
        extra: of the package, which the command needs; empty for the base package.
        answers: whether it has an answer, so that it takes `--json`.
        of: the command that it is a subcommand of; then the docstring says everything.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        details = inspect.cleandoc(function.__doc__ or "")
        text = details if of else "\n\n".join(filter(None, (SENTENCES[name], details)))
        made = click.command(name, cls=Command, extra=extra, help=text)(function)
        made.params += [JSON] * answers + [DEBUG]
        if of:
            of.add_command(made)
        return made

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
