"""Geo-IP against the geoip2 package, and on databases of every form that the format allows."""

from __future__ import annotations

import ipaddress
import random
from pathlib import Path
from typing import Any

import _maxminddb_geolite2
import geoip2.database
import geoip2.errors
import maxminddb
import netaddr
import polars as pl
import pytest
from mmdb_writer import MMDBWriter

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Pipeline
from fastetl.enrich.addresses import parse_address
from fastetl.enrich.enricher import Enricher
from fastetl.enrich.geoip import GeoIpDatabase
from fastetl.errors import ConfigError, EnrichmentError
from tests.enrich.test_enricher import TYPES, make_frame, step

CITY = Path(_maxminddb_geolite2.__file__).with_name("GeoLite2-City.mmdb")
OUTPUTS = [
    ("country", RedshiftType.parse("CHAR(2)")),
    ("city", RedshiftType.parse("VARCHAR(200)")),
    ("latitude", RedshiftType.parse("DOUBLE PRECISION")),
    ("region", RedshiftType.parse("VARCHAR(3)")),
]
PATHS = ["country.iso_code", "city.names.en", "location.latitude", "subdivisions.0.iso_code"]
HOSTILE = [
    "", " ", "8.8.8", "8.8.8.8 ", "08.8.8.8", "256.1.1.1", "8.8.8.8.8", "0x8.8.8.8", "134744072", "::", "::1", ":::",
    "fe80::1%eth0", "2001:4860:4860::8888", "2001:4860:4860::8888%1", "::ffff:8.8.8.8", "::ffff:808:808", "::8.8.8.8",
    "2002:808:808::", "2001:0:808:808::", "10.0.0.1", "127.0.0.1", "192.168.1.1", "224.0.0.1", "255.255.255.255",
    "0.0.0.0", "100.64.0.1", "fc00::1", "ff02::1", "8.8.8.8\0", "\u0668.8.8.8", "x" * 10_000, "8.8.8.8/32", "-1",
    "[::1]", "1.1.1.1,8.8.8.8", "::ffff:10.0.0.1", "::ffff:999.0.0.1", "64:ff9b::808:808",
]  # fmt: skip


