"""Real invocations beside predicted ones: REPORT lines say what Lambda measured, fastetl's own lines of what. Pure.

The same code reads the log of functions on Lambda and of the runtime stand-in, whose REPORT lines hold measured times.
"""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from fastetl.tune.model import cpu_share, duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastetl.tune.model import Measured
    from fastetl.tune.prices import Constants

LEAST = 5
"""Invocations without which nothing is concluded."""

_REPORT = re.compile(
    r"REPORT RequestId: (?P<id>\S+)\s+Duration: (?P<duration>[0-9.]+) ms\s+Billed Duration: (?P<billed>[0-9.]+) ms\s+"
    r"Memory Size: (?P<memory>[0-9]+) MB\s+Max Memory Used: (?P<used>[0-9]+) MB"
    r"(?:\s+Init Duration: (?P<init>[0-9.]+) ms)?"
)


class Real(msgspec.Struct, frozen=True):
    """One invocation as Lambda reports it."""

    records: int
    duration_seconds: float
    memory_mb: int
    used_mb: int
    init_seconds: float = 0.0


class Calibration(msgspec.Struct, frozen=True):
    """How real invocations compare with predicted ones; medians."""

    invocations: int
    predicted_seconds: float
    real_seconds: float
    predicted_mb: float
    real_mb: float
    init_seconds: float
    """0 where no environment was started."""
    cpu_factor: float
    """What `Constants.cpu_factor` would have to be."""


def read_invocations(lines: Iterable[str]) -> list[Real]:
    """Find the invocations in a function's log: those that wrote how many records they had."""
    records: dict[str, int] = {}
    reports: dict[str, re.Match[str]] = {}
    for line in lines:
        if match := _REPORT.search(line):
            reports[match["id"]] = match
        elif '"ingested"' in line and isinstance(entry := _parse(line), dict):
            request, count = entry.get("function_request_id"), entry.get("Records")
            if isinstance(request, str) and isinstance(count, int):
                records[request] = count
    return [
        Real(
            records[request],
            float(match["duration"]) / 1000,
            int(match["memory"]),
            int(match["used"]),
            float(match["init"] or 0) / 1000,
        )
        for request, match in reports.items()
        if request in records
    ]


def calibrate(measured: Measured, invocations: Iterable[Real], constants: Constants) -> Calibration | None:
    """Compare; None where there are too few invocations to conclude anything."""
    # The first of an environment opens connections, which the later ones find open.
    found = list(invocations)
    usual = [each for each in found if not each.init_seconds]
    if len(usual) < LEAST:
        return None
    predicted, factors = [], []
    for each in usual:
        sample = measured.at(each.records)
        seconds = duration(sample, each.memory_mb, constants)
        predicted.append(seconds)
        computing = sample.cpu_seconds / cpu_share(each.memory_mb, constants)
        waiting = seconds - computing * constants.cpu_factor
        factors.append((each.duration_seconds - waiting) / computing)
    return Calibration(
        invocations=len(usual),
        predicted_seconds=median(predicted),
        real_seconds=median(each.duration_seconds for each in usual),
        predicted_mb=median(measured.at(each.records).memory_mb for each in usual),
        real_mb=median(each.used_mb for each in usual),
        init_seconds=median([each.init_seconds for each in found if each.init_seconds] or [0.0]),
        cpu_factor=max(0.1, median(factors)),
    )


def _parse(line: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
