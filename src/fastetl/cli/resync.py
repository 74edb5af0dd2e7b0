"""`fastetl resync`: a backfill that also deletes the rows that the table no longer has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fastetl.cli.backfill import (
    distributed_option,
    export_option,
    rate_option,
    scan_option,
    wait_option,
    workers_option,
)
from fastetl.cli.options import command, config_option, pipeline_option
from fastetl.cli.output import echo_json, tell, write_count


@command("resync")
@config_option
@pipeline_option
@export_option
@scan_option
@rate_option
@workers_option
@distributed_option
@wait_option
@click.option(
    "--despite-rejects", is_flag=True,
    help="Delete rows although items of the export were rejected; the rows of those items are deleted too.",
)  # fmt: skip
def resync(config: Path, pipeline: str, *, as_json: bool, **options: Any) -> None:
    """It mends a gap: changes that the stream had forgotten before they were read. Started again, it goes on.

    At its end it reads the whole ledger once.
    """
    from fastetl.cli.carrying_over import Options, carry_over, check_options
    from fastetl.cli.deployments import run

    asked = Options(config, resync=True, **options)
    check_options(asked)
    found = run(config, lambda deployments: carry_over(deployments, pipeline, asked))
    if as_json:
        echo_json(found)
    end = "carried over, and rows that the table no longer has are deleted" if asked.wait else "converted"
    tell(f"{found.pipeline}: {write_count(found.items, 'item')} {end}")
