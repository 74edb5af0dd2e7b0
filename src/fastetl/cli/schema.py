"""`fastetl schema diff`: what configuration, tables and items do not agree on."""

from __future__ import annotations

from typing import Annotated

import typer

from fastetl.cli.output import DEFAULT_CONFIG, AsJson, ConfigPath, PipelineName, echo_json, problems, results
from fastetl.cli.reach import Reach, chosen, run
from fastetl.operate import SchemaDiff


def register(app: typer.Typer) -> None:
    """Add the command."""
    schema = typer.Typer(help="What DynamoDB has and the warehouse has not.", no_args_is_help=True)
    schema.command("diff")(diff)
    app.add_typer(schema, name="schema")


def diff(
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
    hours: Annotated[float, typer.Option(help="How far back files are looked at for values that did not fit.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Compare configuration, tables and what was seen lately; print what would mend it, exit code 1 if something would.

    SQL and lines for the configuration go to standard output, everything else to standard error.
    """

    async def compare(reach: Reach) -> list[SchemaDiff]:
        return [await reach.schema_reader(each).diff(hours) for each in chosen(reach.config, pipeline)]

    found = run(config, compare)
    if as_json:
        echo_json(found)
    else:
        for each in found:
            _print(each, hours)
    if any(each.needs_mending for each in found):
        raise typer.Exit(1)


def _print(found: SchemaDiff, hours: float) -> None:
    for each in found.differences:
        what = f"{found.pipeline}: {each.table}.{each.column or '*'}: {each.what}. {each.remedy}".strip()
        problems.print(what, markup=False, highlight=False, soft_wrap=True)
    for seen in found.seen:
        what = f"{found.pipeline}: {seen.count:,} times in the last {hours:g} hours: {seen.what}"
        problems.print(what, markup=False, highlight=False, soft_wrap=True)
    altering = [each.sql for each in found.differences if each.sql]
    for sql in altering:
        typer.echo(f"{sql};")
    if altering:
        problems.print("Then run `fastetl ddl --apply`, which makes the views anew.")
    for proposal in found.proposals:
        typer.echo("\n" + proposal.to_toml(), nl=False)
    if not found.needs_mending:
        results.print(f"{found.pipeline}: configuration and tables agree, everything fitted", highlight=False)
