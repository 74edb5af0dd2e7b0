"""What is proposed keeps the goal, and nothing that was looked at is better."""

import pytest

from fastetl.tune.model import Workload
from fastetl.tune.prices import Book
from fastetl.tune.search import Goal, NothingKeepsUpError, search
from tests.tune.test_day import MEASURED


@pytest.mark.parametrize(("rate", "shards", "seconds"), [(10, 1, 900), (500, 1, 300), (20_000, 40, 600)])
def test_proposals_keep_the_goal(rate, shards, seconds):
    goal = Goal(seconds)
    found = search([MEASURED], Workload(rate, shards=shards), goal, Book())
    for each in (found.cheapest, found.balanced, found.fastest):
        assert each.fresh_p99 <= seconds
        assert each.margin >= goal.margin
        assert each.headroom >= goal.headroom
    assert found.cheapest.dollars <= found.balanced.dollars <= found.fastest.dollars
    assert found.fastest.fresh_p99 <= found.balanced.fresh_p99 <= found.cheapest.fresh_p99
    for fresher, cheaper in zip(found.frontier, found.frontier[1:], strict=False):
        assert fresher.fresh_p99 <= cheaper.fresh_p99
        assert fresher.dollars > cheaper.dollars


def test_it_says_what_is_too_much():
    with pytest.raises(NothingKeepsUpError, match="too many for 1 shards"):
        search([MEASURED], Workload(10_000_000), Goal(900), Book())
    with pytest.raises(NothingKeepsUpError, match="wakes up every 60 s"):
        search([MEASURED], Workload(10), Goal(30), Book())
