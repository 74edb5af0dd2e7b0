"""How the cost grows: ingest with records, their size and their columns; the coordinator with files that wait."""

from __future__ import annotations

import asyncio
import bisect
import gc
import time
import tracemalloc
from collections import defaultdict
from functools import cache
from hashlib import blake2b

import msgspec
import pytest
from tests.deployments import make_deployment
from tests.simulation.fake_dynamodb import FakeDynamoDB
from tests.simulation.fake_s3 import FakeS3

from benchmarks.candidates import build_raw_path
from benchmarks.events import build_huge, build_tiny, build_wide, flat_pipeline
from fastetl.aws.ledger import Ledger
from fastetl.aws.s3 import Bucket
from fastetl.config.model import Config
from fastetl.load.loader import Loader
from fastetl.model import FileItem

EVENT_BYTES = 5_000_000
TURNS, ROUNDS = 3, 3
SHAPES = {
    "records": {number: lambda number=number: build_tiny(number) for number in (100, 1_000, 4_000, 10_000)},
    "bytes an item": {
        size: lambda size=size: build_huge(min(10_000, EVENT_BYTES // (size + 500)), size)
        for size in (200, 1_000, 10_000, 100_000, 400_000)
    },
    "columns": {
        columns: lambda columns=columns: build_wide(columns, min(4_000, EVENT_BYTES // (columns * 30 + 400)))
        for columns in (5, 20, 50, 100, 200)
    },
}
PENDING = (1_000, 10_000, 100_000)


@cache
def checked(kind, size):
    """Build an event and what transforms it; every record must come out."""
    shape = SHAPES[kind][size]()
    transform = build_raw_path(shape.pipeline)
    assert transform(shape.event)
    return shape, transform


@pytest.mark.parametrize(("kind", "size"), [(kind, size) for kind, sizes in SHAPES.items() for size in sizes])
@pytest.mark.parametrize("turn", range(TURNS))
def test_ingest(benchmark, turn, kind, size):
    shape, transform = checked(kind, size)
    # Short events are run several times over, or the clock's grain would be measured.
    times = max(1, 2_000 // shape.records)
    gc.collect()
    gc.disable()
    try:
        benchmark.pedantic(transform, args=(shape.event,), rounds=ROUNDS, iterations=times, warmup_rounds=1)
    finally:
        gc.enable()
    benchmark.extra_info.update(records=shape.records, event_bytes=len(shape.event))


class Client:
    """A fake service's operations as awaitables, counted."""

    def __init__(self, service):
        self._service = service
        self.calls = 0

    def __getattr__(self, operation):
        method = getattr(self._service, operation)

        async def call(**arguments):
            self.calls += 1
            return method(**arguments)

        return call


class Table(FakeDynamoDB):
    """The table, whose index answers as quickly with many items as with few: it is the coordinator that is measured."""

    def index(self):
        """Sort what waits, once."""
        self.rows = defaultdict(list)
        for item in self.items.values():
            if "q" in item:
                self.rows[item["q"]["S"]].append(item)
        for rows in self.rows.values():
            rows.sort(key=lambda item: item["qk"]["S"])

    def query(self, **arguments):
        rows = self.rows[arguments["ExpressionAttributeValues"][":q"]["S"]]
        start = arguments.get("ExclusiveStartKey")
        first = bisect.bisect_right(rows, start["qk"]["S"], key=lambda item: item["qk"]["S"]) if start else 0
        page = rows[first : first + arguments["Limit"]]
        answer = {"Items": page, "Count": len(page)}
        if first + len(page) < len(rows):
            answer["LastEvaluatedKey"] = {name: page[-1][name] for name in ("pk", "q", "qk")}
        return answer


@cache
def waiting_files(count):
    """Build a ledger in which a number of files wait."""
    file = FileItem(
        "", "orders", "", "layout", "AAAAAA==", 400_000, 500, 0, "", "0", "1", "2026-01-01", "2026-01-01", 0
    )
    table = Table(time.time)
    ledger = Ledger(Client(table), "ledger")

    async def register():
        for number in range(count):
            name = blake2b(str(number).encode(), digest_size=16).hexdigest()
            await ledger.files.register(
                msgspec.structs.replace(file, file_id=name, key=f"data/{name}.csv.gz", created=number)
            )
        # A pipeline's first wake-up scans the table for what a lost HEAD left; every other finds its HEAD.
        await ledger.batches.create_head("orders", "00000000", stack="bucket/ledger/orders")

    asyncio.run(register())
    table.index()
    return table


async def wake_up(table):
    """Wake up a coordinator that has done nothing yet: it counts, and opens a batch."""
    pipeline = flat_pipeline()
    calls = Client(table), Client(FakeS3())
    ledger, bucket = Ledger(calls[0], "ledger"), Bucket(calls[1], "bucket")
    config = Config("bucket", "ledger", (pipeline,))
    loader = Loader(make_deployment(config, pipeline, bucket, ledger))
    step = await loader.wake_up()
    waiting = await loader.backlog()
    assert step.action == "opened", step
    return step.batch.files, waiting.files, sum(each.calls for each in calls)


@pytest.mark.parametrize("pending", PENDING)
@pytest.mark.parametrize("turn", range(TURNS))
def test_coordinator(benchmark, turn, pending):
    table = waiting_files(pending)
    before = table.backup()

    def run():
        return asyncio.run(wake_up(table))

    def restore():
        table.items = dict(before)

    files, counted, calls = benchmark.pedantic(run, setup=restore, rounds=ROUNDS, warmup_rounds=1)
    restore()
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    restore()
    benchmark.extra_info.update(files=files, counted=counted, calls=calls, peak_bytes=peak)
