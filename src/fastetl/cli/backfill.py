"""`fastetl backfill`: the items that are in a table already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fastetl.cli.options import Finite, command, config_option, pipeline_option
from fastetl.cli.output import echo_json, tell, write_count

export_option = click.option(
    "--export", default="", metavar="FOLDER",
    help="An export that is there: s3://bucket/prefix/AWSDynamoDB/01234-abcd, or a folder's path.",
)  # fmt: skip
scan_option = click.option("--scan", is_flag=True, help="Read the table itself instead of exporting it.")
rate_option = click.option(
    "--rate",
    type=Finite(min=0),
    default=0,
    show_default="no limit",
    metavar="UNITS",
    help="Read units a second at most, with --scan.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    show_default="one for each core",
    metavar="NUMBER",
    help="Processes that convert.",
)
distributed_option = click.option(
    "--distributed", default="", metavar="ARN", help="Convert in the stack, by this state machine."
)
wait_option = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until everything is loaded.")


@command("backfill")
@config_option
@pipeline_option
@export_option
@click.option(
    "--read-since-export", is_flag=True,
    help="The stream has been read without a gap since before --export was taken.",
)  # fmt: skip
@scan_option
@rate_option
@workers_option
@distributed_option
@wait_option
@click.option(
    "--give-up", is_flag=True,
    help="End what is under way, or the export that --export names, as it is: the next backfill begins another one.",
)  # fmt: skip
def backfill(config: Path, pipeline: str, *, give_up: bool, as_json: bool, **options: Any) -> None:
    """Deploy the stack first, so that changes flow. Started again, it goes on where it was.

    At its end it reads the whole ledger once.
    """
    from fastetl.cli import carrying_over
    from fastetl.cli.carrying_over import Options, carry_over, check_options
    from fastetl.cli.deployments import run

    if give_up:
        location = options["export"]
        ended = run(config, lambda deployments: carrying_over.give_up(deployments, pipeline, location))
        if as_json:
            echo_json(ended)
        for each in ended:
            tell(f"{each.pipeline}: epoch {each.epoch}: {each.location or 'an export that never began'} is given up")
            if each.resync:
                remedy = f"run `fastetl resync -p {each.pipeline}`"
                tell(f"{each.pipeline}: what this resync was to mend is not mended: {remedy}", colour="red")
        return
    asked = Options(config, **options)
    check_options(asked)
    found = run(config, lambda deployments: carry_over(deployments, pipeline, asked))
    if as_json:
        echo_json(found)
    tell(f"{found.pipeline}: {write_count(found.items, 'item')} {'carried over' if asked.wait else 'converted'}")
