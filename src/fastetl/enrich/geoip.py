"""Where addresses are, from a MaxMind database: every distinct address is looked up once, every record read once.

Reading a record costs far more than finding it, and many networks share one. So the search tree is walked here, to
learn which record an address has; the record itself is read by maxminddb's C extension, and its columns are kept.

Tree: MaxMind DB File Format Specification 2.0, "Binary Search Tree Section". It begins at the file's first byte; a
node holds two records of 24, 28 or 32 bits; a record below the node count is a node, equal to it nothing, above it
points to what is found.
"""

from __future__ import annotations

import ipaddress
import mmap
import socket
from collections import Counter
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

import maxminddb
import orjson
import polars as pl

from fastetl.columns import Column, Converter, UnfitError, build_converter
from fastetl.errors import EnrichmentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastetl.columns import RedshiftType

MAX_KEPT = 65_536
"""Records and prefixes that are kept between batches: a few dozen MB at most."""

_WORD = Struct(">I").unpack_from
_MAPPED = bytes(10) + b"\xff\xff"


class Place(NamedTuple):
    """What an address gives: the outputs' texts, what did not fit, and why there is nothing."""

    texts: tuple[str | None, ...]
    unfit: int = 0
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
        with path.open("rb") as file:
            tree = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        metadata = self._reader.metadata()
        self._tree = _Tree(tree, metadata.node_count, metadata.record_size, metadata.ip_version)
        self._outputs: list[tuple[Column, Converter]] = []
        for (name, kind), dotted in zip(outputs, paths, strict=True):
            steps = tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))
            column = Column(name, steps, kind)
            self._outputs.append((column, build_converter(column, null_marker)))
        self._places: dict[int, Place] = {}
        self._none: tuple[None, ...] = (None,) * len(self._outputs)

    def locate(self, addresses: pl.Series) -> tuple[pl.DataFrame, dict[str, int]]:
        """Give the outputs as text for COPY, a row per address, and how many addresses have none, by reason."""
        rows = addresses.to_list()
        if len(self._places) > MAX_KEPT:
            self._places.clear()
        found = {address: self._find(address) for address in set(rows) - {None}}
        found[None] = Place(self._none)
        places = [found[address] for address in rows]
        columns = zip(*[place.texts for place in places], strict=True) if places else [()] * len(self._outputs)
        counts = Counter(place.nothing for place in places if place.nothing)
        if unfit := sum(place.unfit for place in places):
            counts["unfit"] = unfit
        named = zip(self._outputs, columns, strict=True)
        series = [pl.Series(column.name, texts, dtype=pl.String) for (column, _), texts in named]
        return pl.DataFrame(series), dict(counts)

    def _find(self, text: str) -> Place:
        packed = _parse(text)
        if packed is None:
            return Place(self._none, nothing="malformed")
        pointer = self._tree.find(packed)
        if not pointer:
            known = ipaddress.ip_address(packed).is_global
            return Place(self._none, nothing="unknown" if known else "private")
        place = self._places.get(pointer)
        if place is None:
            self._places[pointer] = place = self._read(packed)
        return place

    def _read(self, packed: bytes) -> Place:
        record = self._reader.get(ipaddress.ip_address(packed))
        texts = [self._write(_pick(record, column.path), column, convert) for column, convert in self._outputs]
        return Place(tuple(text for text, _ in texts), sum(unfit for _, unfit in texts))

    def _write(self, value: Any, column: Column, convert: Converter) -> tuple[str | None, bool]:
        """Give a value as its column's text, and whether it did not fit."""
        if value is None:
            return None, False
        if column.type.kind == "SUPER":
            return orjson.dumps(value, default=str).decode(), False
        try:
            return convert(*_spell(value, column.type)), False
        except UnfitError:
            return None, True


class _Tree:
    """The search tree of a database."""

    def __init__(self, tree: mmap.mmap, node_count: int, record_bits: int, ip_version: int) -> None:
        self._tree = tree
        self._count = node_count
        self._bits = record_bits
        self._prefixes: dict[bytes, int] = {}
        self._roots = {4: self._walk(0, bytes(12)) if ip_version == 6 else 0, 16: 0 if ip_version == 6 else node_count}  # noqa: PLR2004 - IPv4 addresses are the last 32 of 128 bits there

    def find(self, packed: bytes) -> int:
        """Give what stands for an address's record, the same for all addresses that share it; 0 for none."""
        # Neighbours begin alike: the first half of the way is walked once.
        half = len(packed) // 2 if len(packed) == 4 else 4  # noqa: PLR2004 - bytes of an IPv4 address
        prefix = packed[:half]
        node = self._prefixes.get(prefix)
        if node is None:
            if len(self._prefixes) > MAX_KEPT:
                self._prefixes.clear()
            self._prefixes[prefix] = node = self._walk(self._roots[len(packed)], prefix)
        if node < self._count:
            node = self._walk(node, packed[half:])
        return node if node > self._count else 0

    def _walk(self, node: int, way: bytes) -> int:
        """Follow one bit after the other; stop where the tree ends."""
        tree, count, size = self._tree, self._count, self._bits // 4
        bits = int.from_bytes(way, "big")
        for shift in range(len(way) * 8 - 1, -1, -1):
            if node >= count:
                break
            if bits >> shift & 1:
                node = _WORD(tree, node * size + size - 4)[0] & ((1 << self._bits) - 1)
            else:
                word = _WORD(tree, node * size)[0]
                # A left record of 28 bits has its first four in the upper half of the byte that both share.
                node = word >> 8 | (word & 0xF0) << 20 if self._bits == 28 else word >> 32 - self._bits  # noqa: PLR2004
        return node


def _parse(text: str) -> bytes | None:
    """Give an address's 4 or 16 bytes, an IPv4-mapped one's 4; None if it is none."""
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _pick(record: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        if isinstance(part, int) and isinstance(record, list):
            record = record[part] if part < len(record) else None
        else:
            record = record.get(str(part)) if isinstance(record, dict) else None
    return record


def _spell(value: Any, kind: RedshiftType) -> tuple[str, Any]:
    """Give a value as DynamoDB would, so that the rules for items decide what fits."""
    if isinstance(value, bool):
        return "BOOL", value
    if isinstance(value, float):
        # A float has no scale of its own: the column's is what was meant.
        return "N", f"{value:.{kind.scale}f}" if kind.kind == "DECIMAL" else repr(value)
    if isinstance(value, int):
        return "N", str(value)
    return "S", value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
