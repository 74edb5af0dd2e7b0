"""Values of one column, all at once, as the column's text. Pure.

Looking at a whole column costs a fraction of looking at each value: the common case is that all are their own text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import orjson
import polars as pl

from fastetl.columns import Texts, UnfitError, build_json, parse_number, plain
from fastetl.decode.event import MAX_EVENT_ID_CHARACTERS, escape_key, format_time
from fastetl.versions import SEQUENCE_DIGITS, build_version, epoch_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.versions import EpochStart

_PLAIN_NUMBER = r"\A(?:0|-?[1-9][0-9]{0,37}|-?(?:0|[1-9][0-9]*)\.[0-9]*[1-9])\z"
_EVENT_ID = rf"\A[\x20-\x7e]{{1,{MAX_EVENT_ID_CHARACTERS}}}\z"
_SEQUENCE_NUMBER = rf"\A[0-9]{{1,{SEQUENCE_DIGITS}}}\z"


def write_key(texts: Texts, bad: set[int]) -> pl.Series:
    """Give one key attribute's part of `_key` for every row; adds to `bad` the rows that have none."""
    series, is_number = texts.series, texts.tag == "N"
    bad.update(texts.odd, series.is_null().arg_true())
    plain_already = series.str.contains(_PLAIN_NUMBER) if is_number else ~series.str.contains_any([";", "\\"])
    if not plain_already.all():
        places = (~plain_already).arg_true()
        written = [
            _write_key(text, place, bad, is_number=is_number)
            for place, text in zip(places, series.gather(places), strict=True)
        ]
        series = series.scatter(places, pl.Series(values=written, dtype=pl.String))
    return f"{texts.tag}=" + series + ";"


def _write_key(text: str, place: int, bad: set[int], *, is_number: bool) -> str:
    if not is_number:
        return escape_key(text)
    try:
        return plain(parse_number(text))
    except UnfitError:
        bad.add(place)
        return ""


def find_unlike(ids: pl.Series, sequence_numbers: pl.Series) -> set[int]:
    """Give the rows whose event id or sequence number cannot stand in its column."""
    fits = ids.str.contains(_EVENT_ID) & sequence_numbers.str.contains(_SEQUENCE_NUMBER)
    return set() if fits.all() else set((~fits).arg_true())


def format_times(times: pl.Series, bad: set[int]) -> pl.Series:
    """Give Unix seconds as timestamps; adds to `bad` the rows where there is none such."""
    moments = times.unique().to_list()
    texts: list[str] = []
    for moment in moments:
        try:
            texts.append(format_time(moment))
        except (ValueError, OverflowError):
            texts.append("")
            bad.update((times == moment).arg_true())
    return _replace(times, moments, texts)


def build_versions(
    sequence_numbers: pl.Series, times: pl.Series, label: str, epochs: tuple[EpochStart, ...]
) -> pl.Series:
    """Give the rows' versions."""
    moments = times.unique().to_list()
    prefixes = [build_version(epoch_at(epochs, moment), label, "")[:-SEQUENCE_DIGITS] for moment in moments]
    return _replace(times, moments, prefixes) + sequence_numbers.str.pad_start(SEQUENCE_DIGITS, "0")


def _replace(times: pl.Series, moments: list[float], texts: list[str]) -> pl.Series:
    """Give each moment's text; records that come together share few."""
    if len(set(texts)) == 1:
        return pl.Series(values=texts[:1], dtype=pl.String).new_from_index(0, len(times))
    return times.replace_strict(moments, texts, return_dtype=pl.String)


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
