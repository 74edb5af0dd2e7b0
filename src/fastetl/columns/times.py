"""DATE, TIMESTAMP and TIMESTAMPTZ: days, and moments in UTC; to the microsecond.

Limits: Amazon Redshift Database Developer Guide, "Datetime types".
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, Context
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from fastetl.columns.rule import Convert, Look, Rule, UnfitError
from fastetl.columns.values import plain, take_number
from fastetl.limits import MAX_PRECISION

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    import polars as pl

    from fastetl.columns.types import Column, RedshiftType
else:
    from fastetl.columns.lazy import polars as pl

CACHED_TEXTS = 4096
"""Days and moments repeat: this many texts are read once."""

_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2})(?:(:[0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r"(?:[Zz]|([+-][0-9]{2}):?([0-9]{2})?)?"
)
_EXACT = Context(prec=64)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXAMPLE_DAY = datetime(2026, 1, 1, tzinfo=UTC)
_MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_YEARS = "the years 1 to 9999"

_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DAY = (
    rf"{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
"""A day that exists in every year, as COPY reads it; a leap year's 29 February is converted for itself."""
CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
FRACTION = r"(?:\.[0-9]{6})?"
_PLAIN_DAY = rf"\A{_DAY}\z"
_PLAIN_MOMENT = rf"\A{_DAY}[T ]{CLOCK}Z?\z"
"""Patterns for Polars, whose engine has no look-ahead and is several times as fast as `re`."""

_FINER = re.compile(r"([.,][0-9]{6})[0-9]+")
_POLARS_FORMAT = "%Y-%m-%d %H:%M:%S%.f"


def _build_parser(column: Column) -> Callable[[str, Any], datetime]:
    """Build what reads a moment, in UTC, as the column's time format says."""
    if column.time_format == "iso8601":
        return _take_moment
    microseconds = _MICROSECONDS[column.time_format]

    def parse(tag: str, content: Any) -> datetime:
        number = take_number(tag, content)
        if number.adjusted() > MAX_PRECISION:
            raise UnfitError("range", _YEARS)
        text = plain(_EXACT.multiply(number, microseconds))
        if "." in text:
            raise UnfitError("precision", "whole microseconds")
        try:
            return _EPOCH + timedelta(microseconds=int(text))
        except OverflowError:
            raise UnfitError("range", _YEARS) from None

    return parse


def _take_moment(tag: str, content: Any) -> datetime:
    if tag != "S":
        raise UnfitError("type", "S")
    return _parse_moment(content) if isinstance(content, str) else _refuse_format()


@lru_cache(CACHED_TEXTS)
def _parse_moment(text: str) -> datetime:
    match = _TIME.fullmatch(text)
    if not match:
        return _refuse_format()
    day, time, seconds, fraction, hours, minutes = match.groups()
    if fraction and fraction[6:].strip("0"):
        raise UnfitError("precision", "at most microseconds")
    try:
        moment = datetime.fromisoformat(f"{day}T{time or '00:00'}{seconds or ''}").replace(tzinfo=UTC)
        moment = moment.replace(microsecond=int((fraction or "0")[:6].ljust(6, "0")))
        if hours:
            offset = timedelta(hours=int(hours[1:]), minutes=int(minutes or 0))
            moment = moment + offset if hours[0] == "-" else moment - offset
    except ValueError:
        raise UnfitError("format", "a day and a time that exist") from None
    except OverflowError:
        raise UnfitError("range", _YEARS) from None
    return moment


def _refuse_format() -> datetime:
    raise UnfitError("format", "ISO 8601: YYYY-MM-DDTHH:MM:SS.ffffff, with Z or an offset if there is one")


def _convert_date(column: Column) -> Convert:
    parse = _build_parser(column)

    def convert(tag: str, content: Any) -> str:
        moment = parse(tag, content)
        if moment.time() != datetime.min.time():
            raise UnfitError("precision", "a day without a time of day")
        return moment.date().isoformat()

    def convert_day(tag: str, content: Any) -> str:
        if tag != "S":
            raise UnfitError("type", "S")
        try:
            day = date.fromisoformat(content).isoformat()
        except (TypeError, ValueError):
            day = ""
        if not day or day != content:
            raise UnfitError("format", "YYYY-MM-DD")
        return day

    return convert_day if column.time_format == "iso8601" else convert


def _convert_moment(column: Column) -> Convert:
    parse, zone = _build_parser(column), _zone(column.type)
    return lambda tag, content: parse(tag, content).replace(tzinfo=None).isoformat(" ") + zone


def _zone(kind: RedshiftType) -> str:
    return "+00" if kind.kind == "TIMESTAMPTZ" else ""


