"""`fastetl reconcile`: whether records, files, ledger and warehouse agree."""

from __future__ import annotations

from pathlib import Path

import click

from fastetl.cli.options import command, config_option, pipelines_option, since_option, until_option
from fastetl.cli.output import echo_json, tell, write_count


@command("reconcile")
@config_option
@pipelines_option
@since_option
@until_option
def reconcile(config: Path, pipeline: str, since: str, until: str, *, as_json: bool) -> None:
    """Exit code 1 says that something differs.

    It compares, for the files whose first change is in these hours: records received with rows and rejects written,
    objects with the ledger, the ledger with the warehouse, and the rows of each file with the rows that were loaded. It
    does not compare the rows themselves. Without --from and --to it reads every file's metadata.
    """
    from fastetl.cli.configuration import parse_hours
    from fastetl.cli.deployments import run_each
    from fastetl.operate import Reconciler

    hours = parse_hours(since, until)
    found = run_each(config, pipeline, lambda one: Reconciler(one).reconcile(*hours)).values()
    if as_json:
        echo_json(list(found))
    for each in found if not as_json else ():
        parts = f"{write_count(each.rows, 'row')} + {write_count(each.rejects, 'reject')}"
        sums = f"{write_count(each.records, 'record')} = {parts}"
        files = f"{write_count(each.files, 'file')}, {each.loaded:,} loaded, {each.pending:,} pending"
        click.echo(f"{each.pipeline}: {sums}; {files}, {each.quarantined:,} quarantined")
        for difference in each.differences:
            tell(f"{difference.file_id}: {difference.what}. {difference.remedy}", colour="red")
    if any(each.differences for each in found):
        raise click.exceptions.Exit(1)
