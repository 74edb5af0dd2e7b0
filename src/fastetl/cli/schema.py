"""`fastetl schema diff`: what configuration, tables and items do not agree on."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.commands import SENTENCES
from fastetl.cli.options import Finite, Subcommands, command, config_option, pipelines_option
from fastetl.cli.output import echo_json, tell, write_count

if TYPE_CHECKING:
    from fastetl.operate import SchemaDiff

schema = Subcommands("schema", help=SENTENCES["schema"])


@command("diff", of=schema)
@config_option
@pipelines_option
@click.option(
    "--hours", type=Finite(0, 87_600, min_open=True), default=24, show_default=True, metavar="HOURS",
    help="How far back files are looked at for values that did not fit.",
)  # fmt: skip
@click.option("--apply", is_flag=True, help="Change tables, views and grants as the configuration says.")
def diff(config: Path, pipeline: str, hours: float, *, apply: bool, as_json: bool) -> None:
    """Compare configuration, tables and items, and print or apply what mends a difference.

    SQL and lines for the configuration go to standard output, everything else to standard error. Exit code 1 says that
    there is something to mend.
    """
    from fastetl.cli.configuration import read_text
    from fastetl.cli.deployments import run_each
    from fastetl.operate import SchemaReader

    inline = not re.search(r"\[\[pipelines\.(targets\.)?columns\]\]", read_text(config))
    found = run_each(config, pipeline, lambda one: SchemaReader(one).diff(hours)).values()
    problems = False
    if apply:
        from fastetl.cli.ddl import tell_applied
        from fastetl.operate import SchemaWriter

        problems = tell_applied(run_each(config, pipeline, lambda one: SchemaWriter(one).apply()).values())
        found = run_each(config, pipeline, lambda one: SchemaReader(one).diff(hours)).values()
    if as_json:
        echo_json(list(found))
    for each in found if not as_json else ():
        _print(each, hours, inline=inline)
    if problems or any(each.needs_mending for each in found):
        raise click.exceptions.Exit(1)


def _print(found: SchemaDiff, hours: float, *, inline: bool) -> None:
    for each in found.differences:
        tell(f"{found.pipeline}: {each.table}.{each.column or '*'}: {each.what}. {each.remedy}".strip())
    for seen in found.seen:
        asked = ", as the configuration asks" * seen.as_asked
        times = f"{write_count(seen.count, 'time')} in the last {hours:g} hours"
        tell(f"{found.pipeline}: {times}: {explain(seen.what)}{asked}")
    altering = [each.sql for each in found.differences if each.sql]
    for sql in altering:
        click.echo(f"{sql};")
    if altering:
        tell("`fastetl schema diff --apply` runs them one by one, and replaces the views.")
    for target, proposals in itertools.groupby(found.proposals, lambda each: each.target):
        name = f"target {target} of pipeline {found.pipeline}" if target else f"pipeline {found.pipeline}"
        tell(f"For the list `columns` of {name}:" if inline else f"For {name}, at its end:")
        for proposal in proposals:
            of = "pipelines.targets" if target else "pipelines"
            click.echo(("" if inline else "\n") + proposal.to_toml(inline=inline, of=of), nl=False)
    if not found.needs_mending:
        click.echo(f"{found.pipeline}: configuration and tables agree, and every value fitted")


def explain(what: str) -> str:
    """Say in words what did not fit, as `Seen.what` has it."""
    kind, _, rest = what.partition("/")
    if kind == "ignored":
        return f"attribute {rest} has no column, and was ignored"
    column, _, reason = rest.rpartition("/")
    if not column:
        return f"a record was rejected as a whole ({reason})"
    ended = "its record was rejected" if kind == "reject" else "it became NULL or was cut"
    return f"a value did not fit column {column} ({reason}), and {ended}"
