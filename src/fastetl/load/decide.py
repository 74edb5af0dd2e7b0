"""Decide the next step of a pipeline, from what the ledger and the warehouse say. Pure.

`docs/architecture.md` has the truth table of `decide`; `steps.py` takes the step. A decision depends on its arguments
alone, so two coordinators that read the same state decide the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from fastetl.load.failures import classify, explain
from fastetl.model import MAX_OPEN_BATCHES, Batch, Failure, FileItem, Head, LoadedBatch

RUN_LIMIT_SECONDS = 2 * 3600
"""A transaction that runs or queues longer is cancelled and tried again; somebody may hold the gate's lock."""

RESUBMIT_LIMIT_SECONDS = 4 * 3600
"""The Data API remembers a client token for 8 hours: well before that, an attempt is resolved instead."""

FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 30, 3600
"""The delay before the first retry of a batch, and the longest delay; it doubles in between."""

QUARANTINE_AFTER = 2
"""Failures of the data, of a file on its own, with another batch loaded in between."""

PAUSE_AFTER = 2
"""Other files that failed like this one, with nothing loaded in between: then it is probably not the data."""

RUNNING = frozenset({"SUBMITTING", "SUBMITTED", "RESOLVING"})
"""States in which the warehouse is at work on a batch, or may be."""

Action = Literal[
    "idle",
    "wait",
    "open",
    "restore",
    "submit",
    "resubmit",
    "follow",
    "cancel",
    "resolve",
    "ask",
    "ask_again",
    "mark",
    "dissolve",
    "split",
    "quarantine",
    "retry",
]  # fmt: skip
"""What a wake-up may do, in the order of a batch's life: nothing, open a batch, ask for what is in an archive, make an
attempt, settle how it ended,
and end the batch."""


class Waiting(msgspec.Struct, frozen=True):
    """The files that the next batch would take: of one layout, oldest first, in no open batch."""

    files: tuple[FileItem, ...] = ()
    is_due: bool = False
    """Whether they are to be loaded now: enough of them wait, or one waits long enough, or one is tried alone."""


class Verdict(msgspec.Struct, frozen=True):
    """What the warehouse says of a batch that it is at work on."""

    answer: Literal["unseen", "seen", "running", "finished", "failed", "lost"]
    """`unseen`, `seen`: whether an attempt arrived whose submission may have been cut off. `lost`: the Data API does
    not know the statement any more, which says nothing about its transaction."""
    statement_id: str = ""
    is_unchanged: bool = True
    """Whether the configuration still plans the statements of an attempt that was not seen."""
    step: str = ""
    """The statement that failed; empty where none is named."""
    error: str = ""
    detail: str = ""
    """What the warehouse's load errors say of the first row that does not fit: file, line, column, code and words."""
    suspects: tuple[str, ...] | None = ()
    """Files that the warehouse's load errors name; None while they are still being asked for."""
    loaded: str = ""
    """The manifest's checksum with which the batch is committed, as resolving says; empty where it is not committed."""
    fenced: int = 0
    """The highest attempt that can no longer commit, as resolving says."""


class Decision(msgspec.Struct, frozen=True):
    """One step, and everything that it writes."""

    action: Action
    batch: Batch | None = None
    files: tuple[FileItem, ...] = ()
    """The files of the batch to open."""
    changes: dict[str, Any] = {}
    """What the batch becomes, by attribute."""
    head_changes: dict[str, Any] = {}
    pause: str = ""
    """Why the pipeline is to pause, if it is."""


def decide(
    head: Head, batches: Sequence[Batch], waiting: Waiting, verdicts: Mapping[str, Verdict], now: int
) -> Decision:
    """Decide the next step.

    Args:
        head: the pipeline's HEAD.
        batches: the open batches that HEAD names, in its order.
        waiting: what the next batch would take; empty unless `looks_for_files`.
        verdicts: by batch id, what the warehouse says of every batch in one of the `RUNNING` states.
        now: Unix milliseconds.

    Returns:
        The step, with everything that it writes.
    """
    running = [batch for batch in batches if batch.state in RUNNING]
    for batch in running:
        decision = _follow(head, batches, batch, verdicts[batch.batch_id], now)
        if decision.action != "wait":
            return decision
    if running:
        return Decision("wait", running[0])
    if waiting.files and (waiting.is_due or head.load_requested):
        return Decision("open", files=waiting.files)
    if due := find_due(head, batches, now):
        return Decision("restore", due) if due.failure == "archived" else _submit(head, due, now)
    return Decision("idle")


