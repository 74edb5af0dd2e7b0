"""Look addresses up in a MaxMind database: every network is read once, and its columns are kept.

Reading a record costs far more than finding it, and the addresses of a network share one: what is kept is found by the
network's first address. Networks of a database do not overlap.
"""

from __future__ import annotations

import base64
import ipaddress
import math
from bisect import bisect_right
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import maxminddb
import orjson
import polars as pl

from fastetl.columns import Column, Converter, UnfitError, build_converter, round_to_scale
from fastetl.enrich.addresses import is_public, parse_address
from fastetl.enrich.steps import StepResult
from fastetl.errors import EnrichmentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastetl.columns import RedshiftType

MAX_KEPT = 65_536
"""Networks that are kept between batches: a few dozen MB at most."""


class Place(NamedTuple):
    """What an address gives: the outputs' texts, what did not fit, and why there is nothing."""

    texts: tuple[str | None, ...]
    unfit: tuple[tuple[str, str], ...] = ()
    """Outputs whose value their column cannot hold, and why."""
    nothing: str = ""
    """`malformed`, `private` (or otherwise not routed in public), `unknown` to the database; empty where found."""


class GeoIpDatabase:
    """One database, and the paths of its records that become columns."""

    def __init__(
        self, path: Path, outputs: Sequence[tuple[str, RedshiftType]], paths: Sequence[str], null_marker: str
    ) -> None:
        """`paths` go with the outputs: names and list positions, as `subdivisions.0.iso_code`.

        Raises:
            EnrichmentError: the file is not a MaxMind database.
        """
        try:
            self._reader = maxminddb.open_database(str(path), maxminddb.MODE_AUTO)
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise EnrichmentError(f"{path.name} is not a MaxMind database: {type(error).__name__}") from error
        self._outputs: list[tuple[Column, Converter]] = []
        for (name, kind), dotted in zip(outputs, paths, strict=True):
            steps = tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))
            column = Column(name, steps, kind)
            self._outputs.append((column, build_converter(column, null_marker)))
        self._none: tuple[None, ...] = (None,) * len(self._outputs)
        self._networks = {4: _Networks(), 16: _Networks()}
        """The networks by the length of an address in bytes."""

    def locate(self, addresses: pl.Series) -> StepResult:
        """Give the outputs as text for COPY, a row per address, and how many addresses have none, by reason."""
        rows = addresses.to_list()
        found = {address: self._find(address) for address in set(rows) - {None}}
        found[None] = Place(self._none)
        places = [found[address] for address in rows]
        columns = zip(*[place.texts for place in places], strict=True) if places else [()] * len(self._outputs)
        counts = Counter(place.nothing for place in places if place.nothing)
        unfit = [(row, *each) for row, place in enumerate(places) for each in place.unfit]
        named = zip(self._outputs, columns, strict=True)
        series = [pl.Series(column.name, texts, dtype=pl.String) for (column, _), texts in named]
        return StepResult(pl.DataFrame(series), dict(counts), is_written=True, unfit=unfit)

    def _find(self, text: str) -> Place:
        packed = parse_address(text)
        if packed is None:
            return Place(self._none, nothing="malformed")
        address = int.from_bytes(packed, "big")
        place = self._networks[len(packed)].find(address)
        if place is None:
            record, first, last = self._look_up(packed, address)
            place = self._read(record) if record is not None else Place(self._none, nothing="unknown")
            self._networks[len(packed)].keep(first, last, place)
        if place.nothing and not is_public(packed):
            return place._replace(nothing="private")
        return place

    def _look_up(self, packed: bytes, address: int) -> tuple[Any, int, int]:
        """Give an address's record, and the first and the last address of its network."""
        try:
            record, prefix_bits = self._reader.get_with_prefix_len(ipaddress.ip_address(packed))
        except ValueError:  # an IPv6 address, and a database of IPv4
            return None, address, address
        free_bits = len(packed) * 8 - prefix_bits
        first = address >> free_bits << free_bits
        return record, first, first + (1 << free_bits) - 1

    def _read(self, record: Any) -> Place:
        texts: list[str | None] = []
        unfit: list[tuple[str, str]] = []
        for column, convert in self._outputs:
            try:
                texts.append(_write(_pick(record, column.path), column, convert))
            except UnfitError as error:
                texts.append(None)
                unfit.append((column.name, error.reason))
        return Place(tuple(texts), tuple(unfit))


class _Networks:
    """The networks of one kind of address that were looked up, in order."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._found: list[tuple[int, Place]] = []
        """The last address of each, and where it is."""

    def find(self, address: int) -> Place | None:
        """Give what is kept for an address; None where nothing is."""
        number = bisect_right(self._firsts, address) - 1
        if number < 0:
            return None
        last, place = self._found[number]
        return place if address <= last else None

    def keep(self, first: int, last: int, place: Place) -> None:
        """Keep where a network is."""
        if len(self._firsts) >= MAX_KEPT:
            self._firsts, self._found = [], []
        number = bisect_right(self._firsts, first)
        self._firsts.insert(number, first)
        self._found.insert(number, (last, place))


def _pick(record: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        if isinstance(part, int) and isinstance(record, list):
            record = record[part] if part < len(record) else None
        else:
            record = record.get(str(part)) if isinstance(record, dict) else None
    return record


def _write(value: Any, column: Column, convert: Converter) -> str | None:
    """Give a record's value as its column's text.

    Raises:
        UnfitError: the column cannot hold it.
    """
    if value is None:
        return None
    if column.type.rule.is_text and isinstance(value, dict | list):
        value = orjson.dumps(value, default=str).decode()
    ((tag, content),) = _to_attribute(value, column.type).items()
    return convert(tag, content)


def _to_attribute(value: Any, kind: RedshiftType) -> dict[str, Any]:
    """Give a value as DynamoDB would, so that the rules for items decide what fits."""
    match value:
        case bool():
            return {"BOOL": value}
        case float():
            # A float has no scale of its own: the column's is what was meant.
            return {"N": round_to_scale(Decimal(repr(value)), kind) if math.isfinite(value) else str(value)}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": base64.b64encode(value).decode()}
        case dict():
            return {"M": {str(name): _to_attribute(part, kind) for name, part in value.items()}}
        case list():
            return {"L": [_to_attribute(part, kind) for part in value]}
    return {"S": str(value)}
