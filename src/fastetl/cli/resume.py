"""`fastetl resume`: the end of a pause."""

from __future__ import annotations

from pathlib import Path

from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, tell


@command("resume")
@config_option
@pipelines_option
def resume(config: Path, pipeline: str, *, as_json: bool) -> None:
    """It ends the pause of an operator as well as one of fastetl itself, and skips the waiting time of retries."""
    from fastetl.cli.deployments import run_each
    from fastetl.operate import Operator

    resumed = run_each(config, pipeline, lambda one: Operator(one).resume())
    if as_json:
        echo_json([{"pipeline": name, "paused": "", "waits_skipped": count} for name, count in resumed.items()])
    for name, count in resumed.items():
        skipped = f", and does not wait for {count} retr{'y' if count == 1 else 'ies'} any longer" * bool(count)
        tell(f"{name}: resumed; the coordinator goes on when it wakes up next, within a minute{skipped}")
