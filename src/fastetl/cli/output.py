"""Where commands write: results to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from fastetl.config import Config, Pipeline, parse_config
from fastetl.errors import ConfigError, Problem

results = Console()
problems = Console(stderr=True)

ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration.", envvar="FASTETL_CONFIG", show_default=True)
]
PipelineName = Annotated[str, typer.Option("--pipeline", "-p", help="Which pipeline, where there are several.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
Since = Annotated[str, typer.Option("--from", help="First hour, UTC: 2026-01-31T00.")]
Until = Annotated[str, typer.Option("--to", help="The hour after the last, UTC.")]

DEFAULT_CONFIG = Path("fastetl.toml")


def read_text(path: Path) -> str:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((Problem(str(path), f"cannot be read: {error}", "Name another with --config"),)) from error


def read_config(path: Path, *, offline: bool = False) -> Config:
    """Read a configuration with what the environment says; `offline`, what only a deployment knows may be missing.

    Raises:
        ConfigError: with every problem.
    """
    stand_ins = {
        "FASTETL_BUCKET": "bucket",
        "FASTETL_LEDGER_TABLE": "ledger",
        "FASTETL_REDSHIFT_WORKGROUP": "workgroup",
    }
    text = read_text(path)
    if not offline:
        return parse_config(text, os.environ)
    try:
        return parse_config(text, os.environ)
    except ConfigError:
        missing = {name: value for name, value in stand_ins.items() if name not in os.environ}
        if "FASTETL_REDSHIFT_CLUSTER" in os.environ:
            missing.pop("FASTETL_REDSHIFT_WORKGROUP", None)
        return parse_config(text, {**os.environ, **missing})


def choose_pipeline(config: Config, name: str) -> Pipeline:
    """Give the pipeline of this name, or the only one.

    Raises:
        ConfigError: there is none such, or several to choose from.
    """
    names = [pipeline.name for pipeline in config.pipelines]
    if not name and len(names) == 1:
        return config.pipelines[0]
    if name not in names:
        remedy = f"Name one of {', '.join(names)}"
        raise ConfigError((Problem("--pipeline", f"{name!r} is no pipeline" if name else "there are several", remedy),))
    return config.pipeline(name)


def parse_hours(since: str, until: str) -> tuple[str, str]:
    """Read `--from` and `--to`, an hour or a day each, as the hours that keys on S3 hold: `2026/01/31/23`.

    Returns:
        The first hour and the one after the last; an option that is left out sets no bound.

    Raises:
        ConfigError: one is no hour, or no hour is between them.
    """
    first, last = _parse_hour("--from", since, ""), _parse_hour("--to", until, "~")
    if first >= last:
        remedy = "Name a later hour; it is the one after the last that is looked at"
        raise ConfigError((Problem("--to", f"{until} is not after {since}", remedy),))
    return first, last


def _parse_hour(option: str, text: str, absent: str) -> str:
    if not text:
        return absent
    for form in ("%Y-%m-%dT%H", "%Y-%m-%d"):
        with contextlib.suppress(ValueError):
            return datetime.strptime(text, form).replace(tzinfo=UTC).strftime("%Y/%m/%d/%H")
    raise ConfigError((Problem(option, f"{text!r} is no hour", "Write it as 2026-01-31T00, or a day as 2026-01-31"),))


def echo_json(value: Any) -> None:
    """Write a value as one line of JSON."""
    typer.echo(msgspec.json.encode(value).decode())
