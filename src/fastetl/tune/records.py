"""Collect the stream records to measure with: an event's own, a table's items, or made-up ones. Pure.

A record is what stands in an event's `Records`. Measuring needs many different events, so that records are used again
under new event ids and sequence numbers.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

import orjson

from fastetl.columns import Column, RedshiftType, make_example
from fastetl.config import SCALAR
from fastetl.decode import TargetFinder
from fastetl.errors import EventError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fastetl.config import Condition, Pipeline

Record = dict[str, Any]

MADE_UP = 10_000
"""Records, when they are made up: as many as the largest batch has."""

MOST_TRIES = 100
"""Made-up items of which a condition in SQL is asked, until it holds of one."""

ELEMENTS = 2
"""Of a made-up list whose elements are rows of a child table."""

_FIRST_SECOND = 1_767_225_600


def read_records(event: bytes) -> list[Record]:
    """Take the records out of an event of DynamoDB Streams.

    Args:
        event: as JSON.

    Raises:
        EventError: it is none.
    """
    try:
        content: Any = orjson.loads(event)
        records = [dict(record) for record in content["Records"] if record["dynamodb"]["Keys"]]
    except orjson.JSONDecodeError as error:
        raise EventError(
            f"not an event of DynamoDB Streams, but no JSON: {error}; examples/event.json is one"
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise EventError("not an event of DynamoDB Streams: no records with keys; examples/event.json is one") from None
    if not records:
        raise EventError("the event has no records; give one that has")
    return records


def records_of_items(pipeline: Pipeline, items: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Give every item as it would come if it had just been written.

    Args:
        pipeline: whose keys the items have.
        items: as DynamoDB JSON has them.
    """
    return [
        {
            "eventName": "INSERT",
            "eventSource": "aws:dynamodb",
            "eventVersion": "1.1",
            "awsRegion": "us-east-1",
            "dynamodb": {
                "ApproximateCreationDateTime": float(_FIRST_SECOND + number // 1000),
                "Keys": {name: item[name] for name in pipeline.keys},
                "NewImage": item,
                "SizeBytes": len(orjson.dumps(item)),
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }
        for number, item in enumerate(items)
    ]


def make_up_items(pipeline: Pipeline, count: int = MADE_UP) -> list[Record]:
    """Make up items that fit the pipeline's columns; the same each time.

    Args:
        pipeline: its columns.
        count: of items.
    """
    chance = random.Random(0)  # noqa: S311 - no secret
    free = _free_key(pipeline)
    items = []
    parts = [part for part in pipeline.targets if not part.rows_of]
    finder = TargetFinder(pipeline)
    for number in range(count):
        part = parts[number % len(parts)]
        tries = MOST_TRIES if any(condition.sql for condition in part.when) else 1
        for _ in range(tries):
            item = _make_item(pipeline, part, free, number, chance)
            if tries == 1 or finder.find(item)[0] == part.name:
                break
        items.append(item)
    return items


def _make_item(pipeline: Pipeline, part: Pipeline, free: str, number: int, chance: random.Random) -> Record:
    """Make up one item of a target."""
    item: Record = {}
    for column in part.columns:
        _put(item, column, make_example(column, chance))
    for child in pipeline.children(part.name):
        elements = [_make_element(child, chance) for _ in range(ELEMENTS)]
        _put(item, Column(child.name, child.rows_of, RedshiftType("SUPER")), {"L": elements})
    for condition in part.when:
        _fulfil(item, condition, number)
    for name in pipeline.keys:
        if name not in item or name == free:
            tag = next(iter(item.get(name, {"S": ""})))
            item[name] = {tag: str(number) if tag == "N" else _find_form(part, name).replace("*", f"{name}-{number}")}
    return item


def _free_key(pipeline: Pipeline) -> str:
    """Choose the key attribute that tells the items apart: one that need not be a time."""
    times = {column.path[0] for column in pipeline.columns if column.type.rule.takes_time_format}
    return next((name for name in pipeline.keys if name not in times), pipeline.keys[0])


def _make_element(child: Pipeline, chance: random.Random) -> Record:
    """Make up an element of a list that fits a child table's columns."""
    element: Record = {}
    for column in child.columns:
        _put(element, column, make_example(column, chance))
    return element.get(SCALAR) or {"M": element}


def _find_form(part: Pipeline, key: str) -> str:
    """Give the form that a target's conditions ask of a key, with `*` for any text."""
    forms = (each.like or f"{each.begins_with}*" for each in part.when if each.attribute == key)
    return next((form for form in forms if form), "*")


def _fulfil(item: Record, condition: Condition, number: int) -> None:
    """Make an item one of which a condition holds."""
    if condition.one_of:
        item[condition.attribute] = _write_value(condition.one_of[0])
    elif condition.begins_with or condition.like:
        form = condition.like or f"{condition.begins_with}*"
        item[condition.attribute] = {"S": form.replace("*", str(number))}
    elif condition.sql:
        pass  # items are made up until it holds
    elif condition.present:
        item.setdefault(condition.attribute, {"S": "x"})
    else:
        item.pop(condition.attribute, None)


def _write_value(value: str | int) -> Record:
    if isinstance(value, bool):
        return {"BOOL": value}
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


class EventCutter:
    """Cuts events of any size out of records, no two of them with the same content."""

    def __init__(self, pipeline: Pipeline, records: Sequence[Record]) -> None:
        """Describe where events are cut from.

        Args:
            pipeline: whose stream the events come from.
            records: to choose from, again and again in their order.
        """
        table = f"arn:aws:dynamodb:us-east-1:123456789012:table/{pipeline.table}/stream/2026-01-01T00:00:00.000"
        self._arn = pipeline.stream_arn if pipeline.source == "stream" and pipeline.stream_arn else table
        self._records = itertools.cycle(records)
        self._numbers = itertools.count(1)

    def cut(self, count: int) -> bytes:
        """Build an event of a number of records.

        Args:
            count: of records.
        """
        return orjson.dumps({"Records": list(itertools.islice(self._numbered(), count))})

    def _numbered(self) -> Iterator[Record]:
        for record in self._records:
            number = next(self._numbers)
            change = {**record["dynamodb"], "SequenceNumber": f"{number:021}"}
            yield {**record, "eventID": f"{number:032x}", "eventSourceARN": self._arn, "dynamodb": change}


def _put(item: Record, column: Column, value: Record) -> None:
    """Put a value where a column looks for it; inside lists only the first place."""
    for step in reversed(column.path[1:]):
        value = {"M": {step: value}} if isinstance(step, str) else {"L": [value] * (step + 1)}
    root = str(column.path[0])
    inside = item.get(root)
    if inside and "M" in inside and "M" in value:
        inside["M"].update(value["M"])
    else:
        item[root] = value


def describe(records: Sequence[Record]) -> str:
    """Say in a few words what is measured with.

    Args:
        records: that are measured with.
    """
    size = sum(len(orjson.dumps(record)) for record in records) / len(records)
    return f"{len(records):,} records of {size:,.0f} bytes on the average"
