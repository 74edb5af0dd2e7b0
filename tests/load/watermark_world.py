"""A table, its stream, Lambda, the files and the loads, drawn from a seed: the truth that a watermark is held against.

    python -m tests.load.watermark_world 20000

Shards split and close, some rest for hours; the mapping is disabled, in half of the seeds for more than a day; one
shard stalls, which Lambda says at most looks; Lambda gives events up; records are rejected and files quarantined; loads
take files in any order; a list of the files is not of one moment; the stream is made again, and a resync mends what was
lost. An operator puts quarantined files back, ingests rejects and what was given up again, and rebuilds the ledger of a
warehouse that was set back, in the middle of a look as well.
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
from fastetl.load import forget, put_back
from fastetl.load.complete import CATCH_UP_MS, KEEPS_MS, Seen, follow
from fastetl.load.listing import DEEP_MS, LIST_MS, RECENT_MS, Listed, asks_for_files, asks_for_older, choose_since
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
LATEST = 200
"""Files that a look sees, besides those that wait."""
INDEX_LAG_MS = 2 * MINUTE
"""By which the ledger's index may be late."""


class Record(msgspec.Struct, frozen=True):
    """One change."""

    made_at: int
    sequence: int
    says: int
    """When DynamoDB says that it was made: a whole second, and up to a second late."""


class SomeFile(msgspec.Struct):
    """A registered file."""

    item: FileItem
    records: list[Record]
    made_from: int
    """When its first change was made; and when, as DynamoDB says."""
    changed_min: int
    state: FileState = "PENDING"
    waits_from: int = 0
    """When it came to wait last."""
    loaded_at: int = 0


