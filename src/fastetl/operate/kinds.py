"""Find the kinds of items that one table holds, from a sample: by a type attribute, or by words in their keys. Pure.

Libraries for single-table designs mark each item with the name of its entity. Designs by hand often have an attribute
for it as well, and write words into keys: `CUSTOMER#17`, `ORDER#2026-01-01`, `PROFILE`. Several ways to tell the kinds
are tried, and the one is taken by which items of one kind look most alike.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.config import Condition
from fastetl.operate.key_forms import SEPARATOR, KeyForms, ask_form, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Item = Mapping[str, Any]
    """An item as DynamoDB's API gives it."""

LIBRARIES = ("__edb_e__", "__typename", "_et", "entity", "entityType", "EntityType", "entity_type")
"""Attributes that name an item's entity: of ElectroDB, of Amplify and AppSync, of DynamoDB Toolbox, and of designs."""

_TYPE_NAME = re.compile(r"_*((item|record|object)_?)?(type|kind|model|class)", re.IGNORECASE)
"""Attributes that may name it, and may be about something else: the type of an address."""

COVERED = 0.95
"""A type attribute is one that at least this share of the items has."""

MOST_KINDS = 60

LONGEST_NAME = 40
"""Characters of a kind's name, which becomes part of the names of tables."""

_SLACK = 0.02
"""Two ways whose results differ by less than this are equally good."""

Label = tuple[str, ...]
"""What tells one kind from another: a type attribute's value, or the form of the keys."""


class Kind(msgspec.Struct, frozen=True):
    """One kind of items."""

    name: str
    """A name for its table: lower case, letters, digits and _."""
    told_by: str
    """What tells an item of this kind, in words."""
    label: Label
    items: int
    """How many items of the sample are of this kind."""
    lists: tuple[str, ...]
    """Attributes that are lists of maps in most of the items that have them: rows of their own."""
    when: tuple[Condition, ...] = ()
    """What holds of its items; of those for which the conditions of several kinds hold, the first of these counts, as
    `order_kinds` has them."""


class Kinds:
    """The kinds of a table's items, and what tells them apart."""

    def __init__(
        self,
        items: Sequence[Item],
        label: Callable[[Item], Label | None],
        describe: Callable[[Label], str],
        conditions: Callable[[Label], tuple[Condition, ...]],
    ) -> None:
        """Sort a sample by kind.

        Args:
            items: as DynamoDB's API gives them.
            label: tells what an item's kind is known by; None where it is of none.
            describe: says in words what a label means.
            conditions: says what holds of the items with a label.
        """
        self._label = label
        found = defaultdict(list)
        for item in items:
            if (each := label(item)) is not None:
                found[each].append(item)
        names = _build_names(list(found))
        self.all = tuple(
            Kind(names[each], describe(each), each, len(alike), _find_lists(alike), conditions(each))
            for each, alike in sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        )
        """The most frequent first."""
        self.likeness = sum(_count_alike(alike) for alike in found.values()) / max(1, len(items))
        """How alike the items of one kind are: 1 where all have the same attributes."""

    def kind_of(self, item: Item) -> Kind | None:
        """Tell an item's kind; None where it is of none that the sample had.

        Args:
            item: as DynamoDB's API gives it.
        """
        label = self._label(item)
        return next((kind for kind in self.all if kind.label == label), None)


def find_kinds(items: Sequence[Item], keys: Sequence[str]) -> Kinds | None:
    """Find the kinds of a table's items.

    Args:
        items: a sample, as DynamoDB's API gives them.
        keys: the table's key attributes.

    Returns:
        The kinds; None where nothing tells that there are several.
    """
    by_keys = _tell_by_keys(items, keys)
    for attribute in LIBRARIES:
        by_type = _tell_by_type(items, attribute)
        if by_type and len(by_type.all) > 1:
            return by_type
    alone = Kinds(items, lambda _: (), lambda _: "", lambda _: ())
    names = {name for item in items for name in item if _TYPE_NAME.fullmatch(name) and name not in keys}
    tried = [kinds for name in sorted(names) if (kinds := _tell_by_type(items, name))]
    best = max(tried, key=lambda kinds: kinds.likeness, default=None)
    if best and len(best.all) > 1 and best.likeness > alone.likeness and best.likeness >= by_keys.likeness - _SLACK:
        return best
    return by_keys if 1 < len(by_keys.all) <= MOST_KINDS and by_keys.likeness > alone.likeness else None


