"""`fastetl schema diff`: what configuration, tables and items do not agree on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.commands import SENTENCES
from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, tell

if TYPE_CHECKING:
    from fastetl.operate import SchemaDiff

schema = click.Group("schema", help=SENTENCES["schema"])


@command("diff")
@config_option
@pipelines_option
@click.option(
    "--hours", type=click.FloatRange(0, min_open=True), default=24, show_default=True,
    help="How far back files are looked at for values that did not fit.",
)  # fmt: skip
def diff(config: Path, pipeline: str, hours: float, *, as_json: bool) -> None:
    """Compare configuration, tables and items, and print what mends a difference.

    SQL and lines for the configuration go to standard output, everything else to standard error. Exit code 1 says that
    there is something to mend.
    """
    from fastetl.cli.deployments import run_each
    from fastetl.operate import SchemaReader

    found = run_each(config, pipeline, lambda one: SchemaReader(one).diff(hours)).values()
    if as_json:
        echo_json(list(found))
    for each in found if not as_json else ():
        _print(each, hours)
    if any(each.needs_mending for each in found):
        raise click.exceptions.Exit(1)


schema.add_command(diff)


def _print(found: SchemaDiff, hours: float) -> None:
    for each in found.differences:
        tell(f"{found.pipeline}: {each.table}.{each.column or '*'}: {each.what}. {each.remedy}".strip())
    for seen in found.seen:
        asked = ", as the configuration asks" * seen.as_asked
        tell(f"{found.pipeline}: {seen.count:,} times in the last {hours:g} hours: {seen.what}{asked}")
    altering = [each.sql for each in found.differences if each.sql]
    for sql in altering:
        click.echo(f"{sql};")
    if altering:
        tell("Then run `fastetl ddl --apply`, which replaces the views.")
    for proposal in found.proposals:
        click.echo("\n" + proposal.to_toml(), nl=False)
    if not found.needs_mending:
        click.echo(f"{found.pipeline}: configuration and tables agree, and every value fitted")
