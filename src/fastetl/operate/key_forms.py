"""Find the forms of a key attribute's values: `ORDER#*` of `ORDER#17`, with the words that tell a kind. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from fastetl.config import Condition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Item = Mapping[str, Any]
    """An item as DynamoDB's API gives it."""

_WORD = re.compile(r"\$?[A-Za-z][A-Za-z_$-]*")
SEPARATOR = "#"

FREQUENT = 0.25
"""A word that is a whole sort key tells a kind only if at least this share of the partitions of one form has it."""

MOST_ALIKE = 3
"""Words that are whole sort keys of items with the same attributes, at most."""


class KeyForms:
    """The forms of a key attribute's values: `ORDER#*`, with the words and not the values."""

    def __init__(self, texts: Sequence[str], *, is_sort_key: bool) -> None:
        """Learn the words from a sample's values.

        Args:
            texts: the values of one key attribute.
            is_sort_key: whether it is the sort key.
        """
        self._is_sort_key = is_sort_key
        before: dict[str, set[str]] = defaultdict(set)
        for text in texts:
            parts = _split(text)
            for n in range(1, self._last(parts)):
                if _WORD.fullmatch(parts[n]):
                    before[parts[n]].add(SEPARATOR.join(parts[:n]))
        # What stands behind different values is a word; what stands behind one word only is a value.
        self._inner = {word for word, beginnings in before.items() if len(beginnings) > 1}
        self._lone: set[tuple[str, str]] = set()

    def _last(self, parts: list[str]) -> int:
        # A sort key ends in a value, as a rule: a status, a day.
        return len(parts) - 1 if self._is_sort_key else len(parts)

    def find_lone_words(self, partition_forms: Sequence[str], items: Sequence[Item], keys: Sequence[str]) -> None:
        """Find the words that are a whole sort key, which many partitions of one form have.

        Args:
            partition_forms: of each item's partition key.
            items: the sample.
            keys: the table's key attributes.
        """
        partitions: dict[str, set[str]] = defaultdict(set)
        having: dict[tuple[str, str], set[str]] = defaultdict(set)
        alike: dict[tuple[str, frozenset[str]], set[str]] = defaultdict(set)
        for form, item in zip(partition_forms, items, strict=True):
            partition, text = text_of(item, keys[0]), text_of(item, keys[1])
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
        """Give the form of a value.

        Args:
            text: the value.
        """
        parts = _split(text)
        if len(parts) == 1:
            is_word = any(text == word for _, word in self._lone)
            return text if is_word else "*"
        head = parts[0] if _WORD.fullmatch(parts[0].lstrip(SEPARATOR)) else "*"
        last = self._last(parts)
        rest = [part if n < last and part in self._inner else "*" for n, part in enumerate(parts[1:], start=1)]
        form = [head, *rest]
        return SEPARATOR.join(part for part, after in pairwise([*form, ""]) if not (part == after == "*"))


def _split(text: str) -> list[str]:
    """Split a value into its parts; separators at its beginning are part of the first."""
    bare = text.lstrip(SEPARATOR)
    first, *rest = bare.split(SEPARATOR)
    return [text[: len(text) - len(bare)] + first, *rest]


def text_of(item: Item, key: str) -> str:
    """Give an item's key attribute where it is a text; empty where it is not."""
    text: str = item.get(key, {}).get("S", "")
    return text


def ask_form(key: str, form: str) -> Condition:
    """Build the condition that a key has a form.

    Args:
        key: the attribute.
        form: as `KeyForms.form` gives it.
    """
    if "*" not in form:
        return Condition(key, one_of=(form,))
    if form.index("*") == len(form) - 1:
        return Condition(key, begins_with=form[:-1])
    return Condition(key, like=form)
