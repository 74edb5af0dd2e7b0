"""`fastetl ddl`: the SQL that a configuration asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, tell

if TYPE_CHECKING:
    from fastetl.aws import Deployment


@command("ddl", extra="")
@config_option
@pipelines_option
@click.option("--apply", is_flag=True, help="Run it in the warehouse.")
def ddl(config: Path, pipeline: str, *, apply: bool, as_json: bool) -> None:
    """Running it again loses nothing: tables that exist stay as they are, views are replaced."""
    from fastetl.cli.configuration import choose_pipelines, read_config
    from fastetl.sql import ddl_sql

    chosen = choose_pipelines(read_config(config, offline=not apply), pipeline)
    if apply:
        from fastetl.cli.deployments import run_each

        run_each(config, pipeline, apply_ddl)
    elif not as_json:
        click.echo("".join(f"{each.sql};\n\n" for one in chosen for each in ddl_sql(one)), nl=False)
    if as_json:
        answers = [
            {"pipeline": one.name, "applied": apply, "sql": [each.sql for each in ddl_sql(one)]} for one in chosen
        ]
        echo_json(answers)


async def apply_ddl(deployment: Deployment) -> None:
    """Create the tables of a pipeline that are not there, and replace its views."""
    from fastetl.limits import MAX_STATEMENTS
    from fastetl.sql import ddl_sql

    one = deployment.pipeline
    sql = ddl_sql(one)
    for n in range(0, len(sql), MAX_STATEMENTS):
        token = ("ddl", deployment.new_name())
        await deployment.warehouse.run(sql[n : n + MAX_STATEMENTS], name=f"fastetl/ddl/{one.name}", token=token)
    tell(f"{one.name}: tables and views of {one.schema}.{one.target} are there")
