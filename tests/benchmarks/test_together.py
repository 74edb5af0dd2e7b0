"""A small day of the benchmark of pipelines that load together: what it publishes of 50 holds for a few."""

from __future__ import annotations

import pytest

from benchmarks import together

SECONDS = 3 * together.HOUR


def play(join_at: float | None, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(together, "DAY", SECONDS)
    monkeypatch.setattr(together, "PIPELINES", 6)
    return together.play_day("mixed", join_at, pipelines=6)


def test_together_is_the_least_possible_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    joined, alone = play(None, monkeypatch), play(1.0, monkeypatch)
    assert joined["least_minutes"] == alone["least_minutes"]
    assert joined["ratio"] <= 1.15
    assert joined["latest_p99_beyond_max_age"] <= together.MARGIN_SECONDS
    assert alone["awake_minutes"] >= 2 * joined["awake_minutes"]