def looks_for_files(head: Head, batches: Sequence[Batch], now: int) -> bool:
    """Tell whether another batch may be opened, so that it is worth asking what waits."""
    if head.paused_by == "operator" or not all(_lets_others_by(batch) for batch in batches):
        return False
    due = find_due(head, batches, now)
    if is_probing(head, batches):
        # A probe goes before retries: many suspects, each tried in its turn, would leave it no time.
        return now >= head.probe_at and len(batches) < MAX_OPEN_BATCHES
    return due is None and len(batches) < MAX_OPEN_BATCHES - 1


def _lets_others_by(batch: Batch) -> bool:
    """Tell whether newer files load beside a batch: a suspect may be tried for days, and an archive takes hours."""
    return bool(batch.data_failures) or (batch.state == "RETRY" and batch.failure == "archived")


def is_probing(head: Head, batches: Sequence[Batch]) -> bool:
    """Tell whether files are tried alone: should one of the newer load, the suspects are to blame after all."""
    return bool(head.paused and batches)


def find_due(head: Head, batches: Sequence[Batch], now: int) -> Batch | None:
    """Find the batch to try next: the newest first, so that a split is followed down to its end; then retries."""
    if head.paused_by == "operator":
        return None
    formed = [batch for batch in batches if batch.state == "FORMED"]
    retries = [batch for batch in batches if batch.state == "RETRY" and batch.not_before <= now]
    return formed[-1] if formed else min(retries, key=lambda batch: batch.not_before, default=None)


