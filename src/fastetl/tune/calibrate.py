"""Compare real invocations with predicted ones: Lambda's reports say what they took, fastetl's log how many records.

The same code reads the log of functions on Lambda, as JSON or as text, and of the runtime stand-in. Pure.
"""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from fastetl.tune.model import cpu_share, duration, init_duration, shrink, waits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastetl.tune.model import Measured
    from fastetl.tune.prices import Book, Constants

LEAST_INVOCATIONS = 5
"""Invocations without which nothing is concluded."""

LOG_FILTER = '?REPORT ?"platform.report" ?ingested'
"""Finds the lines that `read_invocations` reads, in CloudWatch Logs."""

_REPORT = re.compile(
    r"REPORT RequestId: (?P<id>\S+)\s+Duration: (?P<duration>[0-9.]+) ms\s+Billed Duration: (?P<billed>[0-9.]+) ms\s+"
    r"Memory Size: (?P<memory>[0-9]+) MB\s+Max Memory Used: (?P<used>[0-9]+) MB"
    r"(?:\s+Init Duration: (?P<init>[0-9.]+) ms)?"
)


class Real(msgspec.Struct, frozen=True):
    """One invocation as Lambda reports it."""

    records: int
    duration_seconds: float
    billed_seconds: float
    """Rounded up, and with the environment's start where there was one."""
    memory_mb: int
    used_mb: int
    init_seconds: float = 0.0


class Compared(msgspec.Struct, frozen=True):
    """A median that was predicted, and what it really was."""

    predicted: float
    real: float


class Calibration(msgspec.Struct, frozen=True):
    """How real invocations compare with predicted ones, and what that makes of the constants."""

    invocations: int
    """In environments that had started before."""
    starts: int
    """Of environments."""
    duration_seconds: Compared
    billed_seconds: Compared
    memory_mb: Compared
    """Used, not given."""
    init_seconds: Compared | None
    """None where no environment was started."""
    cpu_factor: Compared
    """What `Constants.cpu_factor` was, and what it would have to be; and so on."""
    init_factor: Compared
    more_memory_mb: Compared

    def correct_book(self, book: Book) -> Book:
        """Give a book whose constants agree with what was real.

        Args:
            book: of prices and constants.
        """
        return msgspec.structs.replace(book, constants=self.correct(book.constants))

    def correct(self, constants: Constants) -> Constants:
        """Give constants under which the model agrees with what was real.

        Args:
            constants: of the model.
        """
        return msgspec.structs.replace(
            constants,
            cpu_factor=self.cpu_factor.real,
            init_factor=self.init_factor.real,
            more_memory_mb=self.more_memory_mb.real,
        )


def read_invocations(lines: Iterable[str]) -> list[Real]:
    """Find the invocations in a function's log: those that wrote how many records they had.

    Args:
        lines: of the log, in any order.
    """
    records: dict[str, int] = {}
    reports: dict[str, dict[str, float]] = {}
    for line in lines:
        if match := _REPORT.search(line):
            reports[match["id"]] = {name: float(text or 0) for name, text in match.groupdict().items() if name != "id"}
        elif '"platform.report"' in line:
            reports |= _read_json_report(line)
        elif '"ingested"' in line and isinstance(entry := _parse(line), dict):
            request, count = entry.get("function_request_id"), entry.get("Records")
            if isinstance(request, str) and isinstance(count, int):
                records[request] = count
    return [
        Real(
            records=records[request],
            duration_seconds=report["duration"] / 1000,
            billed_seconds=report["billed"] / 1000,
            memory_mb=int(report["memory"]),
            used_mb=int(report["used"]),
            init_seconds=report["init"] / 1000,
        )
        for request, report in reports.items()
        if request in records
    ]


def build_calibration(measured: Measured, invocations: Iterable[Real], constants: Constants) -> Calibration | None:
    """Compare what a function's log says with what the model says.

    Args:
        measured: of the pipeline.
        invocations: of the log.
        constants: of the model.

    Returns:
        The correction; None where there are too few invocations to conclude anything.
    """
    # The first of an environment opens connections, which the later ones find open.
    found = list(invocations)
    usual, first = [each for each in found if not each.init_seconds], [each for each in found if each.init_seconds]
    if len(usual) < LEAST_INVOCATIONS:
        return None
    samples = [measured.at(each.records) for each in usual]
    predicted = [duration(sample, each.memory_mb, constants) for sample, each in zip(samples, usual, strict=True)]
    # What is billed is rounded up to a millisecond, so that durations tell more about short invocations.
    factors = [
        shrink(each.duration_seconds - waits(sample, constants), cpu_share(each.memory_mb, constants), constants)
        / sample.cpu_seconds
        for sample, each in zip(samples, usual, strict=True)
    ]
    more_memory = [each.used_mb - sample.memory_mb for sample, each in zip(samples, usual, strict=True)]
    starting = [init_duration(measured, each.memory_mb, constants) for each in first]
    init_cpu = [
        shrink(each.init_seconds, cpu_share(each.memory_mb, constants), constants) / measured.init_seconds
        for each in first
    ]
    return Calibration(
        invocations=len(usual),
        starts=len(first),
        duration_seconds=Compared(median(predicted), median(each.duration_seconds for each in usual)),
        billed_seconds=Compared(
            sum(predicted)
            + sum(starting)
            + sum(duration(measured.at(e.records), e.memory_mb, constants) for e in first),
            sum(each.billed_seconds for each in found),
        ),
        memory_mb=Compared(
            median(sample.memory_mb + constants.more_memory_mb for sample in samples),
            median(each.used_mb for each in usual),
        ),
        init_seconds=Compared(median(starting), median(each.init_seconds for each in first)) if first else None,
        cpu_factor=Compared(constants.cpu_factor, max(0.1, median(factors))),
        init_factor=Compared(constants.init_factor, median(init_cpu) if first else constants.init_factor),
        more_memory_mb=Compared(constants.more_memory_mb, median(more_memory)),
    )


def _read_json_report(line: str) -> dict[str, dict[str, float]]:
    """Read a report as a function with JSON logs has it (Lambda Telemetry API, `platform.report`)."""
    try:
        record = orjson.loads(line)["record"]
        metrics = record["metrics"]
        report = {
            "duration": float(metrics["durationMs"]),
            "billed": float(metrics["billedDurationMs"]),
            "memory": float(metrics["memorySizeMB"]),
            "used": float(metrics["maxMemoryUsedMB"]),
            "init": float(metrics.get("initDurationMs") or 0),
        }
        return {str(record["requestId"]): report}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return {}


def _parse(line: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
