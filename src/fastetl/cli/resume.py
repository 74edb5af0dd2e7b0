"""`fastetl resume`: the end of a pause."""

from __future__ import annotations

from pathlib import Path

from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, tell


@command("resume")
@config_option
@pipelines_option
def resume(config: Path, pipeline: str, *, as_json: bool) -> None:
    """It ends the pause of an operator as well as one of fastetl itself."""
    from fastetl.cli.deployments import run_each
    from fastetl.operate import Operator

    names = run_each(config, pipeline, lambda one: Operator(one).resume())
    if as_json:
        echo_json([{"pipeline": name, "paused": ""} for name in names])
    for name in names:
        tell(f"{name}: resumed; the coordinator goes on when it wakes up next, within a minute")
