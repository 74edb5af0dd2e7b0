"""Structs as DynamoDB items and back, for the ledger's own few types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", bound=msgspec.Struct)


def write_value(value: Any) -> dict[str, Any]:
    """Write a text, bytes, whole number, truth value, sequence or mapping as one of DynamoDB's typed values."""
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case bytes():
            return {"B": value}
        case list() | tuple():
            return {"L": [write_value(part) for part in value]}
        case _:
            return {"M": write_item(value if isinstance(value, dict) else msgspec.to_builtins(value))}


def write_item(row: Mapping[str, Any]) -> dict[str, Any]:
    """Write a mapping as an item of DynamoDB."""
    return {name: write_value(value) for name, value in row.items()}


def read_value(value: Mapping[str, Any]) -> Any:
    """Read one of DynamoDB's typed values as a plain one; numbers are whole."""
    ((tag, content),) = value.items()
    match tag:
        case "N":
            return int(content)
        case "L":
            return [read_value(part) for part in content]
        case "M":
            return {name: read_value(part) for name, part in content.items()}
        case _:
            return content


def parse_item(row: Mapping[str, Any], kind: type[T]) -> T:
    """Read an item as a Struct; attributes that the Struct does not have are ignored."""
    return msgspec.convert({name: read_value(value) for name, value in row.items()}, kind)
