"""Geo-IP beside the decoding of the same records, and three ways of looking addresses up, taking turns.

Every way gives the same columns of a 6 MB event's addresses. The databases are open, and the range table is built,
before anything is timed: both happen once per Lambda environment.
"""

from __future__ import annotations

import gc
import ipaddress
import itertools
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import _maxminddb_geolite2
import maxminddb
import polars as pl
import pytest

from benchmarks.events import SEED, build_flat
from fastetl.columns.types import RedshiftType
from fastetl.decode.decoder import Decoder
from fastetl.enrich.geoip import GeoIpDatabase

CITY = Path(_maxminddb_geolite2.__file__).with_name("GeoLite2-City.mmdb")
OUTPUTS = [("country", RedshiftType.parse("CHAR(2)")), ("city", RedshiftType.parse("VARCHAR(200)"))]
PATHS = ["country.iso_code", "city.names.en"]
WAYS = (
    "decoding the event", "GeoIp, first event", "GeoIp, new addresses", "GeoIp, known addresses",
    "maxminddb, each address once", "join with sorted ranges",
)  # fmt: skip
"""The third is what a Lambda environment does at worst: it has seen ten events of other addresses, none of these."""

TURNS, ROUNDS = 3, 3
LAST = 2**29
"""Addresses are drawn from below: the range table would have 4 million rows in full, and take two minutes to build."""


@cache
def records() -> int:
    """Count the event's records."""
    return build_flat().records


@cache
def addresses(number: int) -> pl.Series:
    """As many public IPv4 addresses as the event has records, no two alike: the worst case of a cache."""
    chance, wanted = random.Random(SEED + number), records()
    found: dict[str, None] = {}
    while len(found) < wanted:
        address = ipaddress.IPv4Address(chance.randrange(LAST))
        if address.is_global:
            found[str(address)] = None
    return pl.Series("address", list(found))


@cache
def ranges() -> pl.DataFrame:
    """Every network of the database below `LAST`, by its first address."""
    rows: list[tuple[int, int, str | None, str | None]] = []
    with maxminddb.open_database(CITY) as reader:
        first = 0
        while first < LAST:
            record, bits = reader.get_with_prefix_len(ipaddress.IPv4Address(first))
            last = first | (1 << 32 - bits) - 1
            rows.append((first, last, *pick(record)))
            first = last + 1
    schema = {"first": pl.UInt32, "last": pl.UInt32, "country": pl.String, "city": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def pick(record: Any) -> tuple[str | None, str | None]:
    """Take the two outputs out of a record."""
    record = record or {}
    return record.get("country", {}).get("iso_code"), record.get("city", {}).get("names", {}).get("en")


def by_ranges(texts: pl.Series) -> pl.DataFrame:
    """Join with the sorted ranges."""
    parts = texts.str.split_exact(".", 3).struct.unnest().select(pl.all().cast(pl.UInt32))
    names = parts.columns
    number = sum((pl.col(name) * 256 ** (3 - place) for place, name in enumerate(names)), pl.lit(0, pl.UInt32))
    asked = parts.select(number.cast(pl.UInt32).alias("first")).with_row_index("row").sort("first")
    joined = asked.join_asof(ranges(), on="first", strategy="backward").sort("row")
    inside = pl.col("first") <= pl.col("last")
    return joined.select(pl.when(inside).then(pl.col(name)).alias(name) for name, _ in OUTPUTS)


def by_maxminddb(reader: maxminddb.Reader, texts: pl.Series) -> pl.DataFrame:
    """Look every different address up with the C extension, and join by a dict."""
    rows = texts.to_list()
    found = {text: pick(reader.get(text)) for text in set(rows)}
    columns = zip(*[found[text] for text in rows], strict=True)
    return pl.DataFrame(
        [pl.Series(name, values, dtype=pl.String) for (name, _), values in zip(OUTPUTS, columns, strict=True)]
    )


@cache
def build_ways():
    """Build every way, and see that they agree."""
    shape = build_flat()
    decoder = Decoder(shape.pipeline)
    warm, known = GeoIpDatabase(CITY, OUTPUTS, PATHS, r"\N"), GeoIpDatabase(CITY, OUTPUTS, PATHS, r"\N")
    reader = maxminddb.open_database(CITY)
    ways: dict[str, Callable[[Any], Any]] = {
        "decoding the event": lambda _: decoder.decode(shape.event),
        "GeoIp, first event": lambda texts: GeoIpDatabase(CITY, OUTPUTS, PATHS, r"\N").locate(texts).frame,
        "GeoIp, new addresses": lambda texts: warm.locate(texts).frame,
        "GeoIp, known addresses": lambda _: known.locate(addresses(0)).frame,
        "maxminddb, each address once": lambda texts: by_maxminddb(reader, texts),
        "join with sorted ranges": by_ranges,
    }
    expected = known.locate(addresses(0)).frame
    for name in WAYS[1:]:
        assert ways[name](addresses(0)).equals(expected), name
    for number in range(100, 110):
        warm.locate(addresses(number))
    return ways


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("turn", range(TURNS))
def test_geoip(benchmark, turn, way):
    run, fresh = build_ways()[way], itertools.count(1 + turn * 10)
    benchmark.group = "geoip"
    benchmark.extra_info.update(way=way, turn=turn, records=records())
    gc.collect()
    gc.disable()
    try:
        benchmark.pedantic(run, setup=lambda: ((addresses(next(fresh)),), {}), rounds=ROUNDS, warmup_rounds=1)
    finally:
        gc.enable()
