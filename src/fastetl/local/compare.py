"""Compare a mirror with its DynamoDB table, column by column, by rules of its own and not the decoder's."""

from __future__ import annotations

import base64
import json
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.columns import DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.columns import Column
    from fastetl.config import Pipeline

Field = dict[str, Any]
"""A value as the Data API gives it: `{"stringValue": "x"}`, `{"isNull": true}`."""


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - as the warehouse gives moments
_UNITS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}


class Difference(msgspec.Struct, frozen=True):
    """A row or a value that differs; it names the key, not the content."""

    key: tuple[str, ...]
    column: str
    """Empty where the row as a whole is missing on one side."""
    detail: str


def compare(pipeline: Pipeline, items: Iterable[dict[str, Any]], rows: Iterable[Sequence[Field]]) -> list[Difference]:
    """Compare a scan's items with the mirror's rows, whose fields are the pipeline's columns in their order.

    Raises:
        ValueError: a key attribute has no column, so that rows and items cannot be matched.
    """
    columns = pipeline.columns
    by_path = {column.path: number for number, column in enumerate(columns)}
    try:
        key_columns = [by_path[name,] for name in pipeline.keys]
    except KeyError as error:
        raise ValueError(f"the key attribute {error} has no column") from error
    mirror = {tuple(str(_value(row[number])) for number in key_columns): row for row in rows}
    differences = []
    for item in items:
        key = tuple(str(next(iter(item[name].values()))) for name in pipeline.keys)
        row = mirror.pop(key, None)
        if row is None:
            differences.append(Difference(key, "", "not in the mirror"))
            continue
        differences += [
            Difference(key, column.name, f"a {column.type} differs")
            for column, field in zip(columns, row, strict=True)
            if not _equal(column, _find(item, column), field)
        ]
    return differences + [Difference(key, "", "not in the table") for key in mirror]


def _find(item: dict[str, Any], column: Column) -> Any:
    value: Any = {"M": item}
    for step in column.path:
        inside: Any = value.get("M", value.get("L")) if value else None
        try:
            value = inside[step]
        except (IndexError, KeyError, TypeError):
            return None
    return value


def _equal(column: Column, attribute: Any, field: Field) -> bool:
    found = _value(field)
    rule = column.type.rule
    if attribute is None or ("NULL" in attribute and rule.tag != DOCUMENT):
        return found is None
    if found is None:
        return False
    ((tag, content),) = attribute.items()
    if rule.tag == DOCUMENT:
        parsed = json.loads(found, parse_float=Decimal, parse_int=Decimal)
        return bool(parsed == _plain(tag, content))
    match rule.tag:
        case "N":
            return Decimal(str(found)) == Decimal(content)
        case "B":
            return bool(found == content.hex())
        case "BOOL":
            return bool(found) is content
        case "S" if column.time_format != "iso8601":
            return _moment(str(found)) == _EPOCH + timedelta(microseconds=int(content) * _UNITS[column.time_format])
        case "S" if not rule.bounds:
            return _moment(str(found)) == _moment(content)
    return str(found) == str(content)


def _plain(tag: str, content: Any) -> Any:
    match tag:
        case "N":
            return Decimal(content)
        case "B":
            return base64.b64encode(content).decode()
        case "SS":
            return sorted(content)
        case "NS":
            return sorted(map(Decimal, content))
        case "BS":
            return [base64.b64encode(binary).decode() for binary in sorted(content)]
        case "L":
            return [_plain(*next(iter(value.items()))) for value in content]
        case "M":
            return {name: _plain(*next(iter(value.items()))) for name, value in content.items()}
    return None if tag == "NULL" else content


def _moment(text: str) -> datetime | time:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return time.fromisoformat(text)
    return moment.replace(tzinfo=None) - (moment.utcoffset() or (moment - moment))


def _value(field: Field) -> Any:
    return None if field.get("isNull") else next(iter(field.values()))
