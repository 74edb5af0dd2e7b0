"""Conditions on items: what tells the kind of an item, so that it becomes a row of the right target. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from fastetl.columns import build_json


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an attribute has to be like. Exactly one of `begins_with`, `like`, `one_of` and `present` is said."""

    attribute: str
    """Of the item, at its top level."""
    begins_with: str = ""
    """The attribute is a text that begins so."""
    like: str = ""
    """The attribute is a text of this form, in which `*` stands for any text: `ORDER#*#ITEM#*`."""
    one_of: tuple[str | bool | int, ...] = ()
    """The attribute is one of these texts, whole numbers or booleans."""
    present: bool | None = None
    """Whether the attribute is there, and not NULL."""

    @property
    def json_prefix(self) -> str:
        """How the JSON of an attribute begins that `begins_with` fits."""
        return build_json("S", self.begins_with)[:-1]

    @property
    def json_pattern(self) -> str:
        """The regular expression that the JSON of an attribute fits, from its beginning to its end, as `like` says."""
        parts = [re.escape(build_json("S", part)[1:-1]) for part in self.like.split("*")]
        return f'^"{".*".join(parts)}"$'

    @property
    def json_values(self) -> tuple[str, ...]:
        """The JSON of the attributes that `one_of` names."""
        return tuple(map(_write, self.one_of))

    def holds(self, json: str | None) -> bool:
        """Tell whether an attribute is as it has to be.

        Args:
            json: the attribute as `build_json` writes it; None where it is missing or NULL.
        """
        if self.present is not None:
            return (json is not None) is self.present
        if json is None:
            return False
        if self.like:
            return re.fullmatch(self.json_pattern, json, re.DOTALL) is not None
        return json in self.json_values if self.one_of else json.startswith(self.json_prefix)


def _write(value: str | int) -> str:
    if isinstance(value, bool):
        return build_json("BOOL", value)
    return build_json("S", value) if isinstance(value, str) else build_json("N", str(value))


def find_condition_problem(condition: Condition) -> str:
    """Tell why a condition is none; empty where it is one."""
    said = [bool(condition.begins_with), bool(condition.like), bool(condition.one_of), condition.present is not None]
    if not condition.attribute:
        return "the attribute has no name"
    return "" if sum(said) == 1 else "say exactly one of begins_with, like, equals, one_of and present"


def list_attributes(conditions: Iterable[Condition]) -> tuple[str, ...]:
    """List the attributes that conditions ask, each once.

    Args:
        conditions: of any targets.
    """
    return tuple(dict.fromkeys(condition.attribute for condition in conditions))
