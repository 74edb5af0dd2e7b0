"""`fastetl demo`: real flights through the whole of fastetl, on this machine, and a comparison at the end."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastetl.cli.local import Warehouse, demo_config
from fastetl.cli.output import AsJson, problems, read_text, results
from fastetl.sql import quote_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.local.stack import Embedded

_QUESTION = (
    'SELECT "booked_country", COUNT(*) FROM {}'
    ' WHERE "cancelled" AND "booked_country" IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3'
)

WRITE_SIZE = 25
"""Items in one BatchWriteItem (DynamoDB API reference)."""

SHOWN = 10


class Summary(msgspec.Struct):
    """What the demonstration did."""

    changes: int
    files: int
    batches: int
    repeated_deliveries: int
    rows_in_mirror: int
    rows_in_log: int
    rejects: int
    cancelled_flights_were_booked_in: str
    """The answer to a question about what Geo-IP added: the most frequent countries, and how many flights."""
    seconds: float
    mirror_equals_source: bool
    log_has_each_event_once: bool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    flights: Annotated[int, typer.Option(min=100, help="How many, of 336,776.")] = 17_000,
    warehouse: Warehouse = "duckdb",
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="For the table `flights`, instead of the demonstration's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Carry flights from a DynamoDB table into a warehouse and compare the two; exit code 1 if they differ."""
    summary = asyncio.run(_run(flights, warehouse, demo_config() if config is None else read_text(config)))
    if as_json:
        typer.echo(orjson.dumps(msgspec.to_builtins(summary)).decode())
    else:
        for name, value in msgspec.structs.asdict(summary).items():
            results.print(f"{name.replace('_', ' ')}: {_show(value)}", highlight=False)
    if not (summary.mirror_equals_source and summary.log_has_each_event_once):
        raise typer.Exit(1)


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return str(value) if isinstance(value, str) else f"{value:,}"


async def _run(flights: int, warehouse: Any, config: str) -> Summary:
    from fastetl.local.compare import compare  # noqa: PLC0415 - the `local` extra
    from fastetl.local.flights import read_flights  # noqa: PLC0415
    from fastetl.local.functions import MappingSettings  # noqa: PLC0415
    from fastetl.local.stack import Embedded  # noqa: PLC0415

    began = time.monotonic()
    mapping = MappingSettings(
        batch_size=2000, maximum_batching_window_in_seconds=1.0, repeat_share=0.15, recut_share=0.1, seed=1
    )
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    items = list(read_flights(flights))
    with Progress(*columns, console=problems) as progress:
        async with Embedded(config, mapping=mapping, warehouse=warehouse) as stack:
            await stack.create_tables()
            await stack.connect()
            phases = build_phases(items)
            written = progress.add_task("changes written", total=sum(map(len, phases)))
            carried = progress.add_task("changes carried", total=sum(map(len, phases)))
            watching = asyncio.create_task(_watch(stack, progress, carried))
            for requests in phases:
                await _write(stack, requests, lambda count: progress.advance(written, count))
                await stack.settle()
            watching.cancel()
            progress.update(carried, completed=sum(map(len, phases)))
            (pipeline,) = stack.config.pipelines
            current, log = quote_table(pipeline, "_current"), quote_table(pipeline, "_log")
            names = ", ".join(f'"{column.name}"' for column in pipeline.columns)
            rows = await _query(stack, f"SELECT {names} FROM {current}")
            differences = compare(pipeline, await _scan(stack), rows)
            ((logged, events),) = await _query(stack, f'SELECT COUNT(*), COUNT(DISTINCT "_event_id") FROM {log}')
            asked = any(name == "booked_country" for name, _ in pipeline.layout.columns)
            countries = await _query(stack, _QUESTION.format(current)) if asked else []
            metrics = stack.metrics()
            counts = stack.sources[pipeline.name].counts
            files = len([key async for key in stack.bucket.list_keys("data/")])
            rejects = len([key async for key in stack.bucket.list_keys("rejects/")])
            batches = (await _query(stack, f"SELECT COUNT(*) FROM {quote_table(pipeline, '_loads')}"))[0][0]
    for difference in differences[:SHOWN]:
        problems.print(
            f"{'/'.join(difference.key)} {difference.column}: {difference.detail}", style="red", markup=False
        )
    rows_in_log = int(next(iter(logged.values())))
    return Summary(
        changes=counts.read,
        files=files,
        batches=int(next(iter(batches.values()))),
        repeated_deliveries=counts.repeated,
        rows_in_mirror=len(rows),
        rows_in_log=rows_in_log,
        rejects=rejects,
        cancelled_flights_were_booked_in=", ".join(
            f"{country['stringValue']} {n['longValue']:,}" for country, n in countries
        ),
        seconds=round(time.monotonic() - began, 1),
        mirror_equals_source=not differences,
        log_has_each_event_once=rows_in_log == int(next(iter(events.values()))) == counts.read - rejects
        and metrics.get("Records", 0) >= counts.read,
    )


def build_phases(items: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Give the requests of three phases: all flights, then delays and one that cannot be held, then deletes.

    What could not be held is mended in the last phase, so that in the end the mirror has every item.
    """
    from fastetl.local.flights import delay, spoil  # noqa: PLC0415 - the `local` extra

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


async def _write(stack: Embedded, requests: Sequence[dict[str, Any]], advance: Any) -> None:
    waiting = iter(requests)
    while chunk := list(itertools.islice(waiting, WRITE_SIZE)):
        await stack.dynamodb.batch_write_item(RequestItems={"flights": chunk})
        advance(len(chunk))


async def _watch(stack: Embedded, progress: Progress, task: Any) -> None:
    while True:
        progress.update(task, completed=next(iter(stack.sources.values())).counts.acknowledged)
        await asyncio.sleep(0.25)


async def _scan(stack: Embedded) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    page: dict[str, Any] = {}
    while True:
        answer = await stack.dynamodb.scan(TableName="flights", **page)
        items += answer["Items"]
        if not answer.get("LastEvaluatedKey"):
            return items
        page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


async def _query(stack: Embedded, sql: str) -> list[list[dict[str, Any]]]:
    from fastetl.sql import Statement  # noqa: PLC0415

    return await stack.run_sql(stack.config.pipelines[0], (Statement("query", sql),))