class SomeShard(msgspec.Struct):
    """A shard, and how far Lambda has read it."""

    name: str
    parent: SomeShard | None
    opened_at: int
    records: list[Record] = []
    position: int = 0
    closed_at: int = 0
    stalled_until: int = 0
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
        self.listed = Listed()
        self.waiting: dict[int, SomeFile] = {}
        """The files that wait, by their number."""
        self.holes: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """By shard, from and to: what the stream has forgotten before it was read, whether or not it had a change."""
        self.opened: dict[str, int] = {}
        """By shard, of all that ever were."""
        self.lost: list[Record] = []
        self.covered_before: dict[str, int] = {}
        """By shard, at the look before."""
        self.rests = {n for n in range(4) if self.random.random() < 0.3}
        self.is_long = self.random.random() < 0.5
        self.open_stream()

    # --- what happens ------------------------------------------------------------------------------------------------

    def open_stream(self) -> None:
        """Make a stream: what the one before still held is lost with it."""
        for shard in self.shards:
            # Of what was in it nothing can be proved any more that no file has shown.
            self.holes[shard.name].append((shard.opened_at, self.now))
            self.lost += shard.records[shard.position :]
        self.rests_from = max(self.rests_from, self.now)
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
        shard.closed_at = self.now
        self.rests_from = max(self.rests_from, self.now)
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
                self.lost.append(shard.records[shard.position])
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
                continue
            self.register(shard.name, batch)

    def register(self, shard_id: str, batch: list[Record]) -> SomeFile:
        # A file that is all rejects waits for no load, so that nothing asks for a list.
        state = self.random.choices(("PENDING", "REJECTED", "QUARANTINED"), (0.97, 0.02, 0.01))[0]
        changed_min = min(each.says for each in batch)
        changed = f"{datetime.fromtimestamp(changed_min / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"
        item = FileItem(
            f"f{len(self.files)}", "p", "k", "l", "", 1, 1, 0, "", "", "", changed, changed, self.now,
            shard_id=shard_id, last_sequence=str(batch[-1].sequence), last_changed=batch[-1].says,
        )  # fmt: skip
        if state == "QUARANTINED":
            # The batch that it was in has ended.
            self.generation += 1
            self.listed = msgspec.structs.replace(self.listed, has_loaded=True)
        self.rests_from = max(self.rests_from, self.now + (LIST_MS if state == "REJECTED" else 0))
        file = SomeFile(item, batch, min(each.made_at for each in batch), changed_min, state, self.now)
        if state == "PENDING":
            self.waiting[len(self.files)] = file
        self.files.append(file)
        return file

    def load(self) -> None:
        if self.waiting and self.random.random() < 0.2:
            self.end_load([number for number in self.waiting if self.random.random() < 0.9])

    def end_load(self, numbers: list[int]) -> None:
        """Load files; one in a hundred goes into quarantine."""
        self.generation += 1
        for number in numbers:
            file = self.waiting.pop(number)
            file.state = "QUARANTINED" if self.random.random() < 0.01 else "LOADED"
            file.loaded_at = self.now
            is_late = self.listed.is_late or file.changed_min < self.now - RECENT_MS
            self.listed = msgspec.structs.replace(self.listed, is_late=is_late)
        self.listed = msgspec.structs.replace(self.listed, has_loaded=True)
        self.rests_from = max(self.rests_from, self.now)

    def settle(self, known: Watermark) -> Watermark:
        """Load everything, replay what was given up, and carry the table over, as an operator would."""
        known = self.replay_given_up(known)
        self.end_load(list(self.waiting))
        self.mended_at = self.now
        return known

    # --- what an operator puts back, and what the watermark is told of it --------------------------------------------

    def act(self, known: Watermark) -> Watermark:
        acts = (self.retry, self.retry, self.replay_rejects, self.replay_given_up, self.rebuild)
        return self.random.choice(acts)(known)

    def retry(self, known: Watermark) -> Watermark:
        """Let a file in quarantine wait again, of whatever time."""
        quarantined = [number for number, file in enumerate(self.files) if file.state == "QUARANTINED"]
        if not quarantined:
            return known
        number = self.random.choice(quarantined)
        self.let_wait([number])
        return put_back(known, [self.files[number].item], self.now)

    def replay_rejects(self, known: Watermark) -> Watermark:
        """Make a file of rejects, whose column is mended."""
        rejected = [file for file in self.files if file.state == "REJECTED"]
        if not rejected:
            return known
        file = self.random.choice(rejected)
        file.state = "DROPPED"
        return self.replay(known, file.records)

    def replay_given_up(self, known: Watermark) -> Watermark:
        records, self.given_up = self.given_up, []
        return self.replay(known, records) if records else known

    def replay(self, known: Watermark, records: list[Record]) -> Watermark:
        file = self.register("", records)
        return put_back(known, [file.item], self.now) if file.state == "PENDING" else known

    def rebuild(self, known: Watermark) -> Watermark:
        """Set the warehouse back by some hours, and let wait what it has not."""
        since = self.now - self.random.randrange(12) * HOUR
        self.let_wait([n for n, file in enumerate(self.files) if file.state == "LOADED" and file.loaded_at > since])
        self.rests_from = max(self.rests_from, self.now + 2 * LIST_MS)
        return forget(known, self.now)

    def let_wait(self, numbers: list[int]) -> None:
        for number in numbers:
            file = self.waiting[number] = self.files[number]
            file.state, file.waits_from = "PENDING", self.now

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
        is_read, fails = self.now >= self.disabled_until, self.random.random() < self.fails()
        plain = Seen(stream, self.now, is_read=is_read, fails=fails, mended_at=self.mended_at)
        is_changed = (self.generation, stream) != self.known_at_list
        if not asks_for_files(known, self.listed, is_changed=is_changed, now_ms=self.now):
            return follow(known, plain)
        self.known_at_list = (self.generation, stream)
        seen = self.list_and_read(known, plain)
        if asks_for_older(follow(known, seen), self.listed, self.now):
            seen = self.list_and_read(follow(known, seen), plain)
        return follow(known, seen)

    def list_and_read(self, known: Watermark, plain: Seen) -> Seen:
        since, none_older_waits = choose_since(
            known, self.listed, waits_since=self.find_longest_wait(), now_ms=self.now
        )
        has_older = since < self.now - RECENT_MS
        self.listed = Listed(self.now, self.now) if has_older else msgspec.structs.replace(self.listed, at=self.now)
        has_given_up = bool(self.given_up)
        first, second = self.list_files(since), self.list_files(since)
        has_given_up = has_given_up or bool(self.given_up)
        names = {file.file_id for file in known.put_back}
        second += [n for n, file in enumerate(self.files) if file.item.file_id in names] if names else []
        is_listed = since <= max(known.proved_up_to, self.now - DEEP_MS)
        plain = msgspec.structs.replace(plain, is_listed=is_listed)
        return self.see(plain, first, second, none_older_waits=none_older_waits, has_given_up=has_given_up)

    def find_longest_wait(self) -> int:
        """Give what the ledger's index says, which may not know what came to wait just now."""
        known = [file for file in self.waiting.values() if file.waits_from <= self.now - INDEX_LAG_MS]
        return min((file.item.created for file in known), default=self.now)

    def list_files(self, since: int) -> list[int]:
        """List files. A list is not of one moment: Lambda goes on meanwhile, and it misses any of the new files."""
        before = len(self.files)
        for _ in range(3 if self.now >= self.disabled_until else 0):
            self.write()
            self.deliver()
        new = [number for number in range(before, len(self.files)) if self.random.random() < 0.5]
        numbers = {*range(max(0, before - LATEST), before), *self.waiting} - {*range(before, len(self.files))}
        first_hour = since // HOUR * HOUR
        return [number for number in (*sorted(numbers), *new) if self.files[number].changed_min >= first_hour]

    def see(self, plain: Seen, first: list[int], second: list[int], **how: bool) -> Seen:
        files = tuple(msgspec.structs.replace(self.files[n].item, state=self.files[n].state) for n in second)
        ids = frozenset(self.files[n].item.file_id for n in first)
        return msgspec.structs.replace(plain, files=files, listed_before=ids, **how)

    def is_behind(self, known: Watermark) -> bool:
        """Tell whether all has rested for some minutes, and a look that lists every file would still tell more."""
        troubled = self.waiting or self.given_up or self.fails() == STALL_SHOWS or self.now < self.disabled_until
        if troubled or self.now - self.rests_from < BEHIND_MS:
            return False
        everything = list(range(len(self.files)))
        plain = Seen(self.describe(), self.now, mended_at=self.mended_at, is_listed=True)
        seen = self.see(plain, everything, everything, none_older_waits=True)
        return known.complete_up_to < follow(known, seen).complete_up_to

    def fails(self) -> float:
        """Give how probably Lambda says that the last batch failed; one of another shard may have succeeded since."""
        return STALL_SHOWS if any(self.now < shard.stalled_until for shard in self.shards) else 0.01

    def is_invented(self, gap: Gap) -> bool:
        """Tell whether nothing was forgotten unread of what a gap names, nor will be in a few minutes."""
        opened = self.opened.get(gap.shard_id, START)
        holes = [*self.holes[gap.shard_id], (opened, opened)]
        for shard in self.shards:
            if shard.name == gap.shard_id:
                covered_to = self.covered_before.get(shard.name, shard.opened_at)
                holes.append((covered_to, self.now - KEEPS_MS + EARLY_MS))
        return not any(gap.since - EARLY_MS <= until and since - EARLY_MS <= gap.until for since, until in holes)

    def note_covered(self) -> None:
        """Note how far shards are read: by a look nobody can tell what was read just before the stream forgot it."""
        self.covered_before = {shard.name: max(shard.covered_to, shard.opened_at) for shard in self.shards}

    def first_missing(self) -> int:
        """The first change that is neither loaded, nor rejected, nor in quarantine, nor carried over by a resync."""
        self.lost = [record for record in self.lost if record.made_at > self.mended_at]
        # The records of a shard are in the order in which they were made.
        unread = [shard.records[shard.position].made_at for shard in self.shards if shard.position < len(shard.records)]
        missing = unread + [file.made_from for file in self.waiting.values()]
        missing += [record.made_at for record in (*self.lost, *self.given_up)]
        return min(missing, default=self.now + 1)


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
            world.open_stream()
        elif chance < 0.009:
            watermark = world.settle(watermark)
        elif chance < 0.019:
            watermark = world.act(watermark)
        world.live(world.now + LOOK_MS)
        if world.random.random() < 0.1:
            # A look follows each load at once.
            world.end_load(list(world.waiting))
        found = look(world, watermark)
        is_overtaken = world.random.random() < 0.003
        if is_overtaken:
            # What an operator does in the middle of a look takes effect, and the look does not: the next tells.
            world.listed = Listed()
            found = world.act(watermark)
        watermark = found
        first = world.first_missing()
        if watermark.complete_up_to > first:
            yield f"{seed}: ahead by {watermark.complete_up_to - first} ms, {world.now - START} ms after the start"
        if is_overtaken:
            continue
        if world.is_behind(watermark):
            yield f"{seed}: behind at rest, {world.now - START} ms after the start"
        if world.now >= world.disabled_until:
            lost = [record.made_at for record in world.lost]
            if not all(any(gap.since - 1000 <= at <= gap.until for gap in watermark.gaps) for at in lost):
                yield f"{seed}: a gap is missed, {world.now - START} ms after the start"
        if any(world.is_invented(gap) for gap in watermark.gaps):
            yield f"{seed}: a gap is invented, {world.now - START} ms after the start"
        world.note_covered()


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
