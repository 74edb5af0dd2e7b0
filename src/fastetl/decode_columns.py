"""Values of one column, all at once, as the column's text. Pure.

Looking at a whole column costs a fraction of looking at each value: the common case is that all are their own text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import polars as pl

from fastetl.conversion import UnfitError, build_converter, build_json, build_plain_pattern, parse_number, plain
from fastetl.decode_general import (
    MAX_EVENT_ID_CHARACTERS,
    ColumnReader,
    escape_key,
    format_time,
)
from fastetl.model import SEQUENCE_DIGITS, build_version, epoch_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fastetl.columns import Column
    from fastetl.model import EpochStart

ABSENT = msgspec.Raw(b"")
"""Stands for an attribute that an item does not have, where its JSON would stand."""

_PLAIN_NUMBER = r"\A(?:0|-?[1-9][0-9]{0,37}|-?(?:0|[1-9][0-9]*)\.[0-9]*[1-9])\z"
_UNLIKE_KEYS = r"[\x00;\\]"
_EVENT_ID = rf"\A[\x20-\x7e]{{1,{MAX_EVENT_ID_CHARACTERS}}}\z"
_SEQUENCE_NUMBER = rf"\A[0-9]{{1,{SEQUENCE_DIGITS}}}\z"
_OPERATION = r"\A(?:INSERT|MODIFY|REMOVE)\z"
_DAY = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-[0-9]{2}-[0-9]{2}"
_PLAIN_DAY = rf"\A{_DAY}\z"
_PLAIN_TIME = rf"\A{_DAY}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z?\z"
"""Patterns for Polars, whose engine has no look-ahead and is several times as fast as `re`."""
_INTEGERS: dict[str, Any] = {"SMALLINT": pl.Int16, "INTEGER": pl.Int32, "BIGINT": pl.Int64}
_NUMBERS = {*_INTEGERS, "DECIMAL", "REAL", "DOUBLE PRECISION"}
_TIMES = {"DATE", "TIMESTAMP", "TIMESTAMPTZ"}


class Fields(msgspec.Struct, frozen=True):
    """What records hold, by the field: texts as they came, or the JSON that DynamoDB sent."""

    ids: pl.Series
    names: pl.Series
    arns: pl.Series
    sequence_numbers: pl.Series
    times: pl.Series
    """Unix seconds, as floats."""
    identities: Sequence[Any]
    """Who made each change; empty where nobody says."""
    keys: Sequence[pl.Series | Sequence[Any]]
    """Each key attribute's texts; or objects with `S`, `N` and `B`, where the configuration does not say which."""
    columns: Sequence[pl.Series | Sequence[msgspec.Raw]]
    undeclared: Sequence[Sequence[msgspec.Raw]]


def expected_tag(column: Column) -> str:
    """The type that a column's values have as a rule; '' for SUPER, which takes any."""
    kind = column.type.kind
    if kind == "SUPER":
        return ""
    if kind in _NUMBERS or (kind in _TIMES and column.time_format != "iso8601"):
        return "N"
    return {"BOOLEAN": "BOOL", "VARBYTE": "B"}.get(kind, "S")


class TypedKey:
    """One key attribute."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        """The type it is known to have; '' where no column says, and each value is an object with all three."""

    def hold(self, values: Sequence[Any]) -> pl.Series | Sequence[Any]:
        """Give the values as `Fields` holds them."""
        return pl.Series(values=values, dtype=pl.String) if self._tag else values

    def write(self, values: pl.Series | Sequence[Any], bad: set[int]) -> pl.Series:
        """Give the key's part of `_key` for every row."""
        if isinstance(values, pl.Series) and not values.null_count():
            is_number = self._tag == "N"
            fits = values.str.contains(_PLAIN_NUMBER) if is_number else ~values.str.contains(_UNLIKE_KEYS)
            if fits.all():
                return f"{self._tag}=" + values + ";"
        texts = [self._write_one(number, value, bad) for number, value in enumerate(values)]
        return pl.Series(values=texts, dtype=pl.String)

    def _write_one(self, number: int, value: Any, bad: set[int]) -> str:
        found = {self._tag: value} if self._tag else {tag: getattr(value, tag) for tag in ("S", "N", "B")}
        present = [(tag, content) for tag, content in found.items() if content is not None]
        try:
            ((tag, content),) = present
            content = plain(parse_number(content)) if tag == "N" else content
        except (ValueError, UnfitError):
            tag, content = "", "\0"
        if "\0" in content:
            bad.add(number)
        return f"{tag}={escape_key(content)};"


