"""The demonstration's second part: one table with several kinds of items becomes a table for each kind.

Carts become orders, orders get other lines or none, and some items are deleted. In the end each table is held against
what plain Python makes of a scan.
"""

from __future__ import annotations

import random
import time
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.local.demonstration import MAPPING, carry, query, scan
from fastetl.local.stack import Embedded
from fastetl.sql import quote_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastetl.config import Pipeline
    from fastetl.local.demonstration import Advance
    from fastetl.local.stack import WarehouseKind

Row = tuple[str, ...]
Item = dict[str, Any]


class Carried(msgspec.Struct):
    """One of the tables."""

    table: str
    rows: int
    expected: int
    """Rows that plain Python makes of the items."""
    is_equal: bool


class SingleTableDemonstrated(msgspec.Struct):
    """What the demonstration did."""

    changes: int
    moved: int
    """Carts that have become orders."""
    tables: list[Carried]
    seconds: float


async def demonstrate_single_table(
    customers: int, warehouse: WarehouseKind, advance: Advance
) -> SingleTableDemonstrated:
    """Write a shop's items, change and delete some, and compare the table of each kind in the end.

    Args:
        customers: how many; each has a cart and two orders.
        warehouse: what runs the SQL.
        advance: told how far it is.
    """
    began = time.monotonic()
    config = resources.files("fastetl.local").joinpath("shop.toml").read_text(encoding="utf-8")
    phases = build_shop(customers)
    async with Embedded(config, mapping=MAPPING, warehouse=warehouse) as stack:
        await stack.create_tables()
        await stack.connect()
        await carry(stack, phases, advance)
        (pipeline,) = stack.config.pipelines
        items = await scan(stack)
        tables = [await _compare(stack, pipeline, part, items) for part in pipeline.parts]
        return SingleTableDemonstrated(
            changes=stack.sources[pipeline.name].counts.read,
            moved=sum("moved" in item for item in items),
            tables=tables,
            seconds=round(time.monotonic() - began, 1),
        )


def build_shop(customers: int) -> list[list[dict[str, Any]]]:
    """Build requests of three phases: all items; carts that become orders, and other lines; deletions.

    Args:
        customers: how many.
    """
    chance = random.Random(1)  # noqa: S311 - which items change
    numbers = range(customers)
    first = [item for number in numbers for item in _make_customer(number, chance)]
    orders = [_make_order(number, n, chance) for number in chance.sample(numbers, customers // 2) for n in (1, 2)]
    ordered = [
        {**_make_order(number, 0, chance), "moved": {"BOOL": True}}
        for number in chance.sample(numbers, max(1, customers // 3))
    ]
    gone = [{name: each[name] for name in ("pk", "sk")} for each in chance.sample(orders, max(1, len(orders) // 4))]
    return [
        [{"PutRequest": {"Item": item}} for item in first],
        [{"PutRequest": {"Item": item}} for item in (*orders, *ordered)],
        [{"DeleteRequest": {"Key": key}} for key in gone],
    ]


def _make_customer(number: int, chance: random.Random) -> Iterator[Item]:
    key = {"pk": {"S": f"CUSTOMER#{number}"}}
    yield {**key, "sk": {"S": "PROFILE"}, "type": {"S": "customer"}, "name": {"S": f"customer {number}"}}
    yield {**key, "sk": {"S": "BASKET#0"}, "type": {"S": "cart"}, "cents": {"N": str(chance.randint(1, 9999))}}
    for n in (1, 2):
        yield _make_order(number, n, chance)
    if number % 10 == 0:
        yield {**key, "sk": {"S": "NOTE"}, "type": {"S": "note"}, "text": {"S": "a kind without a target"}}


def _make_order(number: int, n: int, chance: random.Random) -> Item:
    lines = [
        {"M": {"sku": {"S": f"sku-{chance.randrange(100)}"}, "quantity": {"N": str(chance.randint(1, 9))}}}
        for _ in range(chance.randint(0, 4))
    ]
    return {
        "pk": {"S": f"CUSTOMER#{number}"},
        "sk": {"S": f"BASKET#{n}"},
        "type": {"S": "order"},
        "cents": {"N": str(chance.randint(1, 9999))},
        "status": {"S": chance.choice(("placed", "sent"))},
        "lines": {"L": lines},
    }


async def _compare(stack: Embedded, pipeline: Pipeline, part: Pipeline, items: Iterable[Item]) -> Carried:
    names = ["_position"] if part.rows_of else []
    names += [column.name for column in part.columns]
    listed = ", ".join(f'"{name}"' for name in ["_key", *names])
    fields = await query(stack, f"SELECT {listed} FROM {quote_table(part, '_current')}")
    # The key of a row is its item's, for elements as well.
    found = sorted(tuple(str(next(iter(field.values()))) for field in row) for row in fields)
    kinds = {other.name for other in pipeline.parts}
    own = [item for item in items if _takes(part, _text(item["type"]), kinds)]
    expected = sorted(row for item in own for row in _build_rows(part, item))
    return Carried(f"{part.schema}.{part.target}", len(found), len(expected), found == expected)


def _takes(part: Pipeline, kind: str, kinds: set[str]) -> bool:
    if part.when or part.rows_of:
        return kind == (part.parent or part.name)
    return kind not in kinds


def _build_rows(part: Pipeline, item: Item) -> Iterator[Row]:
    """Build the rows of an item in one of the tables."""
    key = f"S={_text(item['pk'])};S={_text(item['sk'])};"
    if not part.rows_of:
        yield key, *(_text(item[column.name]) for column in part.columns)
        return
    for position, line in enumerate(item["lines"]["L"]):
        yield key, str(position), *(_text(line["M"][column.name]) for column in part.columns)


def _text(value: dict[str, Any]) -> str:
    (content,) = value.values()
    return str(content)
