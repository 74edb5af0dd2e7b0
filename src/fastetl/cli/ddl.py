"""`fastetl ddl`: the SQL that a configuration asks for, printed or applied."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, tell
from fastetl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastetl.config import Pipeline
    from fastetl.operate import Applied


@command("ddl", extra="")
@config_option
@pipelines_option
@click.option("--apply", is_flag=True, help="Run it in the warehouse, as far as it is not there yet.")
@click.option(
    "--take-over", is_flag=True,
    help="With --apply: make this stack the owner of its targets. Loads of the stack that owned them fail from now on.",
)  # fmt: skip
def ddl(config: Path, pipeline: str, *, apply: bool, take_over: bool, as_json: bool) -> None:
    """Tables, views, and the grants for the user that loads and for those who read.

    With --apply, columns that the tables lack are added and VARCHAR columns lengthened as well. Nothing is lost by
    running it again: tables that exist stay, and a view is replaced only where its columns change. Exit code 1 says
    that something could not be done.
    """
    from fastetl.cli.configuration import choose_pipelines, read_config

    if take_over and not apply:
        raise ConfigError((Problem("--take-over", "it is done in the warehouse", "Add --apply, or leave it out"),))
    if apply:
        from fastetl.cli.deployments import run_each
        from fastetl.operate import SchemaWriter

        applied = run_each(config, pipeline, lambda deployment: SchemaWriter(deployment).apply(take_over=take_over))
        if as_json:
            echo_json(list(applied.values()))
        if tell_applied(applied.values()):
            raise click.exceptions.Exit(1)
        return
    chosen = choose_pipelines(read_config(config, offline=True), pipeline)
    if as_json:
        echo_json([{"pipeline": one.name, "sql": list(_sql(one))} for one in chosen])
    else:
        click.echo("".join(f"{sql};\n\n" for one in chosen for sql in _sql(one)), nl=False)


def tell_applied(applied: Iterable[Applied]) -> bool:
    """Show what was done; tell whether something could not be."""
    problems = False
    for each in applied:
        for change in each.changes:
            tell(f"{each.pipeline}: {change}")
        for problem in each.problems:
            tell(f"{each.pipeline}: {problem}", colour="red")
        if not each.problems:
            tell(f"{each.pipeline}: tables, views and grants are as the configuration says")
        problems = problems or bool(each.problems)
    return problems


def _sql(pipeline: Pipeline) -> Iterable[str]:
    from fastetl.sql import create_user_sql, ddl_sql, load_grants_sql, load_privileges, read_grants_sql

    yield from (each.sql for each in ddl_sql(pipeline))
    if pipeline.redshift.load_user:
        (user,) = create_user_sql(pipeline)
        yield f"-- Where the user does not exist yet:\n-- {user.sql.splitlines()[-1]}"
        yield from (each.sql for each in load_grants_sql(pipeline, load_privileges(pipeline)))
    yield from (each.sql for each in read_grants_sql(pipeline))