def order_kinds(kinds: Iterable[Kind]) -> list[Kind]:
    """Put kinds in the order in which their conditions are asked: the longest are of the fewest items.

    Args:
        kinds: of one table.
    """

    def count_said(kind: Kind) -> int:
        return sum(len(each.begins_with or each.like or str(each.one_of[0])) for each in kind.when)

    return sorted(kinds, key=count_said, reverse=True)


def _tell_by_type(items: Sequence[Item], attribute: str) -> Kinds | None:
    """Tell kinds by an attribute's value, if nearly all items have one and there are few."""

    def label(item: Item) -> Label | None:
        value = item.get(attribute, {}).get("S")
        return None if value is None else (value,)

    values = Counter(label(item) for item in items)
    missing = values.pop(None, 0)
    if missing > (1 - COVERED) * len(items) or len(values) > min(MOST_KINDS, len(items) / 2):
        return None
    return Kinds(
        items,
        label,
        lambda each: f"{attribute} is {each[0]!r}",
        lambda each: (Condition(attribute, one_of=(each[0],)),),
    )


def _tell_by_keys(items: Sequence[Item], keys: Sequence[str]) -> Kinds:
    """Tell kinds by the words in their keys."""
    forms = [KeyForms([text_of(item, key) for item in items], is_sort_key=n > 0) for n, key in enumerate(keys)]
    if len(forms) > 1:
        forms[1].find_lone_words([forms[0].form(text_of(item, keys[0])) for item in items], items, keys)

    def label(item: Item) -> Label | None:
        return tuple(form.form(text_of(item, key)) for key, form in zip(keys, forms, strict=True))

    def describe(each: Label) -> str:
        return ", ".join(f"{key} is like {form!r}" for key, form in zip(keys, each, strict=True))

    def conditions(each: Label) -> tuple[Condition, ...]:
        return tuple(ask_form(key, form) for key, form in zip(keys, each, strict=True) if form != "*")

    return Kinds(items, label, describe, conditions)


def _count_alike(items: Sequence[Item]) -> float:
    """Sum how much of what it has each item shares with most of the others."""
    seen = Counter(name for item in items for name in item)
    common = {name for name, times in seen.items() if 2 * times > len(items)}
    return sum(len(common & item.keys()) / len(common | item.keys()) for item in items if common)


def _find_lists(items: Sequence[Item]) -> tuple[str, ...]:
    lists: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for item in items:
        for name, value in item.items():
            elements = value.get("L")
            seen[name] += 1
            lists[name] += bool(elements and all("M" in element for element in elements))
    return tuple(sorted(name for name, times in lists.items() if 2 * times > seen[name]))


def _build_names(labels: Sequence[Label]) -> dict[Label, str]:
    """Name kinds: by the last words that tell them, and where these are not enough by all."""
    short = {label: _identifier(_words(label)[-1:]) for label in labels}
    times = Counter(short.values())
    names: dict[Label, str] = {}
    for label in labels:
        name = short[label] if short[label] and times[short[label]] == 1 else _identifier(_words(label))
        number, name = 1, (name or "item")[:LONGEST_NAME].rstrip("_")
        base = name
        while name in names.values():
            number += 1
            name = f"{base}_{number}"
        names[label] = name
    return names


def _words(label: Label) -> list[str]:
    """Give the words of a label; single letters only where there is nothing else."""
    words = [part for form in label for part in form.split(SEPARATOR) if part not in {"", "*"}]
    return [word for word in words if len(word) > 1] or words


def _identifier(words: Sequence[str]) -> str:
    parted = "_".join(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word) for word in dict.fromkeys(words))
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")
