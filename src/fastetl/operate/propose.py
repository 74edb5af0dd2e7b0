"""Propose columns for a table that has none yet, from a sample of its items. Pure.

For every attribute the narrowest type is proposed that holds all values of the sample with headroom; the product's
own conversion decides whether it does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fastetl.columns import (
    Column,
    RedshiftType,
    TimeFormat,
    UnfitError,
    build_converter,
    only,
    parse_number,
    plain,
)
from fastetl.config import quote_toml
from fastetl.identifiers import find_column_problem, fold
from fastetl.limits import MAX_PRECISION, MAX_SCALE, MAX_VARBYTE_BYTES, MAX_VARCHAR_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

HEADROOM = 2
"""A text's column holds texts this many times as long as the longest of the sample."""

SPARE_DIGITS = 4
"""How many more digits before the point a column gets than the largest number of the sample has."""

_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 4096, 16_384, MAX_VARCHAR_BYTES)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_CLOCK = re.compile(r"\d\d:\d\d:\d\d(?![\d:])")
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
    """A column for an attribute, and why it has its type."""

    column: Column
    seen: int
    """Items of the sample that have the attribute."""
    why: str
    """What the sample's values have in common."""
    remark: str = ""
    """What the reader of the proposal should check; empty as a rule."""
    target: str = ""
    """The name of the target whose items have the attribute, where there are several."""

    def to_toml(self, *, inline: bool = False, of: str = "pipelines") -> str:
        """Write the column as a table of `fastetl.toml`, or as an element of a list `columns = [...]`.

        Args:
            inline: whether it is an element of a list.
            of: the place of the tables that have the columns.
        """
        column = self.column
        settings = [f"name = {quote_toml(column.name)}"]
        if column.path != (column.name,):
            path = quote_toml(str(column.path[0]))
            settings.append(f"path = [{path}]" if "." in str(column.path[0]) else f"path = {path}")
        settings.append(f"type = {quote_toml(str(column.type))}")
        if column.time_format != "iso8601":
            settings.append(f"time_format = {quote_toml(column.time_format)}")
        lines = [f"# {self.why}; {self.seen:,} seen", *([f"# {self.remark}"] if self.remark else [])]
        lines += [f"{{ {', '.join(settings)} }},"] if inline else [f"[[{of}.columns]]", *settings]
        return "\n".join(lines) + "\n"


class _Candidate(NamedTuple):
    """A type that could hold the values."""

    kind: str
    why: str
    remark: str = ""
    time_format: TimeFormat = "iso8601"


def propose_columns(
    items: Iterable[Mapping[str, Any]], *, first: Sequence[str] = (), taken: Iterable[str] = ()
) -> tuple[Proposal, ...]:
    """Propose a column for every attribute of the items, which are as DynamoDB's API gives them.

    Attributes whose names are no Unicode are left out: no configuration can name them.

    Args:
        items: a sample.
        first: attributes that come first: the table's keys.
        taken: names of columns that are there already.

    Raises:
        UnfitError: a value is not as DynamoDB writes it.
    """
    values: dict[str, list[Value]] = {name: [] for name in first}
    values = defaultdict(list, values)
    for item in items:
        for name, value in item.items():
            if is_unicode(name):
                values[name].append(only(value))
    names = _Names(taken)
    return tuple(propose_column(name, names.name(name), found) for name, found in values.items())


def propose_sortkey(proposals: Sequence[Proposal], seen: int) -> tuple[str, str]:
    """Propose the column by which the mirror is sorted, and say why.

    Args:
        proposals: for the columns.
        seen: items of the sample.

    Returns:
        The column's name, and the reason in words.
    """
    for proposal in proposals:
        if proposal.seen == seen > 0 and proposal.column.type.kind in {"DATE", "TIMESTAMP", "TIMESTAMPTZ"}:
            return (
                proposal.column.name,
                "a time that all items of the sample have: a query for a period reads its blocks",
            )
    return "_key", "no time is in all items of the sample; a query for one item reads its blocks"


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written as UTF-8: lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def propose_column(attribute: str, name: str, values: Sequence[Value]) -> Proposal:
    """Propose a column for one attribute by its values."""
    values = [value for value in values if value[0] != "NULL"]
    if not values:
        column = _column(attribute, name, "VARCHAR(256)")
        return Proposal(column, 0, "no value in the sample", "no value was seen: the type is a guess")
    for kind, why, remark, time_format in _candidates(attribute, values):
        column = _column(attribute, name, kind, time_format)
        if _holds(column, values):
            return Proposal(column, len(values), why, remark)
    remark = "some values fit no type and will be rejects"
    return Proposal(_column(attribute, name, "SUPER"), len(values), "values that fit no other type", remark)


