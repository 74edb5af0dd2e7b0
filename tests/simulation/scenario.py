"""What a seed is made of. Every seed has some troubles and not others, so that each is met alone and in company."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from fastetl.config.model import Deletes

HOUR = 3600.0


class Scenario(msgspec.Struct, frozen=True):
    """The parameters of one simulation; times are virtual seconds, probabilities are per occasion."""

    pipelines: int
    writes: int
    """Per pipeline, while there are faults."""
    keys: int
    active_seconds: float
    max_batch: int
    """Records in one invocation."""
    ordered_shards: bool
    """Whether a child shard is read after its parent, as Lambda does; a redelivery may still come later."""
    unloadable: float
    rejects: float
    redelivered: float
    splits: int
    new_streams: int
    tick_seconds: float
    """Between the schedule's wake-ups."""
    lost_wakeups: float
    doubled_wakeups: float
    coordinators: int
    """At once, per pipeline."""
    skew_seconds: float
    index_lag_seconds: float
    page_items: int
    max_files: int
    max_age_seconds: int
    max_bytes: int
    early_snapshot: bool
    serializable: bool
    names_errors: bool
    queued_seconds: float
    held_for_hours: float
    """Probability that a statement starts hours later."""
    misreported: float
    dropped_sessions: float
    result_seconds: float
    trouble_seconds: float
    """How long the infrastructure is broken: permission lost, disk full."""
    trouble: str
    gate_held_seconds: float
    lost_objects: int
    corrupt_objects: int
    ledger_restored: bool
    redeployed: bool
    head_lost: bool
    epoch: bool
    operator: bool
    gap: bool
    """Changes are trimmed before they are read, and a resync mends it."""
    column: str
    """What a deploy does to a column while files wait and batches are open: it "leaves", or it "leaves and returns"."""
    bisects: bool
    """Whether a batch that fails is delivered in halves."""
    gives_up_after: int
    """Attempts, after which a batch goes to the failure destination; 0 for never."""
    doubled_invocations: float
    """Probability that an event is in two invocations at once."""
    deletes: Deletes
    """What a deletion leaves in the mirror."""
    kinesis: bool
    """Whether changes come by one Kinesis stream, on which the tables of all pipelines are."""
    commands: bool
    """Whether operators give commands while loads run."""
    mirror_emptied: bool
    """Whether a person empties a mirror, rather than a stream forgets changes, before a resync."""
    person: str
    """What somebody does in the warehouse: empties the "gate", deletes "rows", restores a "snapshot"."""
    ages: bool
    """Whether months pass, with the bucket's lifecycle and the ledger's time to live."""
    file_deploys: int
    """Deploys that write files in another way, or leave out the log."""
    neighbour: bool
    """The second of two pipelines breaks in a way that nobody foresaw, and is never mended."""
    another_way: str
    """By which the changes come from some moment on: "kinesis", a stream of another name where there was one before,
    the table's own "stream", or that of a "replica"; empty where they go on as before."""
    targets: bool
    """Items are of several kinds, which they change, and each kind has a target of its own."""

    @property
    def has_gap(self) -> bool:
        """Whether there is one: see README.md, "What does not happen together"."""
        spoilt = self.unloadable or self.rejects or self.lost_objects or self.corrupt_objects
        return self.gap and not spoilt and not self.ledger_restored and not self.redeployed

    @property
    def takes_another_way(self) -> bool:
        """Whether the changes come to take another way: see README.md, "What does not happen together"."""
        replaced = self.ledger_restored or self.redeployed or self.person == "gate"
        return bool(self.another_way) and not (self.has_gap or replaced)

    @property
    def has_person(self) -> bool:
        """Whether somebody meddles: rows of bookkeeping go only where no object does.

        A file of which the warehouse forgot that it is loaded, and whose object is lost as well, ends in quarantine.
        """
        return bool(self.person) and not (self.person == "rows" and (self.lost_objects or self.corrupt_objects))

    @property
    def breaks_neighbour(self) -> bool:
        """Whether the second pipeline breaks: where there is one, and no resync that waits for it.

        Not on a Kinesis stream that both read: the mapping repeats an event until every pipeline has taken it.
        """
        return self.neighbour and self.pipelines > 1 and not (self.has_gap or self.redeployed or self.kinesis)


def draw_scenario(seed: int, *, large: bool = False) -> Scenario:
    """The scenario of a seed; a large one has many times the changes, keys and files, and all of them at once."""
    scenario = _draw(seed)
    if not large:
        return scenario
    # As few bad files as elsewhere, of many times the files: each takes hours of its pipeline.
    fewer = {"unloadable": scenario.unloadable / 20, "rejects": scenario.rejects / 4}
    return msgspec.structs.replace(scenario, **_draw_numbers(seed) | fewer | _draw_crowd(seed))


def _draw_numbers(seed: int) -> dict[str, Any]:
    source = random.Random(f"numbers {seed}")
    return {
        # One of ten has hundreds of files.
        "writes": source.choice((20, 20, 20, 30, 30, 30, 40, 40, 60, 250)),
        "keys": source.choice((4, 16, 64)),
        "max_batch": source.choice((1, 2, 4, 8)),
        "max_files": source.choice((5, 20, 100, 10_000)),
        "max_bytes": source.choice((300, 5_000, 1_000_000)),
        "splits": source.randint(0, 4),
        # A scan of hundreds of items, one a page, would never end where every thirtieth call fails.
        "page_items": source.choice((50, 1000)),
    }


