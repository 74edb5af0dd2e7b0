"""The kinds of a table's items are found, in public designs and where words in keys are values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random

import pytest
from examples.single_table import DESIGNS
from examples.single_table.designs import PEOPLE, Item, write_item

from fastetl.operate.kinds import LIBRARIES, find_kinds

ENOUGH = 0.95


def share_in_the_right_kind(pairs: Sequence[tuple[str, Item]], keys: tuple[str, ...]) -> float:
    """Which share of the items is in a kind of its own, and in one with no more of another."""
    kinds = find_kinds([item for _, item in pairs], keys)
    assert kinds
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for expected, item in pairs:
        kind = kinds.kind_of(item)
        found[kind.name if kind else ""][expected] += 1
    found.pop("", None)
    right, taken = 0, set()
    for counts in sorted(found.values(), key=lambda counts: -max(counts.values())):
        expected, times = counts.most_common(1)[0]
        right += times if expected not in taken else 0
        taken.add(expected)
    assert sum(kind.items for kind in kinds.all) == sum(map(sum, (counts.values() for counts in found.values())))
    return right / len(pairs)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("seed", range(3))
def test_the_items_of_public_designs_are_in_the_right_kind(name: str, seed: int) -> None:
    assert share_in_the_right_kind(DESIGNS[name].build_items(seed), DESIGNS[name].keys) >= ENOUGH


@pytest.mark.parametrize("name", ["social_network", "shop", "software_as_a_service"])
def test_the_words_of_keys_tell_kinds_where_no_attribute_does(name: str) -> None:
    hidden = {*LIBRARIES, "Type"}
    pairs = [
        (kind, {attribute: value for attribute, value in item.items() if attribute not in hidden})
        for kind, item in DESIGNS[name].build_items()
    ]
    assert share_in_the_right_kind(pairs, DESIGNS[name].keys) >= ENOUGH


def test_kinds_have_names_and_their_lists_are_found() -> None:
    design = DESIGNS["shop"]
    kinds = find_kinds([item for _, item in design.build_items()], design.keys)
    assert kinds
    assert {kind.name for kind in kinds.all} == {"customer", "order", "item", "customeremail"}
    design = DESIGNS["electrodb"]
    kinds = find_kinds([item for _, item in design.build_items()], design.keys)
    assert kinds
    assert {kind.name: kind.lists for kind in kinds.all} == {"task": ("comments",), "employee": (), "office": ()}
    assert kinds.all[0].told_by == "__edb_e__ is 'task'"


def test_names_of_people_in_keys_are_no_kinds() -> None:
    chance = Random(0)
    pairs = [("user", write_item(PK=f"USER#{name}", SK="PROFILE", name=name)) for name in PEOPLE]
    pairs += [
        ("follower", write_item(PK=f"USER#{name}", SK=other, since="2026"))
        for name in PEOPLE
        for other in chance.sample(PEOPLE, 5)
    ]
    assert share_in_the_right_kind(pairs, ("PK", "SK")) == 1


def test_a_status_at_the_end_of_a_sort_key_is_no_kind() -> None:
    pairs = [("customer", write_item(pk=f"C#{n}", sk="META", name="x")) for n in range(10)]
    pairs += [
        ("order", write_item(pk=f"C#{n}", sk=f"ORDER#{status}#{n}", total=n))
        for n in range(10)
        for status in ("OPEN", "DONE")
    ]
    assert share_in_the_right_kind(pairs, ("pk", "sk")) == 1


@pytest.mark.parametrize(
    "items",
    [
        [],
        [write_item(id="1", name="x")],
        [write_item(id=str(n), type=("home", "work")[n % 2], street="x") for n in range(20)],
        [write_item(id=n, at=n, temperature=1.5) for n in range(20)],
        [write_item(id=f"USER#{n}", name="x") for n in range(20)],
    ],
)
def test_where_nothing_tells_several_kinds_there_are_none(items: list[Item]) -> None:
    assert find_kinds(items, ("id",)) is None


def test_an_item_of_no_known_kind() -> None:
    design = DESIGNS["amplify"]
    kinds = find_kinds([item for _, item in design.build_items()], design.keys)
    assert kinds
    assert kinds.kind_of(write_item(id="1", __typename="Other")) is None
    assert kinds.kind_of(write_item(id="1")) is None
