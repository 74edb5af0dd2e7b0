"""`fastetl reload`: a second table, from the files on S3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.options import command, config_option, pipeline_option, since_option, until_option
from fastetl.cli.output import echo_json, tell

if TYPE_CHECKING:
    from fastetl.aws import Deployment
    from fastetl.operate import Reloaded


@command("reload")
@click.option("--into", required=True, metavar="SCHEMA.TABLE", help="The new table; not the pipeline's own.")
@config_option
@pipeline_option
@since_option
@until_option
def reload(into: str, config: Path, pipeline: str, since: str, until: str, *, as_json: bool) -> None:
    """The running pipeline goes on beside it. Started again, it goes on where it was."""
    from fastetl.cli.carrying_over import open_progress
    from fastetl.cli.configuration import parse_hours
    from fastetl.cli.deployments import run_one
    from fastetl.identifiers import find_schema_problem, find_table_problem
    from fastetl.operate import Reloader

    schema, _, target = into.partition(".")
    if not schema or not target:
        raise click.BadParameter(f"{into!r} is not a table; write it like analytics.orders_2", param_hint="--into")
    if problem := find_schema_problem(schema) or find_table_problem(target, ("_load_files",)):
        raise click.BadParameter(f"{problem}; name another table", param_hint="--into")
    hours = parse_hours(since, until)

    async def work(deployment: Deployment) -> Reloaded:
        reloader = Reloader(deployment, (schema, target))
        with open_progress() as progress:
            task = progress.add_task("files loaded", total=None)

            def show(done: Reloaded) -> None:
                what = f"{done.restoring} files come from the archive" if done.restoring else "files loaded"
                progress.update(task, completed=done.loaded, total=done.files, description=what)

            return await reloader.reload(*hours, show)

    found = run_one(config, pipeline, work)
    if as_json:
        echo_json(found)
    tell(f"{found.loaded:,} of {found.files:,} files are loaded into {into}")
