"""SUPER: any value of DynamoDB as JSON.

Limits: Amazon Redshift Database Developer Guide, "Limitations" of semi-structured data.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from fastetl.columns.rule import DOCUMENT, Rule, UnfitError
from fastetl.columns.values import check_null, check_text, decode_binary, parse_number, plain
from fastetl.limits import MAX_PRECISION, MAX_SCALE, MAX_SUPER_BYTES, MAX_SUPER_DEPTH, MAX_SUPER_TEXT_BYTES

if TYPE_CHECKING:
    from random import Random

    import polars as pl

    from fastetl.columns.types import Column
else:
    from fastetl.columns.lazy import polars as pl

_PLAIN_NUMERAL = re.compile(r"0|-?[1-9][0-9]*|-?(?:0|[1-9][0-9]*)\.[0-9]*[1-9]")
"""A number as `plain` writes it."""


def build_json(tag: str, content: Any) -> str:
    """Give any value as JSON for SUPER: maps sorted by name, sets as sorted arrays, binary as base64, all digits.

    DynamoDB gives a map's members and a set's elements in any order, and the same value is to be the same text.

    Args:
        tag: the value's DynamoDB type: `S`, `N`, `M` and so on.
        content: the value, as DynamoDB JSON has it.

    Raises:
        UnfitError: SUPER cannot hold it.
    """
    return orjson.dumps(_json({tag: content}), option=orjson.OPT_SORT_KEYS).decode()


def check_json(_tag: str, text: str) -> str:
    """Take a text that is JSON already, as an enrichment gives it.

    Raises:
        UnfitError: SUPER cannot hold it.
    """
    if len(check_text(text)) > MAX_SUPER_BYTES:
        raise UnfitError("too_long", f"at most {MAX_SUPER_BYTES} bytes of JSON")
    try:
        level = [json.loads(text, parse_constant=_refuse_constant, parse_float=_check_float)]
    except RecursionError:
        raise UnfitError("malformed", f"at most {MAX_SUPER_DEPTH} levels") from None
    except ValueError:
        raise UnfitError("malformed", "JSON") from None
    for _ in range(MAX_SUPER_DEPTH + 1):
        for value in level:
            for part in _parts(value):
                if isinstance(part, str):
                    _json_text(part)
        level = [part for value in level for part in _parts(value) if isinstance(part, dict | list)]
        if not level:
            return text
    raise UnfitError("malformed", f"at most {MAX_SUPER_DEPTH} levels")


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    else:
        yield from value if isinstance(value, list) else [value]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _check_float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise UnfitError("range", "numbers that a DOUBLE PRECISION holds")
    return value


def _json(value: Any) -> Any:
    try:
        ((tag, content),) = value.items()
        return _JSON[tag](content)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UnfitError("malformed", "a value as DynamoDB writes it") from None


def _json_text(text: Any) -> str:
    if type(text) is str and text.isascii() and len(text) <= MAX_SUPER_TEXT_BYTES and "\0" not in text:
        return text  # what most are, with no need to encode it
    if len(check_text(text)) > MAX_SUPER_TEXT_BYTES:
        raise UnfitError("too_long", f"texts of at most {MAX_SUPER_TEXT_BYTES} bytes inside SUPER")
    return str(text)


def _json_number(content: Any) -> orjson.Fragment:
    if type(content) is str and len(content) <= MAX_PRECISION and _PLAIN_NUMERAL.fullmatch(content):
        return orjson.Fragment(content)
    text = plain(parse_number(content))
    before, _, after = text.lstrip("-").partition(".")
    if len(after) > MAX_SCALE or len(before.lstrip("0")) + len(after) > MAX_PRECISION:
        raise UnfitError(
            "range", f"inside SUPER what DECIMAL({MAX_PRECISION},{MAX_SCALE}) holds; a float would lose digits"
        )
    return orjson.Fragment(text)


def _json_truth(content: Any) -> bool:
    if not isinstance(content, bool):
        raise UnfitError("malformed", "true or false")
    return content


def _json_binary(content: Any) -> str:
    decode_binary(content)
    return str(content)


def _listed(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise UnfitError("malformed", "a value as DynamoDB writes it")
    return content


_JSON: dict[str, Callable[[Any], Any]] = {
    "S": _json_text,
    "N": _json_number,
    "BOOL": _json_truth,
    "NULL": check_null,
    "B": _json_binary,
    "M": lambda content: {_json_text(name): _json(value) for name, value in content.items()},
    "L": lambda content: [_json(value) for value in _listed(content)],
    "SS": lambda content: sorted(map(_json_text, _listed(content))),
    "NS": lambda content: [_json_number(number) for number in sorted(_listed(content), key=parse_number)],
    "BS": lambda content: [_json_binary(binary) for binary in sorted(_listed(content), key=decode_binary)],
}


def _example(_column: Column, chance: Random) -> dict[str, Any]:
    return {"name": {"S": "example"}, "amounts": {"L": [{"N": "1.5"}, {"N": str(chance.randrange(100))}]}}


RULES = (
    Rule(
        kind="SUPER",
        encodings=frozenset({"LZO"}),
        orders=False,
        tag=DOCUMENT,
        convert=lambda _: build_json,
        copied=r"[^\x00]+",
        dtype=lambda _: pl.String,
        spell=lambda _values, _kind: None,
        example=_example,
    ),
)
"""Its row in the table of types."""
