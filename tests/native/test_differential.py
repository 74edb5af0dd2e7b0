"""A bounded run of the differential fuzzer, and what it has to find."""

from __future__ import annotations

from typing import Any

import pytest

from fastetl.decode.native import NativeRows, free_rows
from tests.native.differential import Fuzzer

STEPS = 2500


def test_both_ways_agree_on_changed_events_and_lines() -> None:
    fuzzer = Fuzzer(seed=1)
    for _ in range(STEPS):
        fuzzer.step()
    assert fuzzer.differences == []
    assert min(fuzzer.counts[kind] for kind in ("event", "full", "incremental")) > STEPS / 10
    assert min(fuzzer.counts["native rows"], fuzzer.counts["left"]) > STEPS / 2
    assert free_rows() <= 1


def test_a_difference_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    frame: Any = NativeRows.frame
    monkeypatch.setattr(NativeRows, "frame", lambda *each: frame(*each).reverse())
    fuzzer = Fuzzer(seed=1)
    for _ in range(200):
        fuzzer.step()
    assert any("'frame'" in difference for difference in fuzzer.differences)
