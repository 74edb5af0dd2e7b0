"""Conditions on items: what tells the kind of an item, so that it becomes a row of the right target. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from fastetl.columns import Column, RedshiftType, ask_row, build_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on an item: on one attribute, with exactly one of `begins_with`, `like`, `equals`, `one_of` and
    `present`, or on the target's columns, with `sql`.
    """

    attribute: str = ""
    """Of the item, at its top level."""
    begins_with: str = ""
    """The attribute is a text that begins so."""
    like: str = ""
    """The attribute is a text of this form, in which `*` stands for any text: `ORDER#*#ITEM#*`."""
    one_of: tuple[str | bool | int, ...] = ()
    """The attribute is one of these texts, whole numbers or booleans."""
    present: bool | None = None
    """Whether the attribute is there, and not NULL."""
    sql: str = ""
    """A condition over the target's own columns, in the dialect of Polars: `total >= 100 AND status = 'open'`. A value
    that does not fit its column counts as NULL; the condition has to be true."""
    asks: tuple[Column, ...] = ()
    """The columns that `sql` names."""

    @property
    def questions(self) -> tuple[Column, ...]:
        """The columns that are decoded for it: the attribute as JSON, or what `sql` asks."""
        if not self.sql:
            attribute = self.attribute
            return (Column(name_question(attribute), (attribute,), RedshiftType("SUPER"), on_misfit="null"),)
        return tuple(msgspec.structs.replace(column, name=name_asked(column), on_misfit="null") for column in self.asks)

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

    def holds(self, values: Mapping[str, str | None]) -> bool:
        """Tell whether an item is as it has to be.

        Args:
            values: what the condition asks, by the questions' names; None where it is missing or NULL.
        """
        if self.sql:
            return ask_row(self.sql, self.asks, {column.name: values[name_asked(column)] for column in self.asks})
        json = values[name_question(self.attribute)]
        if self.present is not None:
            return (json is not None) is self.present
        if json is None:
            return False
        if self.like:
            return re.fullmatch(self.json_pattern, json, re.DOTALL) is not None
        return json in self.json_values if self.one_of else json.startswith(self.json_prefix)


def name_question(attribute: str) -> str:
    """Name the column that holds an attribute for conditions.

    Args:
        attribute: that a condition asks.
    """
    return f"when {attribute}"


def name_asked(column: Column) -> str:
    """Name the column that holds, for conditions in SQL, what a column of a target holds.

    Args:
        column: that a condition asks.
    """
    return f"asked {'.'.join(map(str, column.path))} {column.type} {column.time_format}"


def find_asked(sql: str, columns: Sequence[Column]) -> tuple[Column, ...]:
    """Find the columns whose names stand in an SQL expression as words.

    Args:
        sql: of the expression.
        columns: of the target.
    """
    return tuple(column for column in columns if re.search(rf"(?<!\w){re.escape(column.name)}(?!\w)", sql))


def _write(value: str | int) -> str:
    if isinstance(value, bool):
        return build_json("BOOL", value)
    return build_json("S", value) if isinstance(value, str) else build_json("N", str(value))


def find_condition_problem(condition: Condition) -> str:
    """Tell why a condition is none; empty where it is one."""
    said = [
        bool(condition.begins_with), bool(condition.like), bool(condition.one_of), condition.present is not None,
        bool(condition.sql),
    ]  # fmt: skip
    if sum(said) != 1:
        return "say exactly one of begins_with, like, equals, one_of, present and sql"
    if not condition.sql:
        return "" if condition.attribute else "the attribute has no name"
    if condition.attribute:
        return "sql asks columns, which it names itself: leave out attribute"
    return "" if condition.asks else "sql names no column of this target"


def list_questions(conditions: Iterable[Condition]) -> tuple[Column, ...]:
    """List the columns that are decoded for conditions, each once.

    Args:
        conditions: of any targets.
    """
    return tuple(dict.fromkeys(question for condition in conditions for question in condition.questions))
