"""Events of DynamoDB Streams as Lambda delivers them, in several shapes; the same bytes for the same seed.

Each shape comes with the pipeline that reads it, and stays within Lambda's 6 MB and 10,000 records.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Pipeline
from fastetl.local.flights import read_flights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Item = dict[str, Any]

STREAM_ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
SEED = 20_260_101
FIRST_SECOND = 1_767_225_600
WORDS = ("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "Köln", "Łódź", "東京")


@dataclass(frozen=True)
class Shape:
    """A kind of event, and what reads it."""

    name: str
    pipeline: Pipeline
    event: bytes
    records: int


def flat_pipeline() -> Pipeline:
    """Build what reads orders: a column for each of 16 attributes."""
    columns = _columns(
        id="VARCHAR(36)", customer="BIGINT", status="VARCHAR(16)", channel="VARCHAR(16)", amount="DECIMAL(18,2)",
        tax="DECIMAL(18,2)", quantity="INTEGER", priority="SMALLINT", paid="BOOLEAN", gift="BOOLEAN",
        created_at="TIMESTAMP", city="VARCHAR(64)", street="VARCHAR(128)", email="VARCHAR(128)", note="VARCHAR(512)",
        reference="DECIMAL(38,0)",
    )  # fmt: skip
    return _pipeline(columns)


def build_flat(records: int = 4_000) -> Shape:
    """Build orders of 16 attributes, each of which has a column: about 1 KB a record."""
    chance = random.Random(SEED)
    items = [build_order(chance) for _ in range(records)]
    return Shape("flat", flat_pipeline(), build_event(items, ("id",)), records)


def build_wide(columns: int = 200, records: int = 300) -> Shape:
    """Build items of many short attributes, as in feature stores."""
    types = {0: "VARCHAR(64)", 1: "BIGINT", 2: "DECIMAL(18,4)", 3: "BOOLEAN"}
    declared = _columns(id="VARCHAR(36)", **{f"a{number}": types[number % 4] for number in range(1, columns)})
    chance = random.Random(SEED)
    makers: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: _text(chance, 2),
        lambda: {"N": str(chance.randrange(10**12))},
        lambda: {"N": f"{chance.randrange(1, 10**9)}.{chance.randrange(1, 999) * 10 + 1:04d}"},
        lambda: {"BOOL": chance.random() < 0.5},
    )
    items = [
        {"id": {"S": _identifier(chance)}, **{f"a{number}": makers[number % 4]() for number in range(1, columns)}}
        for _ in range(records)
    ]
    return Shape("wide", _pipeline(declared), build_event(items, ("id",)), records)


def build_nested(records: int = 3_000) -> Shape:
    """Build the flat shape's orders with a map and a list, each for a SUPER column."""
    flat = build_flat(1).pipeline
    columns = (*flat.columns, *_columns(address="SUPER", lines="SUPER"))
    chance = random.Random(SEED)
    items = [{**build_order(chance), "address": _address(chance), "lines": _lines(chance)} for _ in range(records)]
    return Shape("nested", _pipeline(columns), build_event(items, ("id",)), records)


def build_tiny(records: int = 10_000) -> Shape:
    """Build counters: a key and a number."""
    chance = random.Random(SEED)
    items = [{"id": {"S": _identifier(chance)}, "n": {"N": str(chance.randrange(10**6))}} for _ in range(records)]
    return Shape("tiny", _pipeline(_columns(id="VARCHAR(36)", n="BIGINT")), build_event(items, ("id",)), records)