def _candidates(attribute: str, values: Sequence[Value]) -> Iterator[_Candidate]:
    """Yield types to try, the narrowest first."""
    tags = {tag for tag, _ in values}
    if tags == {"BOOL"}:
        yield _Candidate("BOOLEAN", "true or false")
    elif tags == {"N"}:
        yield from _numbers(attribute, [plain(parse_number(content)) for _, content in values])
    elif tags == {"S"}:
        yield from _texts([content for _, content in values])
    elif tags == {"B"}:
        longest = max(len(content) for _, content in values)
        length = min(MAX_VARBYTE_BYTES, _round_up(longest * HEADROOM))
        yield _Candidate(f"VARBYTE({length})", "binary values, with headroom")
    mixed = f"mixed types: {', '.join(sorted(tags))}" if len(tags) > 1 else ""
    if tags <= {"N", "S", "BOOL"}:
        longest = max(len(str(content).encode(errors="replace")) for _, content in values)
        why = f"texts of at most {longest:,} bytes, with headroom"
        yield _Candidate(f"VARCHAR({_round_up(longest * HEADROOM)})", why, mixed)
    yield _Candidate("SUPER", f"values of the types {', '.join(sorted(tags))}, as a document", mixed)


def _numbers(attribute: str, numbers: Sequence[str]) -> Iterator[_Candidate]:
    """Yield types for numbers, which are written plainly: every digit counts."""
    parts = [number.lstrip("-").partition(".") for number in numbers]
    digits, scale = max(len(whole) for whole, _, _ in parts), max(len(fraction) for _, _, fraction in parts)
    if not scale and _TIME_NAME.search(attribute):
        low, high = min(map(int, numbers)), max(map(int, numbers))
        for time_format, unit in _EPOCHS:
            if low >= _FIRST_SECOND * unit and high < _LAST_SECOND * unit:
                why = f"whole numbers that are times from 1990 to 2100 as {time_format}, named like a time"
                remark = "a number that looks like a time; BIGINT would keep the number"
                yield _Candidate("TIMESTAMP", why, remark, time_format)
    if not scale and digits <= _BIGINT_DIGITS:
        yield _Candidate("BIGINT", f"whole numbers of at most {digits} digits")
    why = f"numbers of at most {digits} digits before the point and {scale} after it"
    precision = max(_BIGINT_DIGITS, digits + SPARE_DIGITS + scale)
    if precision <= MAX_PRECISION:
        yield _Candidate(f"DECIMAL({precision},{scale})", why)
    if digits + scale <= MAX_PRECISION and scale <= MAX_SCALE:
        yield _Candidate(f"DECIMAL({MAX_PRECISION},{scale})", why, "little headroom: the numbers are long already")
    remark = "numbers too far apart for DECIMAL; what no double holds will be a reject"
    yield _Candidate("DOUBLE PRECISION", why, remark)
    yield _Candidate(f"VARCHAR({_LENGTHS[3]})", why, "numbers of more than 38 digits' range, kept as text")


def _texts(texts: Sequence[str]) -> Iterator[_Candidate]:
    if all(_DAY.fullmatch(text) for text in texts):
        yield _Candidate("DATE", "days as YYYY-MM-DD")
    if all(_DAY.match(text) for text in texts):
        if all(_ZONE.search(text[10:]) for text in texts):
            yield _Candidate("TIMESTAMPTZ", "times in ISO 8601 with a zone or an offset")
        else:
            yield _Candidate("TIMESTAMP", "times in ISO 8601, not all with a zone or an offset")
    if all(_CLOCK.match(text) for text in texts):
        if all(_ZONE.search(text[8:]) for text in texts):
            yield _Candidate("TIMETZ", "times of day with a zone or an offset")
        else:
            yield _Candidate("TIME", "times of day")


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
