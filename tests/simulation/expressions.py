"""DynamoDB's expressions, really evaluated: conditions, filters, key conditions and updates.

Grammar: Amazon DynamoDB developer guide, "Condition expressions" and "Update expressions". An item is a mapping of
names to typed values, `{"S": "text"}`. Compiled expressions are cached; names and values come in when they are run.
"""

from __future__ import annotations

import functools
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.simulation.faults import client_error

if TYPE_CHECKING:
    from collections.abc import Callable

Value = dict[str, Any]
Item = dict[str, Value]
Operand = "Callable[[Scope], Value | None]"
Test = "Callable[[Scope], bool]"

_TOKEN = re.compile(r"\s*(?:(<>|<=|>=|[=<>(),+\-.\[\]])|([#:]?[A-Za-z0-9_]+))")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class Scope:
    """What an expression is evaluated on: an item, and the names and values that came with the request."""

    def __init__(self, item: Item, arguments: dict[str, Any]) -> None:
        self.item = item
        self.names: dict[str, str] = arguments.get("ExpressionAttributeNames") or {}
        self.values: dict[str, Value] = arguments.get("ExpressionAttributeValues") or {}

    def name(self, word: str) -> str:
        """An attribute's name, where `#alias` may stand for it."""
        return self.names[word] if word.startswith("#") else word


def check_placeholders(operation: str, arguments: dict[str, Any], *expressions: str) -> None:
    """Refuse, as DynamoDB does, a placeholder that is not defined and a definition that is not used."""
    used = set(re.findall(r"[#:][A-Za-z0-9_]+", " ".join(expressions)))
    defined = set(arguments.get("ExpressionAttributeNames") or ()) | set(
        arguments.get("ExpressionAttributeValues") or ()
    )
    if used != defined:
        raise client_error(operation, "ValidationException", f"placeholders differ: {sorted(used ^ defined)}")


def holds(expression: str, item: Item, arguments: dict[str, Any]) -> bool:
    """Whether a condition, filter or key condition is true of an item; an absent item is an empty one."""
    return bool(not expression or _condition(expression)(Scope(item, arguments)))


def updated(expression: str, item: Item, arguments: dict[str, Any]) -> Item:
    """The item after an update expression; every operand is read from the item as it was before."""
    scope, after = Scope(item, arguments), dict(item)
    for change in _update(expression):
        change(scope, after)
    return after


@functools.lru_cache(maxsize=4096)
def _condition(expression: str) -> Any:
    parser = _Parser(expression)
    test = parser.any_of()
    parser.end()
    return test


@functools.lru_cache(maxsize=4096)
def _update(expression: str) -> Any:
    return _Parser(expression).changes()


