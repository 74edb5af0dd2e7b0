"""Real processes, killed and frozen at random, while changes flow into PostgreSQL: nothing is lost or doubled.

`make crash` does it a hundred times; here it is ten.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from fastetl.aws.redshift import Warehouse
from fastetl.local.compare import compare
from fastetl.local.demonstration import demo_config
from fastetl.local.flights import delay, read_flights
from fastetl.local.functions.mapping import MappingSettings
from fastetl.local.stack import Embedded
from fastetl.operate.reconcile import Reconciler
from fastetl.sql.text import Statement
from tests.deployments import make_deployment

CRASHES = int(os.environ.get("CRASHES", "10"))
WRITTEN_AT_ONCE = 25
FROZEN = 0.4
"""The share of processes that are frozen and not killed."""


def draw_requests(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Puts and deletes of some flights, again and again, without an end."""
    items = list(read_flights(60))
    while True:
        item = chance.choice(items)
        if chance.random() < 0.2:
            yield {"DeleteRequest": {"Key": {name: item[name] for name in ("day", "flight")}}}
        else:
            yield {"PutRequest": {"Item": delay(item, chance)}}


async def write(stack: Embedded, chance: random.Random, stop: asyncio.Event) -> None:
    requests = draw_requests(chance)
    while not stop.is_set():
        chunk: dict[str, Any] = {}
        while len(chunk) < WRITTEN_AT_ONCE:
            request = next(requests)
            item = request.get("PutRequest", {}).get("Item") or request["DeleteRequest"]["Key"]
            chunk[f"{item['day']} {item['flight']}"] = request
        await stack.dynamodb.batch_write_item(RequestItems={"flights": list(chunk.values())})
        await asyncio.sleep(0.1)


async def crash(stack: Embedded, chance: random.Random) -> int:
    """Kill processes of both functions, or freeze them for seconds, each a random time after it was there."""
    met, frozen = 0, []
    while met < CRASHES:
        await asyncio.sleep(chance.uniform(0.05, 1.5))
        pids = [pid for function in (stack.ingest, stack.coordinator) for pid in function.pids]
        if not pids:
            continue
        pid, met = chance.choice(pids), met + 1
        if chance.random() < FROZEN:
            os.kill(pid, signal.SIGSTOP)
            frozen.append(asyncio.create_task(thaw(pid, chance.uniform(0.2, 8.0))))
        else:
            os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*frozen)
    return met


async def thaw(pid: int, seconds: float) -> None:
    """Let a frozen process go on, as Lambda does with an environment that another event comes to."""
    await asyncio.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):  # killed meanwhile
        os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(300 + 10 * CRASHES)
async def test_killed_and_frozen_processes_lose_and_double_nothing() -> None:
    chance = random.Random(CRASHES)
    mapping = MappingSettings(batch_size=50, maximum_batching_window_in_seconds=0.1, repeat_share=0.1, seed=2)
    async with Embedded(demo_config(), mapping=mapping, warehouse="postgres") as stack:
        await stack.create_tables()
        await stack.connect()
        stop = asyncio.Event()
        writing = asyncio.create_task(write(stack, chance, stop))
        assert await crash(stack, chance) == CRASHES
        stop.set()
        await writing
        await stack.settle(200 + 5 * CRASHES)
        pipeline = stack.config.pipelines[0]
        names = ", ".join(f'"{column.name}"' for column in pipeline.columns)
        rows = await stack.run_sql(pipeline, (Statement("q", f'SELECT {names} FROM "public"."flights_current"'),))
        source = (await stack.dynamodb.scan(TableName="flights"))["Items"]
        assert compare(pipeline, source, rows) == []
        counts = 'SELECT COUNT(*), COUNT(DISTINCT "_event_id") FROM "public"."flights_log"'
        ((logged, events),) = await stack.run_sql(pipeline, (Statement("q", counts),))
        assert logged == events == {"longValue": stack.sources["flights"].counts.read}
        warehouse = Warehouse(stack.redshift, pipeline.redshift)
        reconciler = Reconciler(make_deployment(stack.config, pipeline, stack.bucket, stack.ledger, warehouse))
        assert (await reconciler.reconcile()).differences == ()
