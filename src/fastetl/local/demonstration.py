"""The demonstration: real flights go through all of fastetl on this machine; source and mirror are compared."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random
import time
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from fastetl.errors import ConfigError, Problem
from fastetl.local.compare import Difference, compare
from fastetl.local.flights import delay, read_flights, spoil
from fastetl.local.functions import MappingSettings
from fastetl.local.stack import Embedded
from fastetl.sql import Statement, quote_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastetl.config import Config
    from fastetl.local.stack import WarehouseKind

WRITE_SIZE = 25
"""Items in one BatchWriteItem (DynamoDB API reference)."""

QUESTION = (
    'SELECT "booked_country", COUNT(*) AS "flights", ROUND(AVG(CAST("departure_delay" AS DECIMAL(9,2))), 1) AS "delay"'
    ' FROM {} WHERE "booked_country" IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5'
)
"""About what Geo-IP has added: from which countries most flights were booked, and how many minutes late they were."""

ANSWERED = ("booked_country", "flights", "delay")

MAPPING = MappingSettings(
    batch_size=2000,
    maximum_batching_window_in_seconds=1.0,
    tumbling_window_in_seconds=900,
    repeat_share=0.15,
    recut_share=0.1,
    seed=1,
)
"""A mapping that delivers every sixth batch twice, and some again in part, as Lambda may."""

Advance = Callable[[str, int, int], None]
"""Told a phase, how many changes of it are done, and how many there are."""


class Demonstrated(msgspec.Struct):
    """What the demonstration did."""

    changes: int
    files: int
    batches: int
    repeated_deliveries: int
    rows_in_mirror: int
    rows_in_log: int
    rejects: int
    question: str
    answer: list[dict[str, Any]]
    """The rows that the warehouse gives to the question; empty where the configuration adds no country."""
    seconds: float
    mirror_equals_source: bool
    log_has_each_event_once: bool
    differences: list[Difference]


def demo_config() -> str:
    """Give the demonstration's configuration, with the place of the database that it looks addresses up in."""
    text = resources.files("fastetl.local").joinpath("demo.toml").read_text(encoding="utf-8")
    database = "GeoLite2-City.mmdb"
    return text.replace(database, str(resources.files("_maxminddb_geolite2").joinpath(database)))


async def demonstrate(config_text: str, flights: int, warehouse: WarehouseKind, advance: Advance) -> Demonstrated:
    """Write flights into a table, change and delete some, and compare the table with the warehouse in the end.

    Args:
        config_text: of a pipeline that reads the table `flights`.
        flights: how many, of 336,776.
        warehouse: what runs the SQL.
        advance: told how far it is.

    Raises:
        ConfigError: the configuration is of other tables, or has other outputs.
    """
    began = time.monotonic()
    phases = build_phases(list(read_flights(flights)))
    async with Embedded(config_text, mapping=MAPPING, warehouse=warehouse) as stack:
        _check(stack.config)
        await stack.create_tables()
        await stack.connect()
        await carry(stack, phases, advance)
        return await _sum_up(stack, time.monotonic() - began)


def _check(config: Config) -> None:
    (first, *others), outputs = config.pipelines, {"mirror", "log"}
    if others or first.table != "flights" or first.outputs != outputs or first.parts:
        message = "the demonstration carries the table `flights` alone, into mirror and log"
        remedy = 'Name a configuration of one pipeline, with table = "flights" and outputs = ["mirror", "log"]'
        raise ConfigError((Problem("pipelines", message, remedy),))


