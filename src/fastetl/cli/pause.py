"""`fastetl pause`: no loads for a while."""

from __future__ import annotations

from pathlib import Path

import click

from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, tell


@command("pause")
@click.option("--reason", required=True, metavar="TEXT", help="Shown by `fastetl status` and in the log.")
@config_option
@pipelines_option
def pause(reason: str, config: Path, pipeline: str, *, as_json: bool) -> None:
    """A load that runs already goes on to its end."""
    if not reason.strip():
        raise click.BadParameter("it is empty; say why, for the readers of `fastetl status`", param_hint="--reason")
    from fastetl.cli.deployments import run_each
    from fastetl.operate import Operator

    names = run_each(config, pipeline, lambda one: Operator(one).pause(reason))
    if as_json:
        echo_json([{"pipeline": name, "paused": reason} for name in names])
    for name in names:
        tell(f"{name}: paused; changes go on becoming files, which wait for `fastetl resume`")