def resolve_changes(failure: Failure, error: str, suspects: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give the changes that make a batch RESOLVING: its attempt has ended, and the warehouse is asked how."""
    return {
        "state": "RESOLVING",
        "statement_id": "",
        "submitted_at": 0,
        "not_before": 0,
        "failure": failure,
        "suspects": suspects,
        "error": error[:500],
        "marked_to": "",
    }


# --- an attempt ------------------------------------------------------------------------------------------------------


def _submit(head: Head, batch: Batch, now: int) -> Decision:
    changes = {
        "state": "SUBMITTING",
        "attempt": batch.attempt + 1,
        "began": now,
        "resolves": 0,
        "loads_begun": head.loads,
        "follows": head.last_batch,
        "latest_epoch": max((start.epoch for start in head.epochs), default=0),
        "foreign_epoch": 0 if batch.carried_epoch in {start.epoch for start in head.epochs} else batch.carried_epoch,
        "statement_id": "",
        "submitted_at": now,
        "failure": "",
        "suspects": (),
        "error": "",
    }
    return Decision("submit", batch, changes=changes)


def _follow(head: Head, batches: Sequence[Batch], batch: Batch, verdict: Verdict, now: int) -> Decision:
    if verdict.answer == "running":
        too_long = is_older(batch, RUN_LIMIT_SECONDS, now)
        return Decision("cancel" if too_long else "wait", batch)
    match batch.state:
        case "SUBMITTING":
            return _find_attempt(batch, verdict, now)
        case "SUBMITTED":
            return _end_attempt(head, batch, verdict, now)
        case _:
            return _settle(head, batches, batch, verdict, now)


def _find_attempt(batch: Batch, verdict: Verdict, now: int) -> Decision:
    """Decide what follows for an attempt that a coordinator was about to submit, and perhaps did submit."""
    if verdict.answer == "seen":
        changes = {"state": "SUBMITTED", "statement_id": verdict.statement_id}
        return Decision("follow", batch, changes=changes)
    if verdict.is_unchanged and not is_older(batch, RESUBMIT_LIMIT_SECONDS, now):
        return Decision("resubmit", batch)
    return Decision("resolve", batch, changes=resolve_changes("transient", "never seen by the warehouse"))


def _end_attempt(head: Head, batch: Batch, verdict: Verdict, now: int) -> Decision:
    if verdict.answer == "finished":
        return _mark(batch, batch.attempt, loads=head.loads + 1, now=now)
    if verdict.answer == "lost":
        return Decision("resolve", batch, changes=resolve_changes("transient", verdict.error))
    if verdict.suspects is None:
        return Decision("wait", batch)
    failure = classify(verdict.step, verdict.error, named=bool(verdict.suspects))
    said = verdict.detail or explain(verdict.step, verdict.error)
    error = f"{verdict.step}: {said}" if verdict.step else said
    return Decision("resolve", batch, changes=resolve_changes(failure, error, verdict.suspects))


# --- how it ended ----------------------------------------------------------------------------------------------------


def _settle(head: Head, batches: Sequence[Batch], batch: Batch, verdict: Verdict, now: int) -> Decision:
    match verdict.answer:
        case "unseen":
            return Decision("wait" if now < batch.not_before else "ask", batch)
        case "finished":
            return _judge(head, batches, batch, verdict, now)
        case _:
            is_transient = verdict.answer == "lost" or classify("", verdict.error, named=False) == "transient"
            pause = "" if is_transient else verdict.error
            return Decision("ask_again", batch, changes=_asked_again(batch, now), pause=pause)


def _judge(head: Head, batches: Sequence[Batch], batch: Batch, verdict: Verdict, now: int) -> Decision:
    """Decide what follows once the warehouse says for certain whether the attempt was committed."""
    if verdict.loaded == batch.manifest_checksum:
        # When it was loaded, and by which attempt, is not known: it says nothing about files that failed meanwhile.
        return _mark(batch, 0, loads=head.loads, now=now)
    if verdict.loaded and batch.failure != "files":
        # Loaded from other objects: a restored ledger may have registered its files again. Ask file by file.
        return Decision("ask_again", batch, changes={**_asked_again(batch, now), "failure": "files"})
    match batch.failure:
        case "files":
            return Decision("dissolve", batch)
        case "data" | "unreadable":
            return _blame(head, batches, batch, verdict, now)
        case "infrastructure":
            return _retry(batch, verdict, now, pause=batch.error)
        case _:
            return _retry(batch, verdict, now)


def _blame(head: Head, batches: Sequence[Batch], batch: Batch, verdict: Verdict, now: int) -> Decision:
    """Decide what follows when the data failed: split the batch, or try or quarantine a single file."""
    if batch.files > 1:
        return Decision("split", batch)
    if head.paused and not batch.data_failures and len(batches) > 1:
        # A probe that fails beside suspects tells nothing new; its file waits again.
        return Decision("dissolve", batch, head_changes={"probe_at": now + LAST_DELAY_SECONDS * 1000})
    loads_seen = batch.loads_seen if batch.data_failures else head.loads
    failures = batch.data_failures + 1
    if failures >= QUARANTINE_AFTER and batch.loads_begun > loads_seen:
        return Decision("quarantine", batch)
    # Nothing else has loaded since it failed first: perhaps it is not the file's fault.
    alike = [other for other in batches if other.data_failures >= QUARANTINE_AFTER and other.loads_seen == head.loads]
    # What the warehouse refuses to the whole pipeline is the reason of its pause already, and why nothing else loads.
    is_refused = any(other.state == "RETRY" and other.failure == "infrastructure" for other in batches)
    is_hopeless = failures >= QUARANTINE_AFTER and len(alike) >= PAUSE_AFTER and not is_refused
    reason = f"every file that was tried alone failed: {batch.error}" if is_hopeless else ""
    return _retry(batch, verdict, now, pause=reason, data_failures=failures, loads_seen=loads_seen)


def _asked_again(batch: Batch, now: int) -> dict[str, Any]:
    delay = delay_seconds(batch.resolves)
    return {"resolves": batch.resolves + 1, "statement_id": "", "not_before": now + delay * 1000, "marked_to": ""}


def _retry(batch: Batch, verdict: Verdict, now: int, *, pause: str = "", **changes: int) -> Decision:
    delay = 0 if batch.failure == "gate" else delay_seconds(batch.failures)
    retried = {
        "state": "RETRY",
        "attempt": max(batch.attempt, verdict.fenced),
        "failures": batch.failures + 1,
        "not_before": now + delay * 1000,
        **changes,
    }
    return Decision("retry", batch, changes=retried, pause=pause)


def _mark(batch: Batch, attempt: int, *, loads: int, now: int) -> Decision:
    seen = LoadedBatch(batch.batch_id, attempt, batch.changed_min, batch.began)
    return Decision("mark", batch, head_changes={"loads": loads, "last_load": now, "last_batch": seen})


def delay_seconds(failures: int) -> int:
    """Give the seconds to wait before another try, after this number of failed ones."""
    delay: int = FIRST_DELAY_SECONDS * 2 ** min(failures, 10)
    return min(delay, LAST_DELAY_SECONDS)


def is_older(batch: Batch, seconds: int, now: int) -> bool:
    """Tell whether a batch's attempt, or its resolve, was submitted longer ago than this."""
    return bool(batch.submitted_at) and now - batch.submitted_at > seconds * 1000
