"""A table, its stream, Lambda, the files and the loads, drawn from a seed: the truth that a watermark is held against.

    python -m tests.load.watermark_world 20000

Shards split and close, some rest for hours; the mapping is disabled, in half of the seeds for more than a day; one
shard stalls, which Lambda says at most looks; Lambda gives events up; records are rejected and files quarantined; loads
take files in any order; a list of the files is not of one moment; the stream is made again, and a resync mends what was
lost.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from fastetl.aws import Shard, Stream
from fastetl.load.complete import CATCH_UP_MS, KEEPS_MS, LIST_MS, Seen, asks_for_files, follow
from fastetl.model import FileItem, FileState, Gap, Watermark

START = 1_767_225_600_000
MINUTE, HOUR = 60_000, 3_600_000
LOOK_MS = 2 * MINUTE
STALL_SHOWS = 0.8
"""Of the looks at which a shard stalls."""
EARLY_MS = 10 * MINUTE
"""By which a gap may be told before it is one: a shard is known to be younger than a look that did not show it."""
BEHIND_MS = 3 * MINUTE
"""By which a watermark is behind at most of what can be proved, where all rests."""
LATEST = 100
"""Files that a look sees, besides those that wait."""


class Record(msgspec.Struct):
    """One change."""

    made_at: int
    sequence: int
    says: int
    """When DynamoDB says that it was made: a whole second, and up to a second late."""
    file: SomeFile | None = None
    is_lost: bool = False
    is_given_up: bool = False


class SomeFile(msgspec.Struct):
    """A registered file."""

    item: FileItem
    state: FileState = "PENDING"


class SomeShard(msgspec.Struct):
    """A shard, and how far Lambda has read it."""

    name: str
    parent: SomeShard | None
    opened_at: int
    records: list[Record] = []
    position: int = 0
    closed_at: int = 0
    stalled_until: int = 0
    noted: int = 0
    """Records that the truth knows of."""
    covered_to: int = 0
    """Every change that the shard took before is read, or is in a hole."""

    @property
    def is_done(self) -> bool:
        before = self.parent is None or self.parent.is_done
        return before and bool(self.closed_at) and self.position == len(self.records)


class World:
    """Everything that is true, and what a look finds of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.streams = 0
        self.shards: list[SomeShard] = []
        self.files: list[SomeFile] = []
        self.sequence = 10**21
        self.disabled_until = 0
        self.given_up: list[Record] = []
        self.mended_at = 0
        self.rests_from = START
        self.generation = 0
        """HEAD's: a load changes it."""
        self.known_at_list: Any = None
        self.listed_at = 0
        self.holes: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """By shard, from and to: what the stream has forgotten before it was read, whether or not it had a change."""
        self.opened: dict[str, int] = {}
        """By shard, of all that ever were."""
        self.missing: list[Record] = []
        self.rests = {n for n in range(4) if self.random.random() < 0.3}
        self.is_long = self.random.random() < 0.5
        self.open_stream()

    # --- what happens ------------------------------------------------------------------------------------------------

    def open_stream(self) -> None:
        """Make a stream: what the one before still held is lost with it."""
        for shard in self.shards:
            # Of what was in it nothing can be proved any more that no file has shown.
            self.holes[shard.name].append((shard.opened_at, self.now))
            for record in shard.records[shard.position :]:
                record.is_lost = True
        self.rests_from = self.now
        self.streams += 1
        self.created_at = self.now
        self.shards = [self.open_shard(f"{self.streams}/{n}", None) for n in range(self.random.randint(1, 3))]

    def open_shard(self, name: str, parent: SomeShard | None) -> SomeShard:
        self.opened[name] = self.now
        return SomeShard(name, parent, self.now)

    @property
    def open_shards(self) -> list[SomeShard]:
        return [shard for shard in self.shards if not shard.closed_at]

    def live(self, until: int) -> None:
        """Let a time pass, minute by minute."""
        while self.now < until:
            self.now += MINUTE
            self.write()
            if self.random.random() < 0.004:
                self.split(self.random.choice(self.open_shards))
            self.forget()
            if self.now >= self.disabled_until:
                self.deliver()
            self.load()

    def write(self) -> None:
        for place, shard in enumerate(self.open_shards):
            if place in self.rests and self.random.random() < 0.98:
                continue
            for _ in range(self.random.randrange(3)):
                self.sequence += self.random.randint(1, 5)
                made_at = self.now - self.random.randrange(MINUTE)
                made_at = max([made_at, shard.opened_at, *(record.made_at for record in shard.records[-1:])])
                shard.records.append(
                    Record(made_at, self.sequence, (made_at + self.random.randrange(1000)) // 1000 * 1000)
                )

    def split(self, shard: SomeShard) -> None:
        shard.closed_at = self.rests_from = self.now
        for n in range(self.random.choice((1, 1, 2))):
            self.shards.append(self.open_shard(f"{shard.name}.{n}", shard))

    def cover(self, shard: SomeShard) -> None:
        """Note how far a shard is read: up to now where nothing of it is left, and Lambda has read for some minutes.

        While batches of any shard fail, and in the first minutes, nobody can tell a shard that rests from one that is
        not read.
        """
        since = max([self.disabled_until, *(each.stalled_until for each in self.shards)])
        is_read = self.now >= (since + CATCH_UP_MS if since else 0)
        if is_read and shard.position == len(shard.records) and (shard.parent is None or shard.parent.is_done):
            shard.covered_to = self.now
        elif shard.position:
            shard.covered_to = max(shard.covered_to, shard.records[shard.position - 1].made_at)

    def forget(self) -> None:
        """Forget what is older than a day: nobody reads it any more."""
        oldest = self.now - KEEPS_MS
        for shard in self.shards:
            self.cover(shard)
            since, until = max(shard.covered_to, shard.opened_at), min(oldest, shard.closed_at or oldest)
            if since < until:
                self.holes[shard.name].append((since, until))
                shard.covered_to = until
            while shard.position < len(shard.records) and shard.records[shard.position].made_at < oldest:
                shard.records[shard.position].is_lost = True
                shard.position += 1
        self.shards = [shard for shard in self.shards if not (shard.closed_at and shard.closed_at < oldest)]

    def deliver(self) -> None:
        for shard in self.shards:
            if self.now < shard.stalled_until or (shard.parent in self.shards and not shard.parent.is_done):
                continue
            if self.random.random() < 0.002:
                shard.stalled_until = self.now + self.random.randrange(5) * HOUR
            batch = shard.records[shard.position : shard.position + self.random.randint(1, 30)]
            if not batch:
                continue
            shard.position += len(batch)
            if self.random.random() < 0.002:
                self.given_up += batch
                for record in batch:
                    record.is_given_up = True
                continue
            self.register(shard.name, batch)

    def register(self, shard_id: str, batch: list[Record]) -> None:
        # A file that is all rejects waits for no load, so that nothing asks for a list.
        state = self.random.choices(("PENDING", "REJECTED", "QUARANTINED"), (0.97, 0.02, 0.01))[0]
        changed = f"{datetime.fromtimestamp(min(each.says for each in batch) / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"
        item = FileItem(
            f"f{len(self.files)}", "p", "k", "l", "", 1, 1, 0, "", "", "", changed, changed, self.now,
            shard_id=shard_id, last_sequence=str(batch[-1].sequence), last_changed=batch[-1].says,
        )  # fmt: skip
        self.generation += state == "QUARANTINED"
        self.rests_from = max(self.rests_from, self.now + (LIST_MS if state == "REJECTED" else 0))
        file = SomeFile(item, state)
        self.files.append(file)
        for record in batch:
            record.file = file

    def load(self) -> None:
        waiting = [file for file in self.files[-400:] if file.state == "PENDING"]
        if not waiting or self.random.random() < 0.8:
            return
        self.generation += 1
        self.rests_from = max(self.rests_from, self.now)
        for file in waiting:
            if self.random.random() < 0.9:
                file.state = "LOADED"

    def settle(self) -> None:
        """Load everything, replay what was given up, and carry the table over, as an operator would."""
        for file in self.files:
            if file.state == "PENDING":
                file.state = "LOADED"
        for record in self.given_up:
            record.is_given_up = False
            self.register("", [record])
        self.given_up = []
        self.generation += 1
        self.rests_from = max(self.rests_from, self.now)
        for file in self.files[-400:]:
            file.state = "LOADED" if file.state == "PENDING" else file.state
        self.mended_at = self.now

    # --- what a look finds, and what is true -------------------------------------------------------------------------

    def describe(self) -> Stream:
        return Stream(
            f"stream/{self.streams}", "ENABLED", self.created_at,
            tuple(
                Shard(
                    shard.name, shard.parent.name if shard.parent else "",
                    str(shard.records[-1].sequence if shard.records else 1) if shard.closed_at else "",
                )
                for shard in self.shards
            ),
        )  # fmt: skip

    def look(self, known: Watermark) -> Watermark:
        stream = self.describe()
        how = {
            "is_read": self.now >= self.disabled_until, "fails": self.random.random() < self.fails(),
            "has_given_up": bool(self.given_up), "mended_at": self.mended_at,
        }  # fmt: skip
        is_changed = (self.generation, stream) != self.known_at_list
        if not asks_for_files(known, is_changed=is_changed, listed_at=self.listed_at, now_ms=self.now):
            return follow(known, Seen(stream, self.now, **how))
        self.known_at_list, self.listed_at = (self.generation, stream), self.now
        first, second = self.list_files(), self.list_files()
        return follow(known, self.see(stream, first, second, **how))

    def list_files(self) -> list[int]:
        """List files. A list is not of one moment: Lambda goes on meanwhile, and it misses any of the new files."""
        before = len(self.files)
        for _ in range(3 if self.now >= self.disabled_until else 0):
            self.deliver()
        return [
            number
            for number, file in enumerate(self.files)
            if (number >= before and self.random.random() < 0.5)
            or (number < before and (number > before - LATEST or file.state == "PENDING"))
        ]

    def see(self, stream: Stream, first: list[int], second: list[int], **how: Any) -> Seen:
        files = tuple(msgspec.structs.replace(self.files[n].item, state=self.files[n].state) for n in second)
        ids = frozenset(self.files[n].item.file_id for n in first)
        return Seen(stream, self.now, files, START - KEEPS_MS, ids, **how)

    def is_behind(self, known: Watermark) -> bool:
        """Tell whether all has rested for some minutes, and a look that lists every file would still tell more."""
        waits = any(file.state == "PENDING" for file in self.files[-LATEST:])
        troubled = waits or self.given_up or self.fails() == STALL_SHOWS or self.now < self.disabled_until
        if troubled or self.now - self.rests_from < BEHIND_MS:
            return False
        everything = list(range(len(self.files)))
        best = follow(known, self.see(self.describe(), everything, everything, mended_at=self.mended_at))
        return known.complete_up_to < best.complete_up_to

    def fails(self) -> float:
        """Give how probably Lambda says that the last batch failed; one of another shard may have succeeded since."""
        return STALL_SHOWS if any(self.now < shard.stalled_until for shard in self.shards) else 0.01

    def is_invented(self, gap: Gap) -> bool:
        """Tell whether nothing was forgotten unread of what a gap names, nor will be in a few minutes."""
        holes = [*self.holes[gap.shard_id], (self.opened[gap.shard_id], self.opened[gap.shard_id])]
        for shard in self.shards:
            if shard.name == gap.shard_id:
                holes.append((max(shard.covered_to, shard.opened_at), self.now - KEEPS_MS + EARLY_MS))
        return not any(gap.since - EARLY_MS <= until and since - EARLY_MS <= gap.until for since, until in holes)

    def first_missing(self) -> int:
        """The first change that is neither loaded, nor rejected, nor in quarantine, nor carried over by a resync."""
        self.missing += [record for shard in self.shards for record in shard.records[shard.noted :]]
        for shard in self.shards:
            shard.noted = len(shard.records)
        self.missing = [record for record in self.missing if self.is_missing(record)]
        return min((record.made_at for record in self.missing), default=self.now + 1)

    def is_missing(self, record: Record) -> bool:
        if record.is_lost:
            return record.made_at > self.mended_at
        return record.is_given_up or record.file is None or record.file.state == "PENDING"


def run(seed: int, look: Callable[[World, Watermark], Watermark] = World.look) -> Iterator[str]:
    """Play a seed; tell where the watermark is ahead of the truth, and which gaps are missed or invented."""
    world = World(seed)
    watermark = Watermark("p")
    end = START + (40 if world.is_long else 8) * HOUR
    # In long seeds nothing is read for more than a day, once.
    long_rest = START + world.random.randrange(8) * HOUR if world.is_long else 0
    while world.now < end:
        chance = world.random.random()
        if long_rest and world.now >= long_rest:
            long_rest, world.disabled_until = 0, world.now + world.random.randint(25, 30) * HOUR
        elif chance < 0.005:
            world.disabled_until = max(world.disabled_until, world.now + world.random.randrange(6) * HOUR)
        elif chance < 0.006:
            world.first_missing()
            world.open_stream()
        elif chance < 0.009:
            world.settle()
        world.live(world.now + LOOK_MS)
        watermark = look(world, watermark)
        first = world.first_missing()
        if watermark.complete_up_to > first:
            yield f"{seed}: ahead by {watermark.complete_up_to - first} ms, {world.now - START} ms after the start"
        if world.is_behind(watermark):
            yield f"{seed}: behind at rest, {world.now - START} ms after the start"
        if world.now >= world.disabled_until:
            lost = [record.made_at for record in world.missing if record.is_lost]
            if not all(any(gap.since - 1000 <= at <= gap.until for gap in watermark.gaps) for at in lost):
                yield f"{seed}: a gap is missed, {world.now - START} ms after the start"
        if any(world.is_invented(gap) for gap in watermark.gaps):
            yield f"{seed}: a gap is invented, {world.now - START} ms after the start"


def main(seeds: int) -> int:
    """Play seeds; print every violation."""
    found = 0
    for seed in range(seeds):
        for violation in run(seed):
            sys.stdout.write(f"{violation}\n")
            found += 1
            break
    sys.stdout.write(f"{seeds} seeds, {found} with a violation\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
