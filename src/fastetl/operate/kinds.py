"""Find the kinds of items that one table holds, from a sample: by a type attribute, or by words in their keys. Pure.

Libraries for single-table designs mark each item with the name of its entity. Designs by hand often have an attribute
for it as well, and write words into keys: `CUSTOMER#17`, `ORDER#2026-01-01`, `PROFILE`. Several ways to tell the kinds
are tried, and the one is taken by which items of one kind look most alike.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.config import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Item = Mapping[str, Any]
    """An item as DynamoDB's API gives it."""

LIBRARIES = ("__edb_e__", "__typename", "_et", "entity", "entityType", "EntityType", "entity_type")
"""Attributes that name an item's entity: of ElectroDB, of Amplify and AppSync, of DynamoDB Toolbox, and of designs."""

_TYPE_NAME = re.compile(r"_*((item|record|object)_?)?(type|kind|model|class)", re.IGNORECASE)
"""Attributes that may name it, and may be about something else: the type of an address."""

_WORD = re.compile(r"\$?[A-Za-z][A-Za-z_$-]*")
_SEPARATOR = "#"

COVERED = 0.95
"""A type attribute is one that at least this share of the items has."""

MOST_KINDS = 60

LONGEST_NAME = 40
"""Characters of a kind's name, which becomes part of the names of tables."""

FREQUENT = 0.25
"""A word that is a whole sort key tells a kind only if at least this share of the partitions of one form has it."""

MOST_ALIKE = 3
"""Words that are whole sort keys of items with the same attributes, at most."""

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
    forms = [_KeyForms([_text_of(item, key) for item in items], is_sort_key=n > 0) for n, key in enumerate(keys)]
    if len(forms) > 1:
        forms[1].find_lone_words([forms[0].form(_text_of(item, keys[0])) for item in items], items, keys)

    def label(item: Item) -> Label | None:
        return tuple(form.form(_text_of(item, key)) for key, form in zip(keys, forms, strict=True))

    def describe(each: Label) -> str:
        return ", ".join(f"{key} is like {form!r}" for key, form in zip(keys, each, strict=True))

    def conditions(each: Label) -> tuple[Condition, ...]:
        return tuple(_ask_form(key, form) for key, form in zip(keys, each, strict=True) if form != "*")

    return Kinds(items, label, describe, conditions)


def _ask_form(key: str, form: str) -> Condition:
    """Build the condition that a key has a form."""
    if "*" not in form:
        return Condition(key, one_of=(form,))
    if form.index("*") == len(form) - 1:
        return Condition(key, begins_with=form[:-1])
    return Condition(key, like=form)


class _KeyForms:
    """The forms of a key attribute's values: `ORDER#*`, with the words and not the values."""

    def __init__(self, texts: Sequence[str], *, is_sort_key: bool) -> None:
        self._is_sort_key = is_sort_key
        before: dict[str, set[str]] = defaultdict(set)
        for text in texts:
            parts = _split(text)
            for n in range(1, self._last(parts)):
                if _WORD.fullmatch(parts[n]):
                    before[parts[n]].add(_SEPARATOR.join(parts[:n]))
        # What stands behind different values is a word; what stands behind one word only is a value.
        self._inner = {word for word, beginnings in before.items() if len(beginnings) > 1}
        self._lone: set[tuple[str, str]] = set()

    def _last(self, parts: list[str]) -> int:
        # A sort key ends in a value, as a rule: a status, a day.
        return len(parts) - 1 if self._is_sort_key else len(parts)

    def find_lone_words(self, partition_forms: Sequence[str], items: Sequence[Item], keys: Sequence[str]) -> None:
        """Find the words that are a whole sort key, which many partitions of one form have."""
        partitions: dict[str, set[str]] = defaultdict(set)
        having: dict[tuple[str, str], set[str]] = defaultdict(set)
        alike: dict[tuple[str, frozenset[str]], set[str]] = defaultdict(set)
        for form, item in zip(partition_forms, items, strict=True):
            partition, text = _text_of(item, keys[0]), _text_of(item, keys[1])
            partitions[form].add(partition)
            if _WORD.fullmatch(text):
                having[form, text].add(partition)
                alike[form, frozenset(item)].add(text)
        # Many words, and all items have the same attributes: these are names of people or places.
        values = {(form, text) for (form, _), texts in alike.items() if len(texts) > MOST_ALIKE for text in texts}
        self._lone = {
            (form, word)
            for (form, word), found in having.items()
            if len(found) >= FREQUENT * len(partitions[form]) and (form, word) not in values
        }

    def form(self, text: str) -> str:
        """Give the form of a value."""
        parts = _split(text)
        if len(parts) == 1:
            is_word = any(text == word for _, word in self._lone)
            return text if is_word else "*"
        head = parts[0] if _WORD.fullmatch(parts[0].lstrip(_SEPARATOR)) else "*"
        last = self._last(parts)
        rest = [part if n < last and part in self._inner else "*" for n, part in enumerate(parts[1:], start=1)]
        form = [head, *rest]
        return _SEPARATOR.join(part for part, after in pairwise([*form, ""]) if not (part == after == "*"))


def _split(text: str) -> list[str]:
    """Split a value into its parts; separators at its beginning are part of the first."""
    bare = text.lstrip(_SEPARATOR)
    first, *rest = bare.split(_SEPARATOR)
    return [text[: len(text) - len(bare)] + first, *rest]


def _text_of(item: Item, key: str) -> str:
    text: str = item.get(key, {}).get("S", "")
    return text


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
    words = [part for form in label for part in form.split(_SEPARATOR) if part not in {"", "*"}]
    return [word for word in words if len(word) > 1] or words


def _identifier(words: Sequence[str]) -> str:
    parted = "_".join(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word) for word in dict.fromkeys(words))
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")