def _draw_crowd(seed: int) -> dict[str, Any]:
    """One large scenario of ten has so many bad files in one batch that its parts fill HEAD."""
    source = random.Random(f"crowd {seed}")
    if source.random() >= 0.1:
        return {}
    sizes = {"max_files": 10_000, "max_bytes": 1_000_000, "max_age_seconds": 900, "max_batch": 1}
    return {"writes": 20, "unloadable": source.choice((0.3, 0.6)), "rejects": 0.0, **sizes}


def _draw(seed: int) -> Scenario:
    source = random.Random(f"scenario {seed}")

    def maybe(probability: float, *options: float) -> float:
        return source.choice(options) if source.random() < probability else 0.0

    def often(probability: float) -> bool:
        return source.random() < probability

    # Drawn apart, so that older scenarios stay what they were.
    gap = random.Random(f"gap {seed}").random() < 0.5
    column = random.Random(f"column {seed}").choice(("", "", "", "leaves", "leaves and returns"))
    neighbour = random.Random(f"neighbour {seed}").random() < 0.3
    disaster = source.choice(("", "", "", "", "restore", "redeploy", "head"))
    return Scenario(
        pipelines=source.choice((1, 1, 2)),
        writes=source.randint(2, 6),
        keys=source.choice((1, 2, 4, 8)),
        active_seconds=source.choice((0.2, 0.5, 1.0, 3.0)) * HOUR,
        max_batch=source.choice((2, 4, 8)),
        ordered_shards=often(0.5),
        unloadable=maybe(0.35, 0.05, 0.15, 0.4),
        rejects=maybe(0.3, 0.05, 0.2),
        redelivered=maybe(0.5, 0.1, 0.4),
        splits=int(maybe(0.4, 1, 2)),
        new_streams=int(maybe(0.25, 1, 2)),
        tick_seconds=source.choice((240.0, 600.0, 900.0)),
        lost_wakeups=maybe(0.3, 0.2, 0.6),
        doubled_wakeups=maybe(0.6, 0.2, 0.8),
        coordinators=source.choice((1, 2, 3)),
        skew_seconds=maybe(0.2, 60.0, 600.0),
        index_lag_seconds=maybe(0.6, 1.0, 30.0, 600.0),
        page_items=source.choice((1, 2, 5, 1000)),
        max_files=source.choice((1, 2, 5, 10_000)),
        max_age_seconds=source.choice((60, 300, 900)),
        max_bytes=source.choice((300, 2_000, 1_000_000)),
        early_snapshot=often(0.5),
        serializable=often(0.5),
        names_errors=often(0.6),
        queued_seconds=source.choice((0.1, 5.0, 120.0)),
        held_for_hours=maybe(0.25, 0.1, 0.3),
        misreported=maybe(0.3, 0.05, 0.3),
        dropped_sessions=maybe(0.3, 0.02, 0.08),
        result_seconds=maybe(0.25, 2700.0, 5400.0) or 24 * HOUR,
        trouble_seconds=maybe(0.2, 0.3 * HOUR, 1.5 * HOUR),
        trouble=source.choice(("denied", "disk", "s3", "data")),
        gate_held_seconds=maybe(0.12, 600.0, 3 * HOUR),
        lost_objects=int(maybe(0.1, 1)),
        corrupt_objects=int(maybe(0.1, 1)),
        ledger_restored=disaster == "restore",
        redeployed=disaster == "redeploy",
        head_lost=disaster == "head",
        epoch=often(0.25),
        operator=often(0.25),
        gap=gap,
        column=column,
        neighbour=neighbour,
        targets=not gap and random.Random(f"targets {seed}").random() < 0.5,
        another_way=_draw_another_way(seed),
        **_draw_event_source(seed),
        **_draw_operations(seed),
    )


def _draw_operations(seed: int) -> dict[str, Any]:
    source = random.Random(f"operations {seed}")
    return {
        "deletes": random.Random(f"deletes {seed}").choice(("forget", "forget", "keep", "keep_expired")),
        "kinesis": _is_kinesis(seed),
        "commands": source.random() < 0.2,
        "mirror_emptied": random.Random(f"mirror {seed}").random() < 0.3,
        "person": source.choice(("",) * 12 + ("gate", "rows", "snapshot")),
        "ages": source.random() < 0.08,
        "file_deploys": source.choice((0, 0, 0, 0, 1, 3)),
    }


def _draw_another_way(seed: int) -> str:
    source = random.Random(f"another way {seed}")
    if _is_kinesis(seed):
        return source.choice(("", "kinesis", "stream", "stream"))
    return source.choice(("kinesis", "replica")) if source.random() < 0.08 else ""


def _is_kinesis(seed: int) -> bool:
    return random.Random(f"kinesis {seed}").random() < 0.12


def _draw_event_source(seed: int) -> dict[str, Any]:
    source = random.Random(f"event source {seed}")
    return {
        "bisects": source.random() < 0.2,
        "gives_up_after": source.choice((0, 0, 0, 0, 1, 2)),
        "doubled_invocations": source.choice((0.0, 0.0, 0.0, 0.0, 0.2)),
    }
