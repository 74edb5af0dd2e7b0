"""Tables of a TOML file: every setting is taken once and by its type; what is wrong is gathered, not raised."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import msgspec

from fastetl.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# What stands for a setting that is missing or wrong, so that the rest can be checked all the same.
_ABSENT: dict[Any, Any] = {str: "", int: 0, tuple[str, ...]: ()}


class Table:
    """One table of the file, of which every setting is taken once; what is left is unknown."""

    def __init__(self, problems: list[Problem], settings: dict[str, Any], place: str) -> None:
        self.problems = problems
        self._left = dict(settings) if isinstance(settings, dict) else {}
        self._known: list[str] = []
        self.place = place
        if not isinstance(settings, dict):
            self.problem(place, f"a table is needed, not {settings!r}", f"Write [{place}]")

    def problem(self, place: str, message: str, remedy: str) -> None:
        """Note what is wrong, and what mends it."""
        self.problems.append(Problem(place, message, remedy))

    def at(self, name: str) -> str:
        """Give the place of a setting of this table."""
        return f"{self.place}.{name}" if self.place else name

    def __contains__(self, name: str) -> bool:
        """Tell whether a setting is said that has not been taken yet."""
        return name in self._left

    def take(self, name: str, kind: Any, default: Any = msgspec.NODEFAULT) -> Any:
        """Take a setting as a type; without a default it is needed."""
        self._known.append(name)
        if name not in self._left:
            if default is msgspec.NODEFAULT:
                self.problem(self.at(name), "missing", f"Add {name} = …")
                return _ABSENT.get(kind, "")
            return default
        value = self._left.pop(name)
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self.problem(self.at(name), str(error), _hint(kind, value))
            return _ABSENT.get(kind, "") if default is msgspec.NODEFAULT else default

    def take_all(self, struct: type[T]) -> T:
        """Take every field of a Struct as a setting of its name and type."""
        fields = msgspec.structs.fields(struct)  # type: ignore[arg-type]
        return struct(**{field.name: self.take(field.name, field.type, _default(field)) for field in fields})

    def parse(self, name: str, default: T, parse: Callable[[Any], T]) -> T:
        """Take a setting through a function that raises ValueError."""
        self._known.append(name)
        if name not in self._left:
            return default
        try:
            return parse(self._left.pop(name))
        except ValueError as error:
            self.problem(self.at(name), str(error), "Change it")
            return default

    def table(self, name: str) -> Table:
        """Take a table within this one; an empty one where there is none."""
        self._known.append(name)
        return Table(self.problems, self._left.pop(name, {}), self.at(name))

    def tables(self, name: str) -> list[Table]:
        """Take a list of tables."""
        self._known.append(name)
        found = self._left.pop(name, [])
        if not isinstance(found, list):
            self.problem(self.at(name), "a list of tables is needed", f"Write [[{self.at(name)}]]")
            return []
        return [Table(self.problems, table, f"{self.at(name)}[{n}]") for n, table in enumerate(found)]

    def rest(self) -> dict[str, Any]:
        """Take all settings that were not taken yet, whatever they are called."""
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        """Note what is left as unknown."""
        for name in self._left:
            near = difflib.get_close_matches(name, self._known, 1)
            remedy = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(sorted(self._known))}"
            self.problem(self.at(name), "unknown setting", remedy)


def quote_toml(text: str) -> str:
    """Write a text as TOML's basic string.

    Args:
        text: of any characters.
    """
    escaped = re.sub(r'["\\]', lambda match: "\\" + match[0], text)
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _hint(kind: Any, value: Any) -> str:
    allowed = get_args(kind)
    if isinstance(value, str) and allowed and all(isinstance(each, str) for each in allowed):
        near = difflib.get_close_matches(value, allowed, 1)
        return f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(map(repr, allowed))}"
    return "Change its type"
