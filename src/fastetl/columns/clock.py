"""TIME and TIMETZ: times of day, to the microsecond.

Limits: Amazon Redshift Database Developer Guide, "Datetime types".
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fastetl.columns.rule import Convert, Look, Rule, UnfitError
from fastetl.columns.times import CACHED_TEXTS, CLOCK, FRACTION, shorten_times

if TYPE_CHECKING:
    from random import Random

    import polars as pl

    from fastetl.columns.types import Column, RedshiftType
else:
    from fastetl.columns.lazy import polars as pl

_TIME_OF_DAY = re.compile(
    r"((?:[01][0-9]|2[0-3]):[0-5][0-9])(?:(:[0-5][0-9])(?:[.,]([0-9]+))?)?([Zz]|([+-](?:0[0-9]|1[0-4])):?([0-5][0-9])?)?"
)
_PLAIN_TIME = rf"\A{CLOCK}\z"


def _convert_time(column: Column) -> Convert:
    keeps_zone = column.type.kind == "TIMETZ"

    def convert(tag: str, content: Any) -> str:
        if tag != "S":
            raise UnfitError("type", "S")
        time, zone = _parse_time_of_day(content) if isinstance(content, str) else _refuse_time_of_day()
        if keeps_zone:
            return time + (zone or "+00")
        if zone:
            raise UnfitError("format", "a time of day without a zone; TIMETZ keeps the zone")
        return time

    return convert


@lru_cache(CACHED_TEXTS)
def _parse_time_of_day(text: str) -> tuple[str, str]:
    """Give a time of day as COPY reads it, and its offset from UTC; that is empty where there is none."""
    match = _TIME_OF_DAY.fullmatch(text)
    if not match:
        return _refuse_time_of_day()
    time, seconds, fraction, zone, hours, minutes = match.groups(default="")
    if fraction[6:].strip("0"):
        raise UnfitError("precision", "at most microseconds")
    fraction = fraction[:6].ljust(6, "0")
    written = f"{time}{seconds or ':00'}" + (f".{fraction}" if fraction.strip("0") else "")
    if not hours:
        return written, "+00" if zone else ""
    has_no_offset = not (hours + minutes).strip("+-0")
    return written, "+00" if has_no_offset else hours + (f":{minutes}" if minutes.strip("0") else "")


def _refuse_time_of_day() -> tuple[str, str]:
    raise UnfitError("format", "HH:MM:SS.ffffff up to 23:59:59.999999, and for TIMETZ Z or an offset up to 14:59")


def _look_at_times(_: Column) -> Look:
    return lambda texts: (texts, texts.str.contains(_PLAIN_TIME))


def _spell_time(values: pl.Series, _kind: RedshiftType) -> pl.Series | None:
    return values.dt.strftime("%H:%M:%S%.9f") if values.dtype == pl.Time else None


def _example_time(_column: Column, chance: Random) -> str:
    return str(timedelta(seconds=chance.randrange(86_400))).rjust(8, "0")


def _example_time_with_zone(column: Column, chance: Random) -> str:
    return _example_time(column, chance) + chance.choice(["Z", "+05:30", "-08:00"])


RULES = (
    Rule(
        kind="TIME",
        encodings=frozenset({"AZ64", "LZO"}),
        synonyms=("TIME WITHOUT TIME ZONE",),
        catalog="time without time zone",
        tag="S",
        convert=_convert_time,
        shorten=shorten_times,
        look=_look_at_times,
        copied=CLOCK + FRACTION,
        dtype=lambda _: pl.Time,
        read=lambda column: column.str.to_time("%H:%M:%S%.f"),
        spell=_spell_time,
        is_key=True,
        example=_example_time,
    ),
    Rule(
        kind="TIMETZ",
        encodings=frozenset({"AZ64", "LZO"}),
        synonyms=("TIME WITH TIME ZONE",),
        catalog="time with time zone",
        tag="S",
        convert=_convert_time,
        shorten=shorten_times,
        copied=CLOCK + FRACTION + r"[+-](?:0[0-9]|1[0-4])(?::[0-5][0-9])?",
        dtype=lambda _: pl.String,  # Polars has no time of day with a zone
        spell=_spell_time,
        example=_example_time_with_zone,
    ),
)
"""Their rows in the table of types."""
