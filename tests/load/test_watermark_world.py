"""A watermark is never ahead of the truth, misses no gap and invents none; a guard that is missing is found."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from fastetl.aws import Stream
from fastetl.load import complete
from fastetl.load.complete import Seen, follow
from fastetl.load.listing import Listed, choose_since
from fastetl.model import Watermark
from tests.load import watermark_world
from tests.load.watermark_world import World, run

SEEDS = range(7)
SEARCHED = (0, 4, 10, 20, 77, *range(25))


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_never_ahead_of_the_truth_and_gaps_are_where_they_are(seed: int) -> None:
    assert next(run(seed), None) is None


def open_shards_not_asked(known: Watermark, seen: Seen) -> Watermark:
    """Only what has ended counts, and what files are of."""
    of_files = {file.shard_id for file in seen.files}
    shards = tuple(shard for shard in seen.stream.shards if shard.ending or shard.shard_id in of_files)
    return follow(known, msgspec.structs.replace(seen, stream=msgspec.structs.replace(seen.stream, shards=shards)))


def lists_of_one_moment(known: Watermark, seen: Seen) -> Watermark:
    """What the second list has counts as read, as if nothing had been registered while it was made."""
    ids = frozenset(file.file_id for file in seen.files)
    return follow(known, msgspec.structs.replace(seen, listed_before=ids))


def given_up_forgotten(known: Watermark, seen: Seen) -> Watermark:
    return follow(known, msgspec.structs.replace(seen, has_given_up=False))


def waiting_forgotten(known: Watermark, seen: Seen) -> Watermark:
    files = tuple(msgspec.structs.replace(file, state="LOADED") for file in seen.files)
    return follow(known, msgspec.structs.replace(seen, files=files))


def always_read(known: Watermark, seen: Seen) -> Watermark:
    return follow(known, msgspec.structs.replace(seen, is_read=True, fails=False))


def closed_is_finished(known: Watermark, seen: Seen) -> Watermark:
    shards = tuple(shard for shard in seen.stream.shards if not shard.ending)
    stream: Stream = msgspec.structs.replace(seen.stream, shards=shards)
    kept = tuple(shard for shard in known.shards if any(shard.shard_id == each.shard_id for each in shards))
    return follow(msgspec.structs.replace(known, shards=kept), msgspec.structs.replace(seen, stream=stream))


def older_never_wait(known: Watermark, listed: Listed, **how: int) -> tuple[int, bool]:
    return choose_since(known, listed, **how)[0], True


def put_back_forgotten(known: Watermark, *_: object) -> Watermark:
    """Whatever an operator puts back, nobody tells the watermark of it."""
    return known


MUTATIONS = {
    "follow": (
        open_shards_not_asked, lists_of_one_moment, given_up_forgotten, waiting_forgotten, always_read,
        closed_is_finished,
    ),
    "choose_since": (older_never_wait,),
    "put_back": (put_back_forgotten,),
    "forget": (put_back_forgotten,),
}  # fmt: skip


@pytest.mark.parametrize(
    ("guard", "mutation"), [(guard, mutation) for guard, mutations in MUTATIONS.items() for mutation in mutations]
)
def test_a_guard_that_is_missing_is_found(
    guard: str, mutation: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watermark_world, guard, mutation)
    assert any(next(run(seed), None) for seed in SEARCHED)


def test_without_the_slack_of_creation_times_it_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete, "CREATION_SLACK_MS", 0)
    assert any(next(run(seed), None) for seed in SEARCHED)


def test_it_moves_in_nearly_every_seed() -> None:
    """A watermark that is never known would never be ahead."""
    ends = []

    def look(world: World, known: Watermark) -> Watermark:
        found = World.look(world, known)
        ends.append((found.complete_up_to, world.now))
        return found

    for seed in SEEDS[:4]:
        list(run(seed, look))
    assert sum(now - up_to < 30 * 60_000 for up_to, now in ends) > len(ends) / 10
