"""`fastetl verify-account`: what this account does where AWS's documents are silent."""

from __future__ import annotations

from pathlib import Path

import click

from fastetl.cli.options import command, config_option, pipeline_option
from fastetl.cli.output import echo_json


@command("verify-account")
@config_option
@pipeline_option
def verify_account(config: Path, pipeline: str, *, as_json: bool) -> None:
    """It creates tables `fastetl_verify_...` in the target's schema and objects under `check/`, and removes them.

    Exit code 1 says that an answer is not as expected.
    """
    from fastetl.cli.deployments import run_one
    from fastetl.operate import Verifier

    found = run_one(config, pipeline, lambda one: Verifier(one).verify())
    if as_json:
        echo_json(found)
    for each in found if not as_json else ():
        colour = None if each.as_expected else "yellow"
        click.secho(f"{each.question} {each.answer}", fg=colour, err=not each.as_expected)
    if not all(each.as_expected for each in found):
        raise click.exceptions.Exit(1)
