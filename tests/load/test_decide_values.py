"""What a decision writes, value by value, where the truth table says only which step is taken."""

from __future__ import annotations

from typing import Any

import pytest

from fastetl.load.decide import (
    FIRST_DELAY_SECONDS,
    LAST_DELAY_SECONDS,
    RUN_LIMIT_SECONDS,
    Decision,
    Verdict,
    decide,
    is_older,
)
from fastetl.model import Batch
from tests.load.test_decide import NOW, Situation, make_batch, resolving, situation, submitting, suspect

NOT_COMMITTED = Verdict("finished", fenced=4)


def decided(played: Situation) -> Decision:
    return decide(*played, NOW)


@pytest.mark.parametrize(
    ("verdict", "pause"),
    [
        # What the Data API has forgotten says nothing of the warehouse, whatever its message.
        (Verdict("lost", error="permission denied for relation"), ""),
        (Verdict("failed", error="connection reset"), ""),
        (Verdict("failed", error="permission denied for relation"), "permission denied for relation"),
    ],
)
def test_a_resolve_without_an_answer_is_asked_again_later(verdict: Verdict, pause: str) -> None:
    found = decided(situation(resolving(resolves=2), verdict=verdict))
    assert (found.action, found.pause) == ("ask_again", pause)
    assert found.changes == {
        "resolves": 3, "statement_id": "", "not_before": NOW + 4 * FIRST_DELAY_SECONDS * 1000, "marked_to": "",
    }  # fmt: skip


def test_a_resolve_that_says_nothing_of_fences_leaves_the_attempt_as_it_is() -> None:
    assert Verdict("finished").fenced == 0
    found = decided(situation(resolving(attempt=0, failure="transient"), verdict=Verdict("finished")))
    assert (found.action, found.changes["attempt"]) == ("retry", 0)


def test_a_batch_whose_files_were_asked_for_is_dissolved_though_another_manifest_is_committed() -> None:
    asked = resolving(failure="files")
    assert decided(situation(asked, verdict=Verdict("finished", loaded="other"))).action == "dissolve"


def test_an_attempt_that_never_arrived_failed_by_chance() -> None:
    found = decided(situation(submitting(), verdict=Verdict("unseen", is_unchanged=False)))
    assert (found.action, found.changes["failure"], found.changes["state"]) == ("resolve", "transient", "RESOLVING")


def test_a_probe_that_failed_beside_suspects_delays_the_next_probe() -> None:
    probe = resolving(failure="data")
    found = decided(situation(suspect("a"), probe, verdict=NOT_COMMITTED, paused="x", paused_by="fastetl"))
    assert found.action == "dissolve"
    assert found.head_changes == {"probe_at": NOW + LAST_DELAY_SECONDS * 1000}


def test_the_first_failure_of_a_file_pauses_nothing_though_two_others_failed() -> None:
    others = suspect("a"), suspect("c")
    first = decided(situation(*others, resolving(failure="data"), verdict=NOT_COMMITTED))
    second = resolving(failure="data", data_failures=1, loads_seen=5)
    assert (first.action, first.pause) == ("retry", "")
    assert decided(situation(*others, second, verdict=NOT_COMMITTED)).pause


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (make_batch(submitted_at=NOW - RUN_LIMIT_SECONDS * 1000), False),
        (make_batch(submitted_at=NOW - RUN_LIMIT_SECONDS * 1000 - 1), True),
        (make_batch(submitted_at=0), False),
    ],
)
def test_a_run_is_too_long_when_it_takes_longer_than_its_limit(batch: Batch, expected: Any) -> None:
    assert is_older(batch, RUN_LIMIT_SECONDS, NOW) is expected
