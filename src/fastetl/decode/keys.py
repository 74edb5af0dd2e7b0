"""Keys of items as texts, and back. Pure."""

from __future__ import annotations

import re
from typing import Any

from fastetl.columns import UnfitError, check_text, only, parse_number, plain
from fastetl.decode.event import LONGEST_NAME, escape_key
from fastetl.decode.rejected import RejectedError

_KEY_PART = re.compile(r"([SNB])=((?:[^;\\]|\\.)*);", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def build_key(keys: dict[str, Any], names: tuple[str, ...]) -> str:
    """Write an item's key as one text: `S=2013-01-01;N=1545;`. Different keys give different texts.

    The closing `;` keeps trailing blanks from being the end of the text, where Redshift passes them over.
    """
    if extra := sorted(keys.keys() - set(names)):
        more = ", ".join(f"{name[:LONGEST_NAME]!a}" for name in extra)
        raise RejectedError("", "keys", f"no key attribute but the pipeline's keys, which lack {more}")
    parts = []
    for name in names:
        try:
            tag, content = only(keys.get(name))
            if tag == "N":
                content = plain(parse_number(content))
            check_text(content)
        except UnfitError as error:
            raise RejectedError(name, error.reason, error.detail) from None
        if tag not in {"S", "N", "B"}:
            raise RejectedError(name, "type", "S, N or B")
        parts.append(f"{tag}={escape_key(content)};")
    return "".join(parts)


def parse_key(text: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Read an item's key as `build_key` wrote it.

    Args:
        text: of `_key`.
        names: of the key attributes, in their order.

    Returns:
        The typed values by name, as DynamoDB has them.

    Raises:
        ValueError: the text does not hold one value for each of these names.
    """
    parts = _KEY_PART.findall(text)
    if "".join(f"{tag}={content};" for tag, content in parts) != text or len(parts) != len(names):
        raise ValueError("not a key of this table")
    values = [{tag: _ESCAPED.sub(r"\1", content)} for tag, content in parts]
    return dict(zip(names, values, strict=True))
