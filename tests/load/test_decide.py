"""The truth table of `decide`: the rows are those of docs/architecture.md, each played with values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from fastetl.load.decide import (
    FIRST_DELAY_SECONDS,
    LAST_DELAY_SECONDS,
    RESUBMIT_LIMIT_SECONDS,
    RUN_LIMIT_SECONDS,
    RUNNING,
    Action,
    Decision,
    Verdict,
    Waiting,
    decide,
    delay_seconds,
    find_due,
    looks_for_files,
)
from fastetl.model import MAX_OPEN_BATCHES, Batch, Head
from tests.load.test_batches import make_file

NOW = 1_790_000_000_000
DOCUMENT = (Path(__file__).parents[2] / "docs/architecture.md").read_text()
TABLE = DOCUMENT.partition("| open batches | the warehouse, or the files that wait | decision |\n|---|---|---|\n")[2]
ROWS = [
    tuple(cell.strip() for cell in line.strip("| ").split(" | ")) for line in TABLE.partition("\n\n")[0].splitlines()
]

Situation = tuple[Head, list[Batch], Waiting, dict[str, Verdict]]


def make_head(**changes: Any) -> Head:
    return Head(**({"pipeline": "p", "generation": 7, "open": (), "installation": "i", "loads": 5} | changes))


def make_batch(name: str = "b", **changes: Any) -> Batch:
    known: dict[str, Any] = {
        "batch_id": name, "pipeline": "p", "layout_id": "l", "manifest_key": "m", "files_key": "f",
        "manifest_checksum": "sum", "files": 1, "bytes": 10, "rows": 1, "changed_min": "1", "changed_max": "2",
        "attempt": 3, "submitted_at": NOW - 60_000, "error": "what it said",
    }  # fmt: skip
    return Batch(**(known | changes))


def suspect(name: str, **changes: Any) -> Batch:
    """A file that failed alone, and is not due yet."""
    known = {"state": "RETRY", "data_failures": 2, "loads_seen": 5, "not_before": NOW + 1}
    return make_batch(name, **(known | changes))


NOTHING = Waiting()


def situation(*batches: Batch, verdict: Verdict | None = None, waiting: Waiting = NOTHING, **head: Any) -> Situation:
    verdicts = {batch.batch_id: verdict or Verdict("running") for batch in batches if batch.state in RUNNING}
    return make_head(open=tuple(batch.batch_id for batch in batches), **head), list(batches), waiting, verdicts


FILES = (make_file("a" * 32),)
DUE, NOT_DUE = Waiting(FILES, is_due=True), Waiting(FILES, is_due=False)
NOT_COMMITTED = Verdict("finished", fenced=4)


def submitting(**changes: Any) -> Batch:
    return make_batch(state="SUBMITTING", **changes)


def submitted(**changes: Any) -> Batch:
    return make_batch(state="SUBMITTED", statement_id="s", **changes)


def resolving(**changes: Any) -> Batch:
    return make_batch(**({"state": "RESOLVING", "statement_id": "s", "loads_begun": 5} | changes))


def archived(**changes: Any) -> Batch:
    return make_batch(**({"state": "RETRY", "failure": "archived", "not_before": NOW} | changes))


def hours_ago(seconds: int) -> int:
    return NOW - seconds * 1000 - 1


UNSEEN, SEEN = Verdict("unseen"), Verdict("seen", "s")
FAILED = Verdict("failed", step="copy", error="Disk Full")
LOADED, LOADED_OTHERWISE = Verdict("finished", loaded="sum"), Verdict("finished", loaded="other")
SECOND = {"failure": "data", "data_failures": 1, "loads_seen": 4}

SITUATIONS: dict[tuple[str, str], Situation] = {
    ("none", "nothing waits"): situation(),
    ("none", "files wait, too few and too young"): situation(waiting=NOT_DUE),
    ("none", "files wait, and a threshold is crossed"): situation(waiting=DUE),
    ("none", "files wait, and an operator asked for a load"): situation(waiting=NOT_DUE, load_requested=True),
    ("one is FORMED", "-"): situation(make_batch()),
    ("one is FORMED, and an operator paused", "-"): situation(make_batch(), paused="x", paused_by="operator"),
    ("one is in RETRY, its delay not over", "-"): situation(make_batch(state="RETRY", not_before=NOW + 1)),
    ("one is in RETRY, its delay over", "-"): situation(make_batch(state="RETRY", not_before=NOW)),
    ("one is in RETRY, its delay over, since files of it are in an archive", "-"): situation(archived()),
    (
        "one is in RETRY, its delay not over, since files of it are in an archive",
        "files wait, and a threshold is crossed",
    ): situation(archived(not_before=NOW + 1), waiting=DUE),
    ("a suspect is in RETRY, its delay over, and fastetl paused", "a file waits"): situation(
        suspect("b", not_before=NOW), waiting=DUE, paused="x", paused_by="fastetl"
    ),
    ("one is SUBMITTING", "the attempt was seen"): situation(submitting(), verdict=SEEN),
    ("one is SUBMITTING", "the attempt was not seen, and is planned as before"): situation(
        submitting(), verdict=UNSEEN
    ),
    ("one is SUBMITTING", "the attempt was not seen, and is planned differently"): situation(
        submitting(), verdict=Verdict("unseen", is_unchanged=False)
    ),
    ("one is SUBMITTING for hours", "the attempt was not seen"): situation(
        submitting(submitted_at=hours_ago(RESUBMIT_LIMIT_SECONDS)), verdict=UNSEEN
    ),
    ("one is SUBMITTED", "it runs"): situation(submitted()),
    ("one is SUBMITTED for hours", "it runs"): situation(submitted(submitted_at=hours_ago(RUN_LIMIT_SECONDS))),
    ("one is SUBMITTED", "it finished"): situation(submitted(), verdict=Verdict("finished")),
    ("one is SUBMITTED", "it failed"): situation(submitted(), verdict=FAILED),
    ("one is SUBMITTED", "it failed at `copy`; which files are to blame is still asked for"): situation(
        submitted(), verdict=Verdict("failed", step="copy", error="x", suspects=None)
    ),
    ("one is SUBMITTED", "the Data API has forgotten it"): situation(submitted(), verdict=Verdict("lost")),
    ("one is RESOLVING, its delay not over", "it has not been asked"): situation(
        resolving(statement_id="", not_before=NOW + 1), verdict=UNSEEN
    ),
    ("one is RESOLVING", "it has not been asked"): situation(resolving(statement_id=""), verdict=UNSEEN),
    ("one is RESOLVING", "its answer is on the way"): situation(resolving()),
    ("one is RESOLVING", "it could not answer"): situation(resolving(), verdict=Verdict("failed", error="restart")),
    ("one is RESOLVING", "it is not allowed to answer"): situation(
        resolving(), verdict=Verdict("failed", error="permission denied for relation t_gate")
    ),
    ("one is RESOLVING", "the batch is committed"): situation(resolving(), verdict=LOADED),
    ("one is RESOLVING", "the batch is committed, from other objects"): situation(
        resolving(failure="gate"), verdict=LOADED_OTHERWISE
    ),
    ("one is RESOLVING, since files of it are loaded", "the batch is not committed"): situation(
        resolving(failure="files"), verdict=NOT_COMMITTED
    ),
    ("one is RESOLVING, since the gate refused it", "the batch is not committed"): situation(
        resolving(failure="gate"), verdict=NOT_COMMITTED
    ),
    ("one is RESOLVING, since it failed by chance", "the batch is not committed"): situation(
        resolving(failure="transient"), verdict=NOT_COMMITTED
    ),
    ("one is RESOLVING, since a file of it is in an archive", "the batch is not committed"): situation(
        resolving(failure="archived"), verdict=NOT_COMMITTED
    ),
    ("one is RESOLVING, since the infrastructure failed", "the batch is not committed"): situation(
        resolving(failure="infrastructure"), verdict=NOT_COMMITTED
    ),
    ("one of several files is RESOLVING, since its data failed", "the batch is not committed"): situation(
        resolving(failure="data", files=2), verdict=NOT_COMMITTED
    ),
    ("one of several files is RESOLVING, since an object cannot be read", "the batch is not committed"): situation(
        resolving(failure="unreadable", files=2), verdict=NOT_COMMITTED
    ),
    ("one of a single file is RESOLVING, since its data failed", "the batch is not committed"): situation(
        resolving(failure="data"), verdict=NOT_COMMITTED
    ),
    ("... for the second time, and another batch has loaded in between", "the batch is not committed"): situation(
        resolving(**SECOND), verdict=NOT_COMMITTED
    ),
    ("... for the second time, and nothing has loaded in between", "the batch is not committed"): situation(
        resolving(**(SECOND | {"loads_seen": 5})), verdict=NOT_COMMITTED
    ),
    ("... and so did two others, with nothing loaded in between", "the batch is not committed"): situation(
        resolving(**(SECOND | {"loads_seen": 5})), suspect("c"), suspect("d"), verdict=NOT_COMMITTED
    ),
    ("a probe beside suspects is RESOLVING, since its data failed", "the batch is not committed"): situation(
        suspect("c"), resolving(failure="data"), verdict=NOT_COMMITTED, paused="x", paused_by="fastetl"
    ),
}


def play(found: Situation) -> Decision:
    return decide(*found, NOW)


def test_the_table_has_a_row_for_every_situation() -> None:
    assert [row[:2] for row in ROWS] == list(SITUATIONS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[1]}")
def test_a_row_of_the_table(row: tuple[str, str, str]) -> None:
    decision = play(SITUATIONS[row[0], row[1]])
    said = f"`{decision.action}`" + (", and pause" if decision.pause else "")
    assert said == row[2]


def test_every_action_is_in_the_table() -> None:
    assert {action for row in ROWS for action in re.findall(r"`(\w+)`", row[2])} == set(get_args(Action))


def test_retries_wait_ever_longer_and_never_more_than_an_hour() -> None:
    delays = [delay_seconds(failures) for failures in range(20)]
    assert delays == sorted(delays)
    assert (delays[0], delays[1], delays[-1]) == (FIRST_DELAY_SECONDS, 2 * FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS)


def test_an_attempt_that_the_gate_refused_is_repeated_at_once_above_every_fence() -> None:
    changes = play(situation(resolving(failure="gate"), verdict=Verdict("finished", fenced=9))).changes
    assert (changes["attempt"], changes["not_before"], changes["state"]) == (9, NOW, "RETRY")
    later = play(situation(resolving(failure="transient", failures=3), verdict=NOT_COMMITTED)).changes
    assert (later["attempt"], later["not_before"], later["failures"]) == (4, NOW + delay_seconds(3) * 1000, 4)


def test_an_attempt_begins_with_nothing_left_of_the_one_before() -> None:
    before = make_batch(state="RETRY", failure="data", suspects=("x",), resolves=4, statement_id="old", not_before=0)
    changes = play(situation(before)).changes
    assert (changes["state"], changes["attempt"], changes["began"]) == ("SUBMITTING", 4, NOW)
    assert (changes["loads_begun"], changes["submitted_at"]) == (5, NOW)
    assert {changes[name] for name in ("failure", "suspects", "error", "statement_id")} == {"", ()}
    assert changes["resolves"] == 0


def test_a_load_that_was_seen_to_end_counts_and_one_that_a_verdict_found_does_not() -> None:
    seen = play(situation(submitted(), verdict=Verdict("finished"))).head_changes
    found = play(situation(resolving(), verdict=LOADED)).head_changes
    assert (seen["loads"], found["loads"]) == (6, 5)
    assert seen["last_load"] == found["last_load"] == NOW
    # A verdict tells that the batch is committed, and not by which attempt.
    assert (seen["last_batch"].batch_id, found["last_batch"].batch_id) == (submitted().batch_id, resolving().batch_id)
    assert (seen["last_batch"].attempt, found["last_batch"].attempt) == (submitted().attempt, 0)


def test_the_first_failure_of_the_data_remembers_what_had_loaded() -> None:
    first = play(situation(resolving(failure="data"), verdict=NOT_COMMITTED)).changes
    assert (first["data_failures"], first["loads_seen"]) == (1, 5)
    second = play(situation(resolving(**(SECOND | {"loads_seen": 5})), verdict=NOT_COMMITTED)).changes
    assert (second["data_failures"], second["loads_seen"]) == (2, 5)


def test_a_load_that_began_before_the_first_failure_compares_nothing() -> None:
    begun = resolving(**(SECOND | {"loads_begun": 4}))
    assert play(situation(begun, verdict=NOT_COMMITTED)).action == "retry"


def test_the_error_is_kept_with_its_step_and_cut() -> None:
    failed = Verdict("failed", step="merge", error="x" * 600)
    changes = play(situation(submitted(), verdict=failed)).changes
    assert (changes["error"][:7], len(changes["error"]), changes["failure"]) == ("merge: ", 500, "infrastructure")
    whole = Verdict("failed", error="no step is named")
    assert play(situation(submitted(), verdict=whole)).changes["error"] == "no step is named"


def test_what_the_load_errors_say_is_kept_and_does_not_decide() -> None:
    words = "Load into table 'x' failed.  Check 'sys_load_error_detail'"
    failed = Verdict("failed", step="copy", error=words, detail="x.csv.gz, line 3, column note: 1204 connection")
    changes = play(situation(submitted(), verdict=failed)).changes
    assert (changes["error"], changes["failure"]) == (f"copy: {failed.detail}", "data")


def test_the_files_that_the_warehouse_names_are_suspects() -> None:
    named = Verdict("failed", step="copy", error="words that nobody knows", suspects=("a", "b"))
    changes = play(situation(submitted(), verdict=named)).changes
    assert (changes["failure"], changes["suspects"]) == ("data", ("a", "b"))


def test_one_batch_that_waits_does_not_hide_another_that_ended() -> None:
    first, second = submitted(), make_batch("c", state="SUBMITTED", statement_id="t")
    head, batches, waiting, verdicts = situation(first, second)
    verdicts["c"] = Verdict("finished")
    decision = decide(head, batches, waiting, verdicts, NOW)
    assert (decision.action, decision.batch) == ("mark", second)


def test_the_newest_formed_batch_goes_first_and_then_the_retry_that_has_waited_longest() -> None:
    formed = [make_batch("b"), make_batch("c")]
    retries = [make_batch("d", state="RETRY", not_before=NOW - 1), make_batch("e", state="RETRY", not_before=NOW - 2)]
    assert find_due(make_head(), [*formed, *retries], NOW) == formed[1]
    assert find_due(make_head(), retries, NOW) == retries[1]
    assert find_due(make_head(paused="x", paused_by="operator"), retries, NOW) is None


@pytest.mark.parametrize(
    ("batches", "head", "looks"),
    [
        ([], {}, True),
        ([], {"paused": "x", "paused_by": "operator"}, False),
        ([], {"paused": "x", "paused_by": "fastetl"}, True),
        ([make_batch()], {}, False),
        ([make_batch(state="RETRY", not_before=NOW + 1)], {}, False),
        ([suspect("b")], {}, True),
        # Files in an archive hold up no others; such a batch that is tried does.
        ([archived(not_before=NOW + 1)], {}, True),
        ([archived(not_before=NOW)], {}, False),
        ([archived(state="RESOLVING")], {}, False),
        # What is due goes first, but for a probe.
        ([suspect("b", not_before=NOW)], {}, False),
        ([suspect("b", not_before=NOW)], {"paused": "x", "paused_by": "fastetl"}, True),
        ([suspect("b")], {"paused": "x", "paused_by": "fastetl", "probe_at": NOW + 1}, False),
        ([suspect("b")], {"paused": "x", "paused_by": "fastetl", "probe_at": NOW}, True),
        # One place is kept for a probe, and one for the second part of a split.
        ([suspect(str(n)) for n in range(MAX_OPEN_BATCHES - 2)], {}, True),
        ([suspect(str(n)) for n in range(MAX_OPEN_BATCHES - 1)], {}, False),
        ([suspect(str(n)) for n in range(MAX_OPEN_BATCHES - 1)], {"paused": "x", "paused_by": "fastetl"}, True),
        ([suspect(str(n)) for n in range(MAX_OPEN_BATCHES)], {"paused": "x", "paused_by": "fastetl"}, False),
    ],
)
def test_the_index_is_asked_only_where_another_batch_may_be_opened(
    batches: list[Batch], head: dict[str, Any], looks: bool
) -> None:
    assert looks_for_files(make_head(**head), batches, NOW) == looks