def build_huge(records: int = 14, size: int = 400_000) -> Shape:
    """Build items of DynamoDB's greatest size, most of it in one SUPER document of strings."""
    chance = random.Random(SEED)
    items = [
        {
            "id": {"S": _identifier(chance)},
            "document": {"M": {f"part{n}": _prose(chance, size // 10) for n in range(10)}},
        }
        for _ in range(records)
    ]
    columns = _columns(id="VARCHAR(36)", document="SUPER")
    return Shape("huge", _pipeline(columns), build_event(items, ("id",)), records)


def build_both_images(records: int = 2_500) -> Shape:
    """Build changes of the flat shape's orders with the item before and after."""
    flat = build_flat(1).pipeline
    chance = random.Random(SEED)
    items = [build_order(chance) for _ in range(records)]
    before = [{**item, "status": {"S": "new"}, "priority": {"N": "0"}} for item in items]
    return Shape("both images", flat, build_event(items, ("id",), before=before), records)


def build_undeclared(records: int = 4_000) -> Shape:
    """Build the flat shape's orders with three attributes more, which no column declares, in every other item."""
    chance = random.Random(SEED)
    items = [build_order(chance) for _ in range(records)]
    for item in items[::2]:
        item |= {"coupon": _text(chance, 1), "tags": {"SS": ["a", "b"]}, "extra": {"M": {"level": {"N": "1"}}}}
    return Shape("undeclared", flat_pipeline(), build_event(items, ("id",)), records)


def build_odd(records: int = 4_000) -> Shape:
    """Build the flat shape's orders, of which one in a hundred has a number where text is the rule."""
    chance = random.Random(SEED)
    items = [build_order(chance) for _ in range(records)]
    for item in items[::100]:
        item["city"] = {"N": str(chance.randrange(10**5))}
    return Shape("odd", flat_pipeline(), build_event(items, ("id",)), records)


def build_deletes(records: int = 10_000) -> Shape:
    """Build deletes, with the keys alone."""
    chance = random.Random(SEED)
    items = [{"id": {"S": _identifier(chance)}, "n": {"N": str(chance.randrange(10**6))}} for _ in range(records)]
    pipeline = _pipeline(_columns(id="VARCHAR(36)", n="BIGINT"), keys=("id", "n"))
    return Shape("deletes", pipeline, build_event(items, ("id", "n"), name="REMOVE"), records)


def build_flights(records: int = 4_000) -> Shape:
    """Build real flights, with a number of 38 digits, a map and a set."""
    declared = _columns(
        day="VARCHAR(10)", flight="VARCHAR(16)", scheduled_at="TIMESTAMP", carrier="CHAR(2)", tail="VARCHAR(8)",
        distance="INTEGER", cancelled="BOOLEAN", fingerprint="DECIMAL(38,0)", route="SUPER", delay="SUPER",
        tags="SUPER",
    )  # fmt: skip
    keys = ("day", "flight")
    return Shape("flights", _pipeline(declared, keys), build_event(list(read_flights(records)), keys), records)


SHAPES: dict[str, Callable[[], Shape]] = {
    "flat": build_flat,
    "nested": build_nested,
    "flights": build_flights,
    "wide": build_wide,
    "tiny": build_tiny,
    "huge": build_huge,
    "both images": build_both_images,
    "deletes": build_deletes,
    "undeclared": build_undeclared,
    "odd": build_odd,
}


def build_event(
    items: Sequence[Item], keys: Iterable[str], *, name: str = "INSERT", before: Sequence[Item] | None = None
) -> bytes:
    """Build what Lambda hands to a function: the items' changes, in the order given."""
    names = tuple(keys)
    records = []
    for number, item in enumerate(items):
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": FIRST_SECOND + number // 100,
            "Keys": {key: item[key] for key in names},
            "SequenceNumber": f"{100_000_000_000_000_000_000 + number * 7919}",
            "SizeBytes": 900,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        if name != "REMOVE":
            change["NewImage"] = item
        if before:
            change["OldImage"] = before[number]
        records.append(
            {
                "eventID": f"{number:032x}",
                "eventName": "MODIFY" if before else name,
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": "eu-central-1",
                "dynamodb": change,
                "eventSourceARN": STREAM_ARN,
            }
        )
    return orjson.dumps({"Records": records})


def _pipeline(columns: tuple[Column, ...], keys: tuple[str, ...] = ("id",)) -> Pipeline:
    return Pipeline("orders", "orders", keys, "public", "orders", columns)


def _columns(**types: str) -> tuple[Column, ...]:
    return tuple(Column(name, (name,), RedshiftType.parse(text)) for name, text in types.items())


def build_order(chance: random.Random) -> Item:
    """Build an order."""
    item = {
        "id": {"S": _identifier(chance)},
        "customer": {"N": str(chance.randrange(10**10))},
        "status": {"S": chance.choice(("new", "paid", "packed", "sent"))},
        "channel": {"S": chance.choice(("web", "app", "shop"))},
        "amount": {"N": f"{chance.randrange(1, 10**5)}.{chance.randrange(10)}{chance.randrange(1, 10)}"},
        "tax": {"N": f"{chance.randrange(1, 10**4)}.{chance.randrange(1, 10)}"},
        "quantity": {"N": str(chance.randrange(1, 50))},
        "priority": {"N": str(chance.randrange(5))},
        "paid": {"BOOL": chance.random() < 0.7},
        "gift": {"NULL": True} if chance.random() < 0.1 else {"BOOL": chance.random() < 0.1},
        "created_at": {
            "S": f"2026-01-{chance.randrange(1, 32):02d}T{chance.randrange(24):02d}:{chance.randrange(60):02d}:00"
        },
        "city": _text(chance, 1),
        "street": _text(chance, 3),
        "email": {"S": f"{_identifier(chance)[:12]}@example.org"},
        "reference": {"N": str(chance.randrange(10**37, 10**38))},
    }
    if chance.random() < 0.8:
        item["note"] = {
            "S": " ".join(chance.choices(WORDS, k=20)) + chance.choice((".", ', "fragile"', "\nring twice"))
        }
    return item


def _address(chance: random.Random) -> dict[str, Any]:
    return {
        "M": {
            "city": _text(chance, 1),
            "zip": {"N": str(chance.randrange(10_000, 99_999))},
            "geo": {"M": {"lat": {"N": f"{chance.randrange(90)}.25"}, "lon": {"N": f"{chance.randrange(180)}.75"}}},
        }
    }


def _lines(chance: random.Random) -> dict[str, Any]:
    line = lambda: {"M": {"sku": {"S": _identifier(chance)[:8]}, "price": {"N": f"{chance.randrange(500)}.5"}}}  # noqa: E731
    return {"L": [line() for _ in range(chance.randrange(1, 5))]}


def _identifier(chance: random.Random) -> str:
    return f"{chance.getrandbits(128):032x}"


def _text(chance: random.Random, words: int) -> dict[str, str]:
    return {"S": " ".join(chance.choices(WORDS, k=words))}


def _prose(chance: random.Random, size: int) -> dict[str, str]:
    return {"S": " ".join(chance.choices(WORDS, k=size // 7))}
