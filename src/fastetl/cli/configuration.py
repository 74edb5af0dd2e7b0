"""Read the configuration that a command works with, and choose the pipelines of it that are meant."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from fastetl.config import Config, Pipeline, parse_config
from fastetl.errors import ConfigError, Problem

STAND_INS = {
    "FASTETL_BUCKET": "bucket",
    "FASTETL_LEDGER_TABLE": "ledger",
    "FASTETL_REDSHIFT_WORKGROUP": "workgroup",
}
"""What only a deployment knows, for commands that need none."""


def read_text(path: Path) -> str:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        remedy = "Write one with `fastetl init`, or name another with --config"
        raise ConfigError((Problem(str(path), "cannot be read: the file does not exist", remedy),)) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError((Problem(str(path), f"cannot be read: {reason}", "Name another with --config"),)) from error


def read_config(path: Path, *, offline: bool = False) -> Config:
    """Read a configuration with what the environment says; `offline`, what only a deployment knows may be missing.

    Raises:
        ConfigError: with every problem.
    """
    text = read_text(path)
    try:
        return parse_config(text, os.environ)
    except ConfigError as error:
        if not offline:
            raise ConfigError(tuple(_point_to_deployment(error.problems))) from error
        missing = {name: value for name, value in STAND_INS.items() if name not in os.environ}
        if "FASTETL_REDSHIFT_CLUSTER" in os.environ:
            missing.pop("FASTETL_REDSHIFT_WORKGROUP", None)
        return parse_config(text, {**os.environ, **missing})


def _point_to_deployment(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Say, once, where the settings come from that only a deployment knows."""
    said = False
    for each in problems:
        if said or each.message != "missing" or each.place not in {"bucket", "ledger_table"}:
            yield each
            continue
        said = True
        remedy = f'{each.remedy}: eval "$(fastetl outputs STACK)", or eval "$(fastetl local env)"'
        yield Problem(each.place, each.message, remedy)


def choose_pipeline(config: Config, name: str) -> Pipeline:
    """Give the pipeline of this name, or the only one.

    Raises:
        ConfigError: no pipeline has this name, or none is named and there are several.
    """
    names = [pipeline.name for pipeline in config.pipelines]
    if not name and len(names) == 1:
        return config.pipelines[0]
    if name not in names:
        message = f"{name!r} is not a pipeline" if name else "the configuration has several pipelines"
        raise ConfigError((Problem("--pipeline", message, f"Name one of {', '.join(names)}"),))
    return config.pipeline(name)


def choose_pipelines(config: Config, name: str) -> list[Pipeline]:
    """Give the pipeline of this name, or all of them.

    Raises:
        ConfigError: no pipeline has this name.
    """
    return [choose_pipeline(config, name)] if name else list(config.pipelines)


def parse_hours(since: str, until: str) -> tuple[str, str]:
    """Read `--from` and `--to`, an hour or a day each, as the hours that keys on S3 hold: `2026/01/31/23`.

    Returns:
        The first hour and the one after the last; an option that is left out sets no bound.

    Raises:
        ConfigError: one is not an hour, or no hour is between them.
    """
    first, last = _parse_hour("--from", since, ""), _parse_hour("--to", until, "~")
    if first >= last:
        remedy = "Name a later hour; --to is the hour after the last"
        raise ConfigError((Problem("--to", f"{until} is not after {since}", remedy),))
    return first, last


def _parse_hour(option: str, text: str, absent: str) -> str:
    if not text:
        return absent
    for form in ("%Y-%m-%dT%H", "%Y-%m-%d"):
        with contextlib.suppress(ValueError):
            moment = datetime.strptime(text, form).replace(tzinfo=UTC)
            # Not `%Y`: Linux writes years before 1000 without zeros, and hours are compared as text.
            return f"{moment.year:04d}/{moment:%m/%d/%H}"
    raise ConfigError(
        (Problem(option, f"{text!r} is not an hour", "Write it as 2026-01-31T00, or a day as 2026-01-31"),)
    )


def choose_one(what: str, start: str, names: Iterable[str], listing: str) -> str:
    """Give the one name that begins with some text.

    Args:
        what: the names are of, for the message.
        start: what was typed: a whole name, or the beginning of one.
        names: to choose from.
        listing: the command that shows them.

    Raises:
        ConfigError: no name begins like this, or several do.
    """
    found = sorted(name for name in names if name.startswith(start)) if start else []
    if start in found or len(found) == 1:
        return start if start in found else found[0]
    message = f"{len(found)} begin with {start!r}" if found else f"no {what} begins with {start!r}"
    remedy = f"Give more of it; `{listing}` shows them" if found else f"`{listing}` shows what there is"
    raise ConfigError((Problem(what, message, remedy),))