async def _sum_up(stack: Embedded, seconds: float) -> Demonstrated:
    (pipeline,) = stack.config.pipelines
    current, log = quote_table(pipeline, "_current"), quote_table(pipeline, "_log")
    names = ", ".join(f'"{column.name}"' for column in pipeline.columns)
    rows = await query(stack, f"SELECT {names} FROM {current}")
    differences = compare(pipeline, await scan(stack), rows)
    logged, events = await _numbers(stack, f'SELECT COUNT(*), COUNT(DISTINCT "_event_id") FROM {log}')
    (batches,) = await _numbers(stack, f"SELECT COUNT(*) FROM {quote_table(pipeline, '_loads')}")
    question = QUESTION.format(current)
    asked = any(name == "booked_country" for name, _ in pipeline.layout.columns)
    rows_of_answer = await query(stack, question) if asked else []
    rejects = await _count_rejects(stack)
    counts = stack.sources[pipeline.name].counts
    return Demonstrated(
        changes=counts.read,
        files=len([key async for key in stack.bucket.list_keys("data/")]),
        batches=batches,
        repeated_deliveries=counts.repeated,
        rows_in_mirror=len(rows),
        rows_in_log=logged,
        rejects=rejects,
        question=question if asked else "",
        answer=[
            dict(zip(ANSWERED, (next(iter(field.values())) for field in row), strict=True)) for row in rows_of_answer
        ],
        seconds=round(seconds, 1),
        mirror_equals_source=not differences,
        log_has_each_event_once=logged == events == counts.read - rejects
        and stack.metrics().get("Records", 0) >= counts.read,
        differences=differences,
    )


async def _count_rejects(stack: Embedded) -> int:
    """Count the rejected records: one that came again, in a batch that was cut otherwise, is in two files."""
    event_ids = set[str]()
    async for key in stack.bucket.list_keys("rejects/"):
        lines = gzip.decompress(await stack.bucket.get(key)).splitlines()
        event_ids.update(orjson.loads(line)["event_id"] for line in lines)
    return len(event_ids)


def build_phases(items: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Give the requests of three phases: all flights, then delays and one that cannot be held, then deletes.

    What could not be held is mended in the last phase, so that in the end the mirror has every item.
    """
    chance = random.Random(1)  # noqa: S311 - which flights are late
    late = chance.sample(range(len(items)), max(len(items) // 7, 3))
    gone = set(late[::4][1:])
    spoilt = late[0]
    updates = [_put(delay(items[number], chance)) for number in late]
    deletes = [
        {"DeleteRequest": {"Key": {name: items[number][name] for name in ("day", "flight")}}} for number in sorted(gone)
    ]
    return [
        [_put(item) for item in items],
        [*updates[1:], _put(spoil(items[spoilt]))],
        [*deletes, _put(delay(items[spoilt], chance))],
    ]


def _put(item: dict[str, Any]) -> dict[str, Any]:
    return {"PutRequest": {"Item": item}}


async def carry(stack: Embedded, phases: Sequence[Sequence[dict[str, Any]]], advance: Advance) -> None:
    """Write items into the only pipeline's table, and wait after each phase until all of it is in the warehouse.

    Args:
        stack: connected.
        phases: requests of BatchWriteItem.
        advance: told how far it is.
    """
    (pipeline,) = stack.config.pipelines
    total, written = sum(map(len, phases)), 0
    watching = asyncio.create_task(_watch(stack, total, advance))
    for requests in phases:
        waiting: Iterator[dict[str, Any]] = iter(requests)
        while chunk := list(itertools.islice(waiting, WRITE_SIZE)):
            await stack.dynamodb.batch_write_item(RequestItems={pipeline.table: chunk})
            written += len(chunk)
            advance("changes written", written, total)
        await stack.settle()
    watching.cancel()
    advance("changes carried", total, total)


async def _watch(stack: Embedded, total: int, advance: Advance) -> None:
    while True:
        advance("changes carried", next(iter(stack.sources.values())).counts.acknowledged, total)
        await asyncio.sleep(0.25)


async def scan(stack: Embedded) -> list[dict[str, Any]]:
    """Read all items of the only pipeline's table.

    Args:
        stack: that has the table.
    """
    (pipeline,) = stack.config.pipelines
    items: list[dict[str, Any]] = []
    page: dict[str, Any] = {}
    while True:
        answer = await stack.dynamodb.scan(TableName=pipeline.table, **page)
        items += answer["Items"]
        if not answer.get("LastEvaluatedKey"):
            return items
        page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


async def _numbers(stack: Embedded, sql: str) -> list[int]:
    (row,) = await query(stack, sql)
    return [int(next(iter(field.values()))) for field in row]


async def query(stack: Embedded, sql: str) -> list[list[dict[str, Any]]]:
    """Ask the warehouse.

    Args:
        stack: that has it.
        sql: one statement.

    Returns:
        Its rows, as the Data API's fields.
    """
    return await stack.run_sql(stack.config.pipelines[0], (Statement("query", sql),))
