"""Flights as an export, carried over by the real command while it is killed and changes to the same flights stream in.

`make crash` takes all 336,776 flights and kills ten times; here it is fewer.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fastetl.aws.redshift import Warehouse
from fastetl.backfill import backfiller
from fastetl.backfill.backfiller import Backfiller
from fastetl.backfill.export_folder import ExportFolder
from fastetl.local.compare import compare
from fastetl.local.demonstration import demo_config
from fastetl.local.flights import Item, delay, read_flights
from fastetl.local.functions.mapping import MappingSettings
from fastetl.local.stack import Embedded
from fastetl.sql.text import Statement
from tests.deployments import make_deployment
from tests.exports import write_export

FLIGHTS = int(os.environ.get("BACKFILL_FLIGHTS", "6000"))
KILLS = int(os.environ.get("BACKFILL_KILLS", "3"))
MANY = 100_000
DATA_FILES = max(12, FLIGHTS // 5000)
WRITTEN_AT_ONCE = 25
CHANGED = 1000
"""Flights that change, again and again."""


class Table:
    """What is in the table: most of it older than the stream, and the rest in moto."""

    def __init__(self, stack: Embedded, items: list[Item]) -> None:
        self._stack = stack
        self._chance = random.Random(FLIGHTS)
        self.items = {key_of(item): item for item in items}
        self._all = items
        self._written: set[str] = set()

    async def change(self) -> None:
        """Change some flights, delete some, and bring some of them back."""
        requests: dict[str, Any] = {}
        for item in self._chance.sample(self._all[:CHANGED], WRITTEN_AT_ONCE):
            key = key_of(item)
            if key in self._written and self._chance.random() < 0.3:
                self._written.discard(key)
                requests[key] = {"DeleteRequest": {"Key": {name: item[name] for name in ("day", "flight")}}}
                self.items.pop(key, None)
            else:
                # Only what was written here can be deleted here: moto knows nothing of the rest.
                self._written.add(key)
                self.items[key] = delay(item, self._chance)
                requests[key] = {"PutRequest": {"Item": self.items[key]}}
        await self._stack.dynamodb.batch_write_item(RequestItems={"flights": list(requests.values())})

    async def change_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.change()
            await asyncio.sleep(0.1)


def key_of(item: Item) -> str:
    return f"{item['day']['S']} {item['flight']['S']}"


async def run_command(stack: Embedded, config: Path, folder: Path, *, kill_after: float | None) -> int:
    """Run `fastetl backfill`; killed with all its processes after a time, if any is given."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("fastetl"), "backfill", "--config", config, "--export", folder, "--workers", "2",
        env={**os.environ, **stack.environment}, start_new_session=True,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(kill_after):
            _, said = await process.communicate()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        return -signal.SIGKILL
    assert process.returncode == 0, said.decode()
    return 0


@pytest.mark.timeout(300 + FLIGHTS // 100)
async def test_a_backfill_that_is_killed_and_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No ingest function runs yet that could keep an older list of epochs.
    for name, seconds in (("CLOCK_SLACK_SECONDS", 1), ("EPOCH_LEAD_SECONDS", 3), ("EPOCHS_KEPT_SECONDS", 0)):
        monkeypatch.setattr(backfiller, name, seconds)
    chance = random.Random(KILLS)
    config = tmp_path / "fastetl.toml"
    config.write_text(demo_config() + '\n[pipelines.file]\nsplit_size = "1 MiB"\n')
    mapping = MappingSettings(batch_size=200, maximum_batching_window_in_seconds=0.2)
    async with Embedded(config.read_text(), mapping=mapping) as stack:
        await stack.create_tables()
        pipeline = stack.config.pipelines[0]
        await stack.connect()
        await _backfiller(stack).begin_epoch()
        table = Table(stack, list(read_flights(FLIGHTS)))
        stop = asyncio.Event()
        changing = asyncio.create_task(table.change_until(stop))
        await asyncio.sleep(6)  # before T0, and between T0 and T1
        folder, taken = tmp_path / "export", list(table.items.values())
        parts = [[{"Item": item} for item in taken[n::DATA_FILES]] for n in range(DATA_FILES)]
        arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/{pipeline.table}"
        folder = await asyncio.to_thread(write_export, folder, parts, exported_at=time.time(), table_arn=arn)
        await open_backfill(stack, folder)
        killed = 0
        for _ in range(2 * KILLS):
            killed += await run_command(stack, config, folder, kill_after=chance.uniform(2, 6)) < 0
        # A few flights are soon carried over, and then there is nothing left to kill.
        assert killed >= (KILLS if FLIGHTS > MANY else 1)
        await run_command(stack, config, folder, kill_after=None)
        await run_command(stack, config, folder, kill_after=None)
        stop.set()
        await changing
        await stack.settle(200 + FLIGHTS / 500)
        names = ", ".join(f'"{column.name}"' for column in pipeline.columns)
        rows = await stack.run_sql(pipeline, (Statement("q", f'SELECT {names} FROM "public"."flights_current"'),))
        differences = compare(pipeline, table.items.values(), rows)
        assert differences == []
        counts = 'SELECT COUNT(*), COUNT(DISTINCT "_event_id") FROM "public"."flights_log"'
        ((logged, events),) = await stack.run_sql(pipeline, (Statement("q", counts),))
        assert logged == events == {"longValue": stack.sources["flights"].counts.read + len(taken)}


async def open_backfill(stack: Embedded, folder: Path) -> None:
    """Begin it with less slack between the clocks than the command asks for: here there is one clock."""
    export, files = await ExportFolder(stack.s3, str(folder)).read()
    opened = await _backfiller(stack).open(str(folder), export, files, resync=False)
    assert opened.epoch == 1


def _backfiller(stack: Embedded) -> Backfiller:
    pipeline = stack.config.pipelines[0]
    warehouse = Warehouse(stack.redshift, pipeline.redshift)
    return Backfiller(make_deployment(stack.config, pipeline, stack.bucket, stack.ledger, warehouse))
