"""`fastetl status`: how far each pipeline is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, write_duration, write_size

if TYPE_CHECKING:
    from fastetl.operate import Status


@command("status")
@config_option
@pipelines_option
def status(config: Path, pipeline: str, *, as_json: bool) -> None:
    """It reads the whole ledger."""
    from fastetl.cli.deployments import run_each
    from fastetl.operate import Operator

    found = run_each(config, pipeline, lambda one: Operator(one).status()).values()
    if as_json:
        echo_json(list(found))
        return
    for each in found:
        _show(each)


def _show(found: Status) -> None:
    if found.paused:
        click.secho(f"{found.pipeline}: PAUSED by {found.paused_by}: {found.paused}", fg="red")
    else:
        click.secho(f"{found.pipeline}: running", fg="green")
    age = f", the oldest for {write_duration(found.oldest_pending_seconds)}" if found.pending_files else ""
    click.echo(f"  waiting      {found.pending_files:,} files, {write_size(found.pending_bytes)}{age}")
    last = f", the last {found.last_load}" if found.last_load else ""
    click.echo(f"  loads        {found.loads:,}{last}")
    click.echo(f"  quarantine   {found.quarantined:,} files")
    click.echo(f"  rejects      {found.rejects:,} objects")
    if found.possible_gaps:
        what = f"{found.possible_gaps:,} files begin where the stream forgets: `fastetl resync`"
        click.secho(f"  GAP?         {what}", fg="red")
    for batch in found.open_batches:
        what = f"{batch.batch_id} {batch.state}, attempt {batch.attempt}, {batch.files:,} files"
        click.echo(f"  batch        {what}, {write_size(batch.bytes)} {batch.error}".rstrip())
