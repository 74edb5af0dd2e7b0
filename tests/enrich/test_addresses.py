"""Addresses in every spelling that servers and proxies write."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.enrich.addresses import parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:443", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25en1]:8080", "fe80::1"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("[::ffff:8.8.8.8]:53", "8.8.8.8"),
        ("::ffff:808:808", "8.8.8.8"),
        ("10.0.0.1, 8.8.8.8, 1.1.1.1", "8.8.8.8"),
        ("unknown,192.168.1.1:99, [2606:4700::1111]:443", "2606:4700::1111"),
        ("10.0.0.1,192.168.1.1", "10.0.0.1"),
        (",, 9.9.9.9 ,", "9.9.9.9"),
        ("fe80::1%a,b", "fe80::1"),
        ("8.8.8.8,", "8.8.8.8"),
        ("0.0.0.0:1", "0.0.0.0"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert parse_address(text) == ipaddress.ip_address(address).packed


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ",", "unknown",
        "8.8.8.8 ", "8.8.8", "08.8.8.8", "8.8.8.8:", "8.8.8.8:x", "8.8.8.8:443:1", "[8.8.8.8", "8.8.8.8]",
        "[]", "[]:80", "[[::1]]", "[::1]x", "[::1]:", ":::",
        "::1:443:x", "%eth0", "8.8.8.8%1", "8.8.8.8\0", "8.8.8.8\n",
        "\u0668.8.8.8", "8.8.8.8/32", "http://8.8.8.8", "2001:db8::1:70000:0:0:0:0:0", "x" * 10_000, "\ud800",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda address: not address.ipv4_mapped))


@given(ADDRESSES, st.integers(0, 65535), st.sampled_from(["", "%eth0", "%1"]))
def test_whatever_stands_beside_it_an_address_is_itself(address: ipaddress._BaseAddress, port: int, zone: str) -> None:
    packed, spellings = address.packed, [str(address), f", {address}\t"]
    if address.version == 4:
        spellings += [f"{address}:{port}", f"::ffff:{address}"]
    else:
        spellings += [address.exploded.upper(), f"{address}{zone}", f"[{address}{zone}]", f"[{address}{zone}]:{port}"]
    assert {parse_address(text) for text in spellings} == {packed}


@given(st.text())
def test_any_text_gives_an_address_or_none(text: str) -> None:
    packed = parse_address(text)
    assert packed is None or len(packed) in {4, 16}


@given(st.lists(ADDRESSES, min_size=1, max_size=5))
def test_of_a_list_the_first_public_one_counts(addresses: list[ipaddress._BaseAddress]) -> None:
    public = [address for address in addresses if address.is_global]
    assert parse_address(", ".join(map(str, addresses)) + ",") == (public or addresses)[0].packed
