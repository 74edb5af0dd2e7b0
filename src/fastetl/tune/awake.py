"""Predict how long a warehouse is awake that several pipelines share. Pure.

A day is drawn: files come at random, by each pipeline's rates, and pipelines load when the coordinator would load
them, by its own rule (`load/together.py`). A load takes what `prices.Constants` assume.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import msgspec

from fastetl.load import Standing, choose
from fastetl.tune.model import HOUR, Measured, Settings, Workload, ingest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.config import RedshiftTarget
    from fastetl.tune.prices import Book, Constants

DAY_SECONDS = 24 * HOUR


class Member(msgspec.Struct, frozen=True):
    """A pipeline as its warehouse sees it."""

    name: str
    files_per_second: tuple[float, ...]
    """In equal parts of the day."""
    file_bytes: float
    max_bytes: int
    max_age_seconds: int
    max_files: int = 10_000


class Awake(msgspec.Struct, frozen=True):
    """When a warehouse is awake in a day."""

    pipelines: tuple[str, ...]
    minutes_by_hour: tuple[float, ...]
    wake_ups: int
    loads: int
    dollars_per_day: float

    @property
    def minutes(self) -> float:
        """Of the day."""
        return sum(self.minutes_by_hour)


class _Waiting:
    """What waits of one pipeline."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.files = 0
        self.oldest = 0.0

    def measure_fullness(self, now: float) -> float:
        if not self.files:
            return 0.0
        member = self.member
        shares = (self.files * member.file_bytes / member.max_bytes, self.files / member.max_files)
        return max((now - self.oldest) / member.max_age_seconds, *shares)


def build_member(name: str, measured: Measured, settings: Settings, workload: Workload, book: Book) -> Member:
    """Give a pipeline as its warehouse sees it.

    Args:
        name: the pipeline's.
        measured: of its function.
        settings: of its function, and when it loads.
        workload: its rate, hours and shards.
        book: of prices and constants.
    """
    hours = [ingest(measured, settings, rate, workload.shards, book.constants) for rate in workload.hours]
    files = sum(hour.invocations for hour in hours)
    return Member(
        name=name,
        files_per_second=tuple(hour.invocations for hour in hours),
        file_bytes=sum(hour.invocations * hour.file_bytes for hour in hours) / files if files else 0.0,
        max_bytes=settings.max_bytes,
        max_age_seconds=settings.max_age_seconds,
        max_files=settings.max_files,
    )


def predict_awake(
    members: Sequence[Member], sharing: RedshiftTarget, book: Book, *, day_seconds: float = DAY_SECONDS, seed: int = 0
) -> Awake:
    """Predict when the warehouse of some pipelines is awake.

    Args:
        members: the pipelines that load into it.
        sharing: how they share it.
        book: of prices and constants.
        day_seconds: how much of a day is drawn.
        seed: of the files that are drawn.
    """
    chance = random.Random(seed)  # noqa: S311 - files are drawn, and no secrets
    constants = book.constants
    waiting = {member.name: _Waiting(member) for member in members}
    spans: list[tuple[float, float]] = []
    loads, tick = 0, constants.wake_up_seconds
    for number in range(1, math.ceil(day_seconds / tick) + 1):
        now = number * tick
        for each in waiting.values():
            _arrive(each, now, tick, chance)
        for begin, end in _load(waiting, now, sharing, constants):
            loads += 1
            if spans and begin <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((begin, max(end, begin + constants.redshift_minimum_seconds)))
    by_hour = [0.0] * math.ceil(day_seconds / HOUR)
    for begin, end in spans:
        by_hour[min(int(begin // HOUR), len(by_hour) - 1)] += (end - begin) / 60
    hours_awake = sum(by_hour) / 60
    return Awake(
        pipelines=tuple(waiting),
        minutes_by_hour=tuple(by_hour),
        wake_ups=len(spans),
        loads=loads,
        dollars_per_day=hours_awake * constants.redshift_rpus * book.prices.redshift_rpu_hour,
    )


def write_hours(awake: Awake) -> str:
    """Draw the hours of a day as one line: the higher a bar, the longer the warehouse is awake in that hour.

    Args:
        awake: of a day.
    """
    heights = " ▁▂▃▄▅▆▇█"
    steps = len(heights) - 1
    return "".join(heights[min(steps, math.ceil(minutes / 60 * steps))] for minutes in awake.minutes_by_hour)


def _arrive(each: _Waiting, now: float, tick: float, chance: random.Random) -> None:
    """Draw the files that have come since the last wake-up."""
    rates = each.member.files_per_second
    expected = rates[int((now - tick) % DAY_SECONDS * len(rates) // DAY_SECONDS)] * tick
    passed = chance.expovariate(1.0)
    while passed < expected:
        if not each.files:
            each.oldest = now - tick + passed / expected * tick
        each.files += 1
        passed += chance.expovariate(1.0)


def _load(
    waiting: dict[str, _Waiting], now: float, sharing: RedshiftTarget, constants: Constants
) -> Iterable[tuple[float, float]]:
    """Load what the coordinator would load in one wake-up; give from when to when each load runs."""
    at, is_awake = now, False
    while True:
        standings = [Standing(name, "shared", each.measure_fullness(now)) for name, each in waiting.items()]
        chosen = choose(standings, {"shared": sharing}, {"shared"} if is_awake else ())
        chosen = {name: share for name, share in chosen.items() if waiting[name].files}
        if not chosen:
            return
        ends = []
        for name in chosen:
            files = min(waiting[name].files, waiting[name].member.max_files)
            size = files * waiting[name].member.file_bytes
            seconds = constants.copy_base_seconds + files * constants.copy_seconds_per_file
            ends.append(at + seconds + size / constants.copy_bytes_per_second)
            waiting[name].files -= files
            yield at, ends[-1]
        at, is_awake = max(ends), True