def shorten_times(column: Column) -> Convert:
    """Build what cuts digits below the microsecond off, as `on_misfit = "truncate"` does."""
    convert = column.type.rule.convert(column)
    if column.time_format == "iso8601":
        return lambda tag, content: convert(tag, _FINER.sub(r"\1", content) if isinstance(content, str) else content)
    unit = _MICROSECONDS[column.time_format]

    def shorten(tag: str, content: Any) -> str:
        number = take_number(tag, content)
        if number.adjusted() > MAX_PRECISION:
            raise UnfitError("range", _YEARS)
        micros = _EXACT.multiply(number, unit).to_integral_value(ROUND_FLOOR)
        return convert(tag, plain(_EXACT.divide(micros, unit)))

    return shorten


def _look_at_dates(_: Column) -> Look:
    return lambda texts: (texts, texts.str.contains(_PLAIN_DAY))


def _look_at_moments(column: Column) -> Look:
    zone = _zone(column.type)

    def look(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
        written = texts.str.slice(0, 19).str.replace("T", " ", literal=True)
        return written + zone if zone else written, texts.str.contains(_PLAIN_MOMENT)

    return look


def _spell_date(values: pl.Series, _kind: RedshiftType) -> pl.Series | None:
    return values.dt.strftime("%Y-%m-%d") if values.dtype == pl.Date else None


def _spell_moment(values: pl.Series, _kind: RedshiftType) -> pl.Series | None:
    if not isinstance(values.dtype, pl.Datetime):
        return None
    utc = values.dt.convert_time_zone("UTC") if values.dtype.time_zone else values
    return utc.dt.strftime("%Y-%m-%d %H:%M:%S%.6f")


def _read_moment(column: pl.Expr) -> pl.Expr:
    return column.str.to_datetime(_POLARS_FORMAT, time_unit="us")


def _read_moment_with_zone(column: pl.Expr) -> pl.Expr:
    return _read_moment(column.str.strip_suffix("+00")).dt.replace_time_zone("UTC")


def _example_date(column: Column, chance: Random) -> str:
    day = _EXAMPLE_DAY + timedelta(days=chance.randrange(365))
    return day.date().isoformat() if column.time_format == "iso8601" else _count_since_1970(day, column)


def _example_moment(column: Column, chance: Random) -> str:
    moment = _EXAMPLE_DAY + timedelta(seconds=chance.randrange(86_400))
    if column.time_format == "iso8601":
        return moment.replace(tzinfo=None).isoformat() + "Z"
    return _count_since_1970(moment, column)


def _count_since_1970(moment: datetime, column: Column) -> str:
    return str(int(moment.timestamp()) * 1_000_000 // _MICROSECONDS[column.time_format])


_moment = partial(
    Rule, tag="S", takes_time_format=True, convert=_convert_moment, shorten=shorten_times, look=_look_at_moments,
    spell=_spell_moment, example=_example_moment,
)  # fmt: skip

RULES = (
    Rule(
        kind="DATE",
        encodings=frozenset({"AZ64", "BYTEDICT", "DELTA", "DELTA32K", "LZO", "RUNLENGTH"}),
        tag="S",
        takes_time_format=True,
        convert=_convert_date,
        look=_look_at_dates,
        copied=rf"{_DAY}|[0-9]{{4}}-02-29",
        dtype=lambda _: pl.Date,
        read=lambda column: column.str.to_date("%Y-%m-%d"),
        spell=_spell_date,
        is_key=True,
        example=_example_date,
    ),
    _moment(
        kind="TIMESTAMP",
        encodings=frozenset({"AZ64", "BYTEDICT", "DELTA", "DELTA32K", "LZO", "RUNLENGTH"}),
        synonyms=("TIMESTAMP WITHOUT TIME ZONE",),
        catalog="timestamp without time zone",
        copied=rf"(?:{_DAY}|[0-9]{{4}}-02-29) {CLOCK}{FRACTION}",
        dtype=lambda _: pl.Datetime("us"),
        read=_read_moment,
    ),
    _moment(
        kind="TIMESTAMPTZ",
        encodings=frozenset({"AZ64", "BYTEDICT", "LZO", "RUNLENGTH"}),
        synonyms=("TIMESTAMP WITH TIME ZONE",),
        catalog="timestamp with time zone",
        copied=rf"(?:{_DAY}|[0-9]{{4}}-02-29) {CLOCK}{FRACTION}\+00",
        dtype=lambda _: pl.Datetime("us", "UTC"),
        read=_read_moment_with_zone,
    ),
)
"""Their rows in the table of types."""