class TypedColumn:
    """One declared column: from its values to its text."""

    def __init__(self, column: Column, raw_path: tuple[str | int, ...] | None, null_marker: str) -> None:
        self._kind = column.type
        self._null_marker = null_marker
        self._tag = expected_tag(column)
        self.absent: Any = None
        """What stands for a missing value: values come as texts, or as the JSON that DynamoDB sent."""
        if raw_path is not None:
            self.absent = ABSENT
            whole = msgspec.structs.replace(column, path=("", *raw_path))
            self._convert_raw = ColumnReader(whole, null_marker).convert
        convert = build_converter(column, null_marker)
        # Days and moments repeat; what does not fit is worked out again each time, and is rare.
        self._convert = lru_cache(maxsize=4096)(convert) if column.type.kind in _TIMES else convert
        self._is_iso8601 = column.time_format == "iso8601"
        if column.type.kind == "DECIMAL":
            self._plain = rf"\A(?:{build_plain_pattern(column.type)})\z"
        self.group = (column.type, self._is_iso8601)
        """Columns that have this in common can be looked at together."""

    def hold(self, values: Sequence[Any]) -> pl.Series | Sequence[Any]:
        """Give the values as `Fields` holds them."""
        if self.absent is not None:
            return values
        return pl.Series(values=values, dtype=pl.Boolean if self._tag == "BOOL" else pl.String)

    def write(self, values: pl.Series | Sequence[Any], bad: set[int]) -> pl.Series:
        """Give every row's text; adds to `bad` the rows whose value does not fit as it is."""
        if not isinstance(values, pl.Series):
            return self._write_each([raw or None for raw in values], self._load, bad)
        if (series := self.read_plain(values)) is not None:
            return series
        tag = self._tag
        return self._write_each(values, lambda value: self._convert(tag, value), bad)

    def read_plain(self, values: pl.Series) -> pl.Series | None:
        """Give the values as text, if each of them is its own text, or nearly so."""
        series = self._read_plain(values)
        return None if series is None or (series == self._null_marker).any() else series

    def _read_plain(self, values: pl.Series) -> pl.Series | None:
        if self._tag == "BOOL":
            return values.cast(pl.String)
        if self._kind.kind in _TIMES:
            return self._read_plain_times(values) if self._is_iso8601 else None
        return values if self._is_plain(values) else None

    def _read_plain_times(self, series: pl.Series) -> pl.Series | None:
        """Read days, or moments in whole seconds."""
        is_date = self._kind.kind == "DATE"
        if not series.str.contains(_PLAIN_DAY if is_date else _PLAIN_TIME).all():
            return None
        days = series.str.slice(0, 10)
        if days.str.to_date("%Y-%m-%d", strict=False).null_count() != series.null_count():
            return None
        if is_date:
            return series
        zone = "+00" if self._kind.kind == "TIMESTAMPTZ" else ""
        return days + " " + series.str.slice(11, 8) + zone

    def _is_plain(self, series: pl.Series) -> bool:
        """Tell whether every value is its own text."""
        kind = self._kind
        match kind.kind:
            case "VARCHAR":
                longest: Any = series.str.len_bytes().max()
                return (longest or 0) <= kind.length and not series.str.contains("\0", literal=True).any()
            case "DECIMAL":
                return bool(series.str.contains(self._plain).all())
            case "SMALLINT" | "INTEGER" | "BIGINT":
                numbers = series.cast(_INTEGERS[kind.kind], strict=False)
                return bool((numbers.cast(pl.String).eq_missing(series)).all())
        return False

    def _load(self, raw: msgspec.Raw) -> str | None:
        return self._convert_raw(orjson.loads(memoryview(raw)))

    def _write_each(self, values: Iterable[Any], convert: Callable[[Any], str | None], bad: set[int]) -> pl.Series:
        texts: list[str | None] = []
        for number, value in enumerate(values):
            try:
                texts.append(None if value is None else convert(value))
            except (UnfitError, orjson.JSONDecodeError):
                texts.append(None)
                bad.add(number)
        return pl.Series(values=texts, dtype=pl.String)


def find_unlike(fields: Fields) -> set[int]:
    """Give the rows whose event id, sequence number or operation cannot stand in its column."""
    fits = (
        fields.ids.str.contains(_EVENT_ID)
        & fields.sequence_numbers.str.contains(_SEQUENCE_NUMBER)
        & fields.names.str.contains(_OPERATION)
    )
    return set() if fits.all() else set((~fits).arg_true())


def format_times(times: pl.Series, bad: set[int]) -> pl.Series:
    """Give the times as timestamps; adds to `bad` the rows where there is none such."""
    known: dict[float, str] = {}
    for moment in times.unique():
        try:
            known[moment] = format_time(moment)
        except (ValueError, OverflowError):
            bad.update((times == moment).arg_true())
    return pl.Series(values=[known.get(moment, "") for moment in times.to_list()], dtype=pl.String)


def build_versions(
    sequence_numbers: pl.Series, times: pl.Series, label: str, epochs: tuple[EpochStart, ...]
) -> pl.Series:
    """Give the rows' versions."""
    prefixes = {
        moment: build_version(epoch_at(epochs, moment), label, "")[:-SEQUENCE_DIGITS] for moment in times.unique()
    }
    prefix = pl.Series(values=[prefixes[moment] for moment in times.to_list()], dtype=pl.String)
    return prefix + sequence_numbers.str.pad_start(SEQUENCE_DIGITS, "0")


def write_extra(
    names: Sequence[str], columns: Sequence[Sequence[msgspec.Raw]], rows: int, null_marker: str, bad: set[int]
) -> pl.Series:
    """Give the undeclared attributes of every row as one JSON object, sorted by name; NULL where there are none."""
    texts: list[str | None] = [None] * rows
    in_order = sorted(zip(names, columns, strict=True))
    for number in range(rows):
        present = {name: raws[number] for name, raws in in_order if raws[number]}
        if not present:
            continue
        try:
            texts[number] = build_json("M", {name: orjson.loads(memoryview(raw)) for name, raw in present.items()})
        except (UnfitError, orjson.JSONDecodeError):
            bad.add(number)
        if texts[number] == null_marker:
            bad.add(number)
    return pl.Series(values=texts, dtype=pl.String)
