"""What is proposed keeps the goal, and nothing that was looked at is better."""

from itertools import product

import msgspec
import pytest

from fastetl.tune.model import MIB, Settings, Workload
from fastetl.tune.prediction import Prediction, predict
from fastetl.tune.prices import Book
from fastetl.tune.search import WORTH_A_POINT, Goal, Grid, NothingKeepsUpError, find_proposals, part_size_matters
from tests.tune.test_day import MEASURED, NIGHTLY, SHOP

CURRENT = Settings(1769, 10_000, 60, 1, 8 * MIB, 128 * MIB, 900, max_files=5000)
ZSTD = msgspec.structs.replace(
    MEASURED,
    compression="zstd",
    samples=tuple(
        msgspec.structs.replace(one, file_bytes=round(0.9 * one.file_bytes), cpu_seconds=1.1 * one.cpu_seconds)
        for one in MEASURED.samples
    ),
)
SMALL = Grid(
    memories_mb=(256, 512, 1769), batch_sizes=(100, 1000, 10_000), windows_seconds=(0, 20, 120),
    parallelizations=(1, 4), max_bytes=(MIB, 16 * MIB, 512 * MIB), max_ages_seconds=(60, 180, 900),
)  # fmt: skip


@pytest.mark.parametrize(("rate", "shards", "seconds"), [(10, 1, 900), (500, 1, 300), (20_000, 40, 600)])
def test_proposals_keep_the_goal(rate, shards, seconds):
    goal = Goal(seconds)
    found = find_proposals([MEASURED], Workload(rate, shards=shards), goal, Book(), CURRENT)
    for each in (found.cheapest, found.balanced, found.fastest):
        assert each.fresh_p99 <= seconds
        assert each.margin >= goal.margin
        assert each.headroom >= goal.headroom
        assert each.settings.max_files == CURRENT.max_files, "which is not looked for, and limits loads all the same"
        assert each.settings.part_size == CURRENT.part_size, "which makes no difference to these files"
    assert found.cheapest.dollars <= found.balanced.dollars <= found.fastest.dollars
    assert found.fastest.fresh_p99 <= found.balanced.fresh_p99 <= found.cheapest.fresh_p99
    for fresher, cheaper in zip(found.frontier, found.frontier[1:], strict=False):
        assert fresher.fresh_p99 <= cheaper.fresh_p99
        assert fresher.dollars > cheaper.dollars


def test_it_says_what_is_too_much():
    with pytest.raises(NothingKeepsUpError, match="too many for 1 shards"):
        find_proposals([MEASURED], Workload(10_000_000), Goal(900), Book(), CURRENT)
    with pytest.raises(NothingKeepsUpError, match="wakes up every 60 s"):
        find_proposals([MEASURED], Workload(10), Goal(30), Book(), CURRENT)


def try_everything(measured, workload: Workload, goal: Goal, grid: Grid) -> list[Prediction]:
    predictions = []
    for one, memory, batch, window, factor, size, age in product(
        measured, grid.memories_mb, grid.batch_sizes, grid.windows_seconds, grid.parallelizations, grid.max_bytes,
        grid.max_ages_seconds,
    ):  # fmt: skip
        settings = msgspec.structs.replace(
            CURRENT, memory_mb=memory, batch_size=batch, window_seconds=window, parallelization=factor,
            max_bytes=size, max_age_seconds=age, compression=one.compression,
        )  # fmt: skip
        predictions.append(predict(one, settings, workload, Book()))
    keeping = [each for each in predictions if each.margin >= goal.margin and each.headroom >= goal.headroom]
    return [each for each in keeping if each.fresh_p99 <= goal.freshness_seconds]


@pytest.mark.parametrize(
    ("workload", "seconds"),
    [
        (Workload(10), 900),
        (Workload(400, SHOP), 300),
        (Workload(20_000, shards=40), 600),
        (Workload(200, NIGHTLY, 2), 1800),
    ],
    ids=["10", "shop", "20,000", "nightly"],
)
def test_nothing_better_was_left_out(workload, seconds):
    goal = Goal(seconds)
    found = find_proposals([MEASURED, ZSTD], workload, goal, Book(), CURRENT, SMALL)
    every = try_everything([MEASURED, ZSTD], workload, goal, SMALL)
    assert found.cheapest.dollars == pytest.approx(min(each.dollars for each in every))
    assert found.fastest.fresh_p99 <= min(each.fresh_p99 for each in every) * (1 + 2 * WORTH_A_POINT)
    least = min(each.dollars * each.fresh_p99 for each in every)
    assert found.balanced.dollars * found.balanced.fresh_p99 <= least * (1 + 2 * WORTH_A_POINT)


def test_parts_are_looked_at_where_files_are_large():
    large = msgspec.structs.replace(
        MEASURED,
        samples=tuple(
            msgspec.structs.replace(one, file_bytes=min(6 * MIB, 800 * one.records)) for one in MEASURED.samples
        ),
    )
    grid = msgspec.structs.replace(SMALL, part_sizes=(5 * MIB, 8 * MIB))
    assert part_size_matters([large], Book(), grid)
    assert not part_size_matters([MEASURED], Book(), grid)
    found = find_proposals([large], Workload(5000, shards=5), Goal(900), Book(), CURRENT, grid)
    assert found.cheapest.settings.part_size == 8 * MIB, "one request instead of four"