class _Parser:
    """Recursive descent; what it gives are closures over a scope."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            if (match := _TOKEN.match(text, position)) is None:
                raise client_error("expression", "ValidationException", f"syntax error: {text!r}")
            self._words.append(match[1] or match[2])
            position = match.end()
        self._at = 0

    # --- conditions ----------------------------------------------------------------------------------------------

    def any_of(self) -> Any:
        tests = [self.all_of()]
        while self._take("OR"):
            tests.append(self.all_of())
        return tests[0] if len(tests) == 1 else lambda scope: any(test(scope) for test in tests)

    def all_of(self) -> Any:
        tests = [self._negation()]
        while self._take("AND"):
            tests.append(self._negation())
        return tests[0] if len(tests) == 1 else lambda scope: all(test(scope) for test in tests)

    def _negation(self) -> Any:
        if self._take("NOT"):
            test = self._negation()
            return lambda scope: not test(scope)
        if self._take("("):
            test = self.any_of()
            self._expect(")")
            return test
        return self._predicate()

    def _predicate(self) -> Any:
        word = self._peek()
        if word in {"attribute_exists", "attribute_not_exists", "begins_with", "contains"}:
            return self._function(self._next())
        left = self._operand()
        if self._take("IN"):
            options = self._arguments()
            return lambda scope: _known(left(scope)) and any(left(scope) == option(scope) for option in options)
        if self._take("BETWEEN"):
            low = self._operand()
            self._expect("AND")
            high = self._operand()
            return lambda scope: _compare(">=", left(scope), low(scope)) and _compare("<=", left(scope), high(scope))
        comparison = self._next()
        if comparison not in _COMPARISONS:
            raise client_error("expression", "ValidationException", f"syntax error: {self._text!r}")
        right = self._operand()
        return lambda scope: _compare(comparison, left(scope), right(scope))

    def _function(self, name: str) -> Any:
        first, *rest = self._arguments()
        match name:
            case "attribute_exists":
                return lambda scope: first(scope) is not None
            case "attribute_not_exists":
                return lambda scope: first(scope) is None
            case "begins_with":
                return lambda scope: _text(first(scope)).startswith(_text(rest[0](scope)))
            case _:
                return lambda scope: _contains(first(scope), rest[0](scope))

    # --- updates -------------------------------------------------------------------------------------------------

    def changes(self) -> list[Any]:
        changes = []
        while self._at < len(self._words):
            clause = self._next().upper()
            changes.append(self._change(clause))
            while self._take(","):
                changes.append(self._change(clause))
        return changes

    def _change(self, clause: str) -> Any:
        word = self._next()
        match clause:
            case "SET":
                self._expect("=")
                return _setter(word, self._sum())
            case "REMOVE":
                return lambda scope, after: after.pop(scope.name(word), None)
            case "ADD":
                return _adder(word, self._operand())
            case _:
                raise client_error("expression", "ValidationException", f"syntax error: {self._text!r}")

    def _sum(self) -> Any:
        left = self._operand()
        if self._take("+"):
            right = self._operand()
            return lambda scope: _plus(left(scope), right(scope), 1)
        if self._take("-"):
            right = self._operand()
            return lambda scope: _plus(left(scope), right(scope), -1)
        return left

    # --- operands and words --------------------------------------------------------------------------------------

    def _operand(self) -> Any:
        word = self._next()
        if word.startswith(":"):
            return lambda scope: scope.values[word]
        if word in {"if_not_exists", "list_append"}:
            first, second = self._arguments()
            if word == "list_append":
                return lambda scope: {"L": [*first(scope)["L"], *second(scope)["L"]]}
            return lambda scope: second(scope) if first(scope) is None else first(scope)
        steps: list[Any] = [word]
        while (mark := self._peek()) in {".", "["}:
            self._next()
            steps.append(self._next() if mark == "." else int(self._next()))
            if mark == "[":
                self._expect("]")
        return lambda scope: _follow(scope, steps)

    def _arguments(self) -> list[Any]:
        self._expect("(")
        arguments = [self._operand()]
        while self._take(","):
            arguments.append(self._operand())
        self._expect(")")
        return arguments

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _next(self) -> str:
        word = self._peek()
        self._at += 1
        return word

    def _take(self, word: str) -> bool:
        if self._peek().upper() != word:
            return False
        self._at += 1
        return True

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise client_error("expression", "ValidationException", f"syntax error: {self._text!r}, expected {word}")

    def end(self) -> None:
        if self._at != len(self._words):
            raise client_error("expression", "ValidationException", f"syntax error: {self._text!r}")


def _follow(scope: Scope, steps: list[Any]) -> Value | None:
    found: Any = scope.item.get(scope.name(steps[0]))
    for step in steps[1:]:
        if found is None:
            return None
        if isinstance(step, int):
            listed = found.get("L", [])
            found = listed[step] if step < len(listed) else None
        else:
            found = found.get("M", {}).get(scope.name(step))
    value: Value | None = found
    return value


def _setter(word: str, operand: Any) -> Any:
    def change(scope: Scope, after: Item) -> None:
        value = operand(scope)
        if value is None:
            raise client_error("update_item", "ValidationException", "an operand names an attribute that is not there")
        after[scope.name(word)] = value

    return change


def _adder(word: str, operand: Any) -> Any:
    def change(scope: Scope, after: Item) -> None:
        name = scope.name(word)
        after[name] = _plus(after.get(name, {"N": "0"}), operand(scope), 1)

    return change


def _plus(left: Value | None, right: Value | None, sign: int) -> Value:
    if not left or not right or "N" not in left or "N" not in right:
        raise client_error("update_item", "ValidationException", "an operand of + is not a number")
    return {"N": str(Decimal(left["N"]) + sign * Decimal(right["N"]))}


def _known(value: Value | None) -> bool:
    return value is not None


def _compare(comparison: str, left: Value | None, right: Value | None) -> bool:
    if left is None or right is None:
        # Only `<>` is true of an attribute that is not there.
        return comparison == "<>" and left is not right
    ((left_tag, a),), ((right_tag, b),) = left.items(), right.items()
    if left_tag != right_tag:
        return comparison == "<>"
    if left_tag == "N":
        a, b = Decimal(a), Decimal(b)
    return _COMPARISONS[comparison](a, b)


def _text(value: Value | None) -> str:
    return (value or {}).get("S", "\0")


def _contains(value: Value | None, part: Value | None) -> bool:
    if not value or not part:
        return False
    ((tag, content),) = value.items()
    ((_, wanted),) = part.items()
    if tag == "L":
        return part in content
    return wanted in content if tag in {"S", "SS", "NS"} else False
