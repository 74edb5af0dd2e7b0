"""`fastetl load --now`: a load that does not wait for its thresholds."""

from __future__ import annotations

from pathlib import Path

import click

from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, tell


@command("load")
@click.option("--now", is_flag=True, required=True, help="Whatever max_bytes and max_age say.")
@config_option
@pipelines_option
def load(config: Path, pipeline: str, *, now: bool, as_json: bool) -> None:  # noqa: ARG001 - --now says what is meant
    """The coordinator wakes up every minute, and skips the waiting time of retries. A paused pipeline stays paused."""
    from fastetl.cli.deployments import run_each
    from fastetl.operate import Operator

    asked = run_each(config, pipeline, lambda one: Operator(one).load_now())
    if as_json:
        echo_json([{"pipeline": name, "load_requested": True, "waits_skipped": n} for name, n in asked.items()])
    for name, count in asked.items():
        skipped = f"; {count} retr{'y does' if count == 1 else 'ies do'} not wait any longer" * bool(count)
        tell(f"{name}: a load is asked for{skipped}; `fastetl status` shows how it goes")
