"""Columns for a table that has none yet: what each attribute of a sample of items could become in Redshift. Pure.

For every attribute the narrowest type is proposed that holds all values of the sample with headroom; the product's
own conversion decides whether it does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.columns import (
    Column,
    RedshiftType,
    TimeFormat,
    UnfitError,
    build_converter,
    only,
)
from fastetl.config import quote_toml
from fastetl.identifiers import find_column_problem, fold
from fastetl.limits import MAX_PRECISION, MAX_VARBYTE_BYTES, MAX_VARCHAR_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

HEADROOM = 2
"""A text's column holds texts this many times as long as the longest of the sample."""

SPARE_DIGITS = 4
"""Before the point, beyond the largest number of the sample."""

_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 4096, 16_384, MAX_VARCHAR_BYTES)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_ZONE = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")
_TIME_NAME = re.compile(
    r"(^|_)(at|on|time|timestamp|ts|date|since|until|expires|expiry|ttl)$|(At|Time|Timestamp|Date)$"
)
_BIGINT_DIGITS = 18
_EPOCHS: tuple[tuple[TimeFormat, int], ...] = (("epoch_s", 1), ("epoch_ms", 10**3), ("epoch_us", 10**6))
_FIRST_SECOND, _LAST_SECOND = 631_152_000, 4_102_444_800
"""1990 to 2100: a number of seconds in between, in an attribute named like a time, is taken for one."""

Value = tuple[str, Any]
"""A DynamoDB value: its type's letters and its content."""


class Proposal(msgspec.Struct, frozen=True):
    """A column for an attribute, and what its reader should know."""

    column: Column
    seen: int
    """Items of the sample that have the attribute."""
    remark: str = ""

    def to_toml(self, *, inline: bool = False) -> str:
        """Write the column as a table of `fastetl.toml`, or as an element of a list `columns = [...]`."""
        column = self.column
        settings = [f"name = {quote_toml(column.name)}"]
        if column.path != (column.name,):
            path = quote_toml(str(column.path[0]))
            settings.append(f"path = [{path}]" if "." in str(column.path[0]) else f"path = {path}")
        settings.append(f"type = {quote_toml(str(column.type))}")
        if column.time_format != "iso8601":
            settings.append(f"time_format = {quote_toml(column.time_format)}")
        lines = [f"# {self.remark}"] if self.remark else []
        lines += [f"{{ {', '.join(settings)} }},"] if inline else ["[[pipelines.columns]]", *settings]
        return "\n".join(lines) + "\n"


def propose_columns(
    items: Iterable[Mapping[str, Any]], *, first: Sequence[str] = (), taken: Iterable[str] = ()
) -> tuple[Proposal, ...]:
    """Propose a column for every attribute of the items, which are as DynamoDB's API gives them.

    Args:
        items: a sample.
        first: attributes that come first: the table's keys.
        taken: names of columns that are there already.
    """
    values: dict[str, list[Value]] = {name: [] for name in first}
    values = defaultdict(list, values)
    for item in items:
        for name, value in item.items():
            values[name].append(only(value))
    names = _Names(taken)
    return tuple(propose_column(name, names.name(name), found) for name, found in values.items())


def propose_column(attribute: str, name: str, values: Sequence[Value]) -> Proposal:
    """Propose a column for one attribute by its values."""
    values = [value for value in values if value[0] != "NULL"]
    if not values:
        return Proposal(_column(attribute, name, "VARCHAR(256)"), 0, "no value was seen: the type is a guess")
    for kind, time_format, remark in _candidates(attribute, values):
        column = _column(attribute, name, kind, time_format)
        if _holds(column, values):
            return Proposal(column, len(values), remark)
    remark = "some values fit no type and will be rejects"
    return Proposal(_column(attribute, name, "SUPER"), len(values), remark)