def make_addresses(count: int) -> list[str]:
    chance = random.Random(7)
    four = [str(ipaddress.IPv4Address(chance.getrandbits(32))) for _ in range(count // 2)]
    six = [str(ipaddress.IPv6Address(0x20 << 120 | chance.getrandbits(120))) for _ in range(count // 8)]
    known = [str(ipaddress.IPv6Address(0x2A02 << 112 | chance.getrandbits(112))) for _ in range(count // 8)]
    mapped = [f"::ffff:{address}" for address in four[: count // 8]]
    garbled = [address.replace(chance.choice(address), chance.choice("x.: 9"), 1) for address in four[: count // 8]]
    return [*HOSTILE, *four, *six, *known, *mapped, *garbled][:count]


def look_up(reader: geoip2.database.Reader, text: str) -> tuple[Any, ...]:
    packed = parse_address(text)  # whose own tests say what it finds in a text
    try:
        city = reader.city(ipaddress.ip_address(packed) if packed else "none")
    except (ValueError, geoip2.errors.AddressNotFoundError):
        return (None,) * 4
    region = city.subdivisions[0].iso_code if city.subdivisions else None
    return city.country.iso_code, city.city.names.get("en"), city.location.latitude, region


def test_a_hundred_thousand_addresses_are_where_geoip2_says() -> None:
    addresses = make_addresses(100_000)
    located = GeoIpDatabase(CITY, OUTPUTS, PATHS, r"\N").locate(pl.Series(addresses))
    frame, counts = located.frame, located.counts
    found = frame.with_columns(pl.col("latitude").cast(pl.Float64)).rows()
    with geoip2.database.Reader(str(CITY)) as reader:
        for address, row in zip(addresses, found, strict=True):
            assert row == look_up(reader, address), address
    assert set(counts) == {"malformed", "private", "unknown"}
    assert len({row[0] for row in found}) > 150


def write_database(path: Path, version: int, networks: dict[str, Any], **options: Any) -> Path:
    writer = MMDBWriter(ip_version=version, ipv4_compatible=version == 6, database_type="Test", **options)
    for network, record in networks.items():
        writer.insert_network(netaddr.IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


NETWORKS = {
    "8.8.8.0/24": {"as": {"number": 15169, "share": 0.125}, "names": ["one", "two"], "note": "x" * 30, "open": True}
}
KINDS = {
    "as.number": "INT",
    "as.share": "DECIMAL(4,2)",
    "names.1": "VARCHAR(9)",
    "names.7": "VARCHAR(9)",
    "names": "SUPER",
    "note": "VARCHAR(9)",
    "open": "BOOLEAN",
    "as.number.odd": "VARCHAR(9)",
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("filler", [0, 70_000])
def test_any_record_of_any_tree(tmp_path: Path, version: int, filler: int) -> None:
    """More networks than 2^24 have longer records; both versions of the tree hold IPv4."""
    path = write_database(tmp_path / "any.mmdb", version, NETWORKS)
    if filler:
        widened = widen(path.read_bytes(), maxminddb.open_database(str(path)).metadata(), 32)
        path.write_bytes(widened)
    outputs = [(f"o{number}", RedshiftType.parse(kind)) for number, kind in enumerate(KINDS.values())]
    addresses = pl.Series(["8.8.8.8", None, "9.9.9.9", "8.8.8.255", "10.0.0.1", "no", "2a02::1", "::ffff:8.8.8.1"])
    located = GeoIpDatabase(path, outputs, list(KINDS), r"\N").locate(addresses)
    frame, counts = located.frame, located.counts
    assert frame.row(0) == ("15169", "0.12", "two", None, '["one","two"]', None, "true", None)
    assert frame.row(3) == frame.row(7) == frame.row(0)
    assert all(set(frame.row(number)) == {None} for number in (1, 2, 4, 5, 6))
    assert counts == {"unknown": 2, "private": 1, "malformed": 1}
    assert located.unfit == [(row, "o5", "too_long") for row in (0, 3, 7)]


def widen(database: bytes, metadata: Any, bits: int) -> bytes:
    """The same database with longer records in its tree."""
    narrow, nodes = metadata.record_size, metadata.node_count
    size = narrow // 4
    tree = b""
    for node in range(nodes):
        number = int.from_bytes(database[node * size : (node + 1) * size], "big")
        if narrow == 28:
            raise AssertionError("small databases have short records")
        left, right = number >> narrow, number & ((1 << narrow) - 1)
        tree += left.to_bytes(bits // 8, "big") + right.to_bytes(bits // 8, "big")
    rest = database[nodes * size :]
    key = b"record_size"
    at = rest.index(key) + len(key)
    assert rest[at + (rest[at] & 0x1F)] == narrow
    changed = bytearray(rest)
    changed[at + (rest[at] & 0x1F)] = bits
    return tree + bytes(changed)


def test_an_empty_frame_and_no_database(tmp_path: Path) -> None:
    located = GeoIpDatabase(CITY, OUTPUTS, PATHS, r"\N").locate(pl.Series([], dtype=pl.String))
    assert (located.frame.columns, located.frame.height) == (["country", "city", "latitude", "region"], 0)
    assert located.counts == {}
    (tmp_path / "no.mmdb").write_bytes(b"not a database" * 100)
    with pytest.raises(EnrichmentError, match=r"no\.mmdb is not a MaxMind database"):
        GeoIpDatabase(tmp_path / "no.mmdb", OUTPUTS, PATHS, r"\N")


def make_geoip(**changes: Any) -> Any:
    known: dict[str, Any] = {
        "inputs": ("note",), "outputs": {"country": "CHAR(2)", "latitude": "DOUBLE PRECISION"}, "source": "city.mmdb",
        "paths": {"country": "country.iso_code", "latitude": "location.latitude"},
    }  # fmt: skip
    return step("geoip", **(known | changes))


def make_enricher(enrichment: Any, references: dict[str, Path]) -> Enricher:
    columns = tuple(Column(name, (name,), RedshiftType.parse(kind)) for name, kind in TYPES.items())
    pipeline = Pipeline("p", "t", ("id",), "public", "t", columns, enrichments=(enrichment,))
    return Enricher(pipeline, {}, references)


def test_as_an_enrichment() -> None:
    frame = make_frame().with_columns(note=pl.Series(["8.8.8.8", "somewhere", None]))
    enriched = make_enricher(make_geoip(), {"city.mmdb": CITY}).apply(frame)
    assert enriched.frame["country"].to_list() == ["US", None, None]
    assert enriched.counts == {"0/geoip/malformed": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "other.mmdb"}, "other.mmdb is not there"),
        ({"inputs": ("id",)}, "id BIGINT: geoip reads addresses from a column of text"),
        ({"inputs": ("ip",)}, "no column 'ip' is there before this enrichment"),
    ],
)
def test_what_cannot_work_is_told_at_start(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_enricher(make_geoip(**changes), {"city.mmdb": CITY})
