"""The awake minutes of a warehouse that many pipelines share are predicted as the coordinator plays them."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks import together
from fastetl.config import RedshiftTarget
from fastetl.tune.awake import Member, build_member, predict_awake
from fastetl.tune.model import MIB, Settings, Workload
from fastetl.tune.prices import Book
from tests.tune.test_day import MEASURED, SHOP

SHARED = RedshiftTarget(workgroup="shared")


def make_members(sources: list[together.Source]) -> list[Member]:
    """The benchmark's pipelines: a batch begins with its first change, and ends with its window."""
    members = []
    for number, source in enumerate(sources):
        mean = sum(source.profile) / len(source.profile)
        rates = [source.rate * share / mean for share in source.profile]
        files = tuple(1 / (1 / rate + source.window_seconds) for rate in rates)
        size = together.BYTES_PER_CHANGE * (1 + source.rate * source.window_seconds)
        members.append(Member(f"p{number}", files, size, 128 * MIB, source.max_age_seconds))
    return members


@pytest.mark.parametrize("day", ["mixed"])
def test_the_sum_of_a_deployment_comes_as_it_is_played(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "DAY", 4 * together.HOUR)
    played = together.play_day(day, pipelines=6)
    predicted = predict_awake(make_members(together.build_day(day, 6)), SHARED, Book(), day_seconds=4 * together.HOUR)
    assert predicted.minutes == pytest.approx(played["awake_minutes"], rel=0.1)
    assert predicted.dollars_per_day == pytest.approx(played["awake_minutes"] / 60 * 8 * 0.375, rel=0.1)


def test_each_at_its_own_moment_costs_many_times_as_much() -> None:
    members = make_members(together.build_day("mixed", 50))
    alone = predict_awake(members, msgspec.structs.replace(SHARED, join_at=1.0), Book())
    assert alone.minutes > 5 * predict_awake(members, SHARED, Book()).minutes


def test_a_pipeline_of_its_own_wakes_the_warehouse_as_the_prediction_of_its_day_says() -> None:
    settings = Settings(1769, 10_000, 60, 1, 8 * MIB, 64 * MIB, 900)
    member = build_member("orders", MEASURED, settings, Workload(250, SHOP), Book())
    found = predict_awake([member], SHARED, Book())
    assert len(found.minutes_by_hour) == 24
    assert found.wake_ups == pytest.approx(24 * 4, rel=0.1)
    assert found.pipelines == ("orders",)


def test_what_never_changes_wakes_nothing() -> None:
    found = predict_awake([Member("quiet", (0.0,), 0.0, MIB, 900)], SHARED, Book())
    assert (found.minutes, found.wake_ups, found.loads) == (0, 0, 0)