def _candidates(attribute: str, values: Sequence[Value]) -> Iterator[tuple[str, TimeFormat, str]]:
    """Types to try, the narrowest first."""
    tags = {tag for tag, _ in values}
    if tags == {"BOOL"}:
        yield "BOOLEAN", "iso8601", ""
    elif tags == {"N"}:
        yield from _numbers(attribute, [Decimal(content) for _, content in values])
    elif tags == {"S"}:
        yield from _texts([content for _, content in values])
    elif tags == {"B"}:
        length = min(MAX_VARBYTE_BYTES, _round_up(max(len(content) for _, content in values) * HEADROOM))
        yield f"VARBYTE({length})", "iso8601", ""
    mixed = f"mixed types: {', '.join(sorted(tags))}" if len(tags) > 1 else ""
    if tags <= {"N", "S", "BOOL"}:
        yield f"VARCHAR({_length(str(content) for _, content in values)})", "iso8601", mixed
    yield "SUPER", "iso8601", mixed


def _numbers(attribute: str, numbers: Sequence[Decimal]) -> Iterator[tuple[str, TimeFormat, str]]:
    low, high = min(numbers), max(numbers)
    whole = all(number == number.to_integral_value() for number in numbers)
    if whole and _TIME_NAME.search(attribute):
        for time_format, unit in _EPOCHS:
            if low >= _FIRST_SECOND * unit and high < _LAST_SECOND * unit:
                remark = "a number that looks like a time; BIGINT would keep the number"
                yield "TIMESTAMP", time_format, remark
    digits = max(abs(low), abs(high)).adjusted() + 1 if low or high else 1
    if whole and digits <= _BIGINT_DIGITS:
        yield "BIGINT", "iso8601", ""
    scale = max(0, *(-int(number.normalize().as_tuple().exponent) for number in numbers))
    precision = max(_BIGINT_DIGITS, max(digits, 1) + SPARE_DIGITS + scale)
    if precision <= MAX_PRECISION:
        yield f"DECIMAL({precision},{scale})", "iso8601", ""
    if max(digits, 1) + scale <= MAX_PRECISION:
        yield f"DECIMAL({MAX_PRECISION},{scale})", "iso8601", "little headroom: the numbers are long already"
    yield "DOUBLE PRECISION", "iso8601", "numbers too far apart for DECIMAL; what no double holds will be a reject"
    yield f"VARCHAR({_LENGTHS[3]})", "iso8601", "numbers of more than 38 digits' range, kept as text"


def _texts(texts: Sequence[str]) -> Iterator[tuple[str, TimeFormat, str]]:
    if all(_DAY.fullmatch(text) for text in texts):
        yield "DATE", "iso8601", ""
    if all(_DAY.match(text) for text in texts):
        zoned = all(_ZONE.search(text[10:]) for text in texts)
        yield "TIMESTAMPTZ" if zoned else "TIMESTAMP", "iso8601", ""


def _holds(column: Column, values: Sequence[Value]) -> bool:
    convert = build_converter(column, r"\N")
    try:
        for tag, content in values:
            convert(tag, content)
    except UnfitError:
        return False
    return True


def _column(attribute: str, name: str, kind: str, time_format: TimeFormat = "iso8601") -> Column:
    return Column(name, (attribute,), RedshiftType.parse(kind), time_format=time_format)


def _length(texts: Iterable[str]) -> int:
    return _round_up(max(len(text.encode(errors="replace")) for text in texts) * HEADROOM)


def _round_up(length: int) -> int:
    return next((step for step in _LENGTHS if step >= length), MAX_VARCHAR_BYTES)


class _Names:
    """Gives every attribute a column name of its own: lower case, letters, digits and _."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {fold(name) for name in taken}

    def name(self, attribute: str) -> str:
        plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", attribute)
        plain = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")[:100]
        is_name = plain and not plain[0].isdigit() and not find_column_problem(plain)
        base = plain if is_name else f"c_{plain}".rstrip("_")
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name
