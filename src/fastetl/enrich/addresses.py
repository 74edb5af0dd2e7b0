"""Find IP addresses in what servers and proxies write: with a port, in brackets, with a zone, or in a list. Pure."""

from __future__ import annotations

import ipaddress
import re
import socket

_MAPPED = bytes(10) + b"\xff\xff"
"""Begins an IPv6 address that stands for an IPv4 address (RFC 4291, 2.5.5.2)."""

_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::[0-9]+)?")
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]+")


def parse_address(text: str) -> bytes | None:
    """Give an address's 4 or 16 bytes; of an IPv4-mapped one the 4, of a list the first public one's.

    Returns:
        None if there is none. Of a list without a public address the first one's.
    """
    if "," not in text:
        return _parse(text)
    found = [packed for part in text.split(",") if (packed := _parse(part.strip(" \t")))]
    return next(filter(is_public, found), found[0] if found else None)


def is_public(packed: bytes) -> bool:
    """Tell whether an address is routed in public."""
    return ipaddress.ip_address(packed).is_global


def _parse(text: str) -> bytes | None:
    if match := _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text):
        text = match[1]
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        # A zone says on which of a machine's networks the address is (RFC 4007, 11).
        packed = socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except (OSError, ValueError):
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed
