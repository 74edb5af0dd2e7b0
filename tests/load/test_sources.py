"""Changes of two sources, which nothing orders: loads of the second pause until an epoch has begun between them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import orjson
import pytest

from fastetl.backfill.backfiller import Backfiller
from fastetl.load.batches import build_batch
from fastetl.load.epochs import Epochs
from fastetl.sql import load_sql
from fastetl.versions import name_source
from tests.load.test_batches import make_file
from tests.simulation.bench import Bench, settle
from tests.simulation.source import Change, build_event
from tests.sql.test_sql import make_load, make_pipeline

TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/orders"
REPLICA = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"
KINESIS = "arn:aws:kinesis:us-east-1:123456789012"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (f"{TABLE}/stream/2026-01-01T00:00:00.000", f"{TABLE}/stream/2024-01-01T00:00:00.000", True),
        (f"{TABLE}/stream/2026-01-01T00:00:00.000", f"{REPLICA}/stream/2026-01-01T00:00:00.000", False),
        (f"{TABLE}/stream/2026-01-01T00:00:00.000", f"{TABLE}2/stream/2026-01-01T00:00:00.000", False),
        (f"{KINESIS}:stream/orders", f"{KINESIS}:stream/a", True),
        (f"{KINESIS}:stream/orders", f"{KINESIS.replace('us-east-1', 'eu-west-1')}:stream/orders", False),
        (f"{TABLE}/stream/2026-01-01T00:00:00.000", f"{KINESIS}:stream/orders", False),
    ],
)
def test_what_numbers_changes(one: str, other: str, *, same: bool) -> None:
    assert (name_source(one) == name_source(other)) is same
    assert name_source(one).partition("-")[0] == ("kinesis" if ":kinesis:" in one else "stream")


def through_replica(*changes: Change, label: str = "2020-01-01T00:00:00.000") -> bytes:
    """The changes as the stream of a replica has them, which was enabled long before."""
    event = orjson.loads(build_event(list(changes)))
    for record in event["Records"]:
        table = record["eventSourceARN"].partition("/stream/")[0].replace("us-east-1", "eu-west-1")
        record["eventSourceARN"] = f"{table}/stream/{label}"
    return orjson.dumps(event)


async def switch(bench: Bench) -> str:
    """Load a change of an item, and then a later one that comes by way of a replica; give why the pipeline pauses."""
    await bench.put(bench.write(number=0, delete=False))
    await settle(bench.new_loader())
    await bench.new_ingest().ingest(through_replica(bench.write(number=0, delete=False)))
    return await until_paused(bench)


async def until_paused(bench: Bench) -> str:
    """Wake up for some minutes, until the pipeline has paused; give why."""
    for _ in range(20):
        await bench.new_loader().wake_up()
        await asyncio.sleep(10)
    head = await bench.ledger.batches.head(bench.pipeline.name)
    assert head is not None
    return head.paused


def test_changes_of_another_source_pause_and_say_what_to_do() -> None:
    bench = Bench()

    async def test() -> None:
        assert "run `fastetl resync`" in await switch(bench)
        assert sorted(bench.states().values()) == ["LOADED", "PENDING"]
        assert len(bench.rows("")) == 1
        assert len(bench.rows("_log")) == 1

    bench.run(test())


def test_a_resync_orders_two_sources_and_what_is_older_changes_nothing() -> None:
    bench = Bench()

    async def test() -> None:
        late = bench.write(number=0, delete=False)
        assert await switch(bench)
        backfiller = Backfiller(bench.deployment())
        start = await backfiller.begin_epoch()
        await backfiller.wait_for(start)
        last = bench.write(number=0, delete=False)
        await bench.new_ingest().ingest(through_replica(last))
        # What the replica said before the epoch would be lost: the export that has it has not begun.
        assert "another source" in await until_paused(bench)
        assert sorted(bench.states().values()) == ["LOADED", "PENDING", "PENDING"]
        await Epochs(bench.deployment()).confirm(start.epoch, "resync")
        await settle(bench.new_loader())
        head = await bench.ledger.batches.head(bench.pipeline.name)
        assert head is not None
        assert head.paused == ""
        # A change of the first source that is late: it is of an epoch that is over, and keeps nobody.
        await bench.put(late)
        await settle(bench.new_loader())
        assert set(bench.states().values()) == {"LOADED"}
        assert [row["_event_id"] for row in bench.rows("")] == [last.event_id]
        (gate,) = bench.rows("_gate")
        assert gate["source_epoch"] == 1
        # The first source once more, in the epoch that is the other's.
        await bench.put(bench.write(number=0, delete=False))
        assert "another source" in await until_paused(bench)

    bench.run(test())


def test_an_epoch_that_began_before_the_sources_changed_hides_no_change_of_the_new_one() -> None:
    """That a row is repaired, or a backfill begun, between the first change by another way and its load."""
    bench = Bench()

    async def test() -> None:
        await bench.put(bench.write(number=0, delete=False))
        await settle(bench.new_loader())
        change = bench.write(number=0, delete=True)
        backfiller = Backfiller(bench.deployment())
        await backfiller.wait_for(await backfiller.begin_epoch())
        later = bench.write(number=1, delete=False)
        for each in (later, change):
            await bench.new_ingest().ingest(through_replica(each))
        assert "another source" in await until_paused(bench)
        assert sorted(bench.states().values()) == ["LOADED", "PENDING", "PENDING"]

    bench.run(test())


def test_waiting_files_of_two_sources_are_loaded_apart() -> None:
    bench = Bench()

    async def test() -> None:
        await bench.put(bench.write(number=0, delete=False))
        await bench.new_ingest().ingest(through_replica(bench.write(number=1, delete=False)))
        step = await bench.new_loader().wake_up()
        assert step.batch is not None
        assert (step.action, step.batch.files) == ("opened", 1)
        files = (await bench.ledger.files.read(list(bench.states()))).values()
        assert len({file.source for file in files}) == 2

    bench.run(test())


def test_a_batch_is_of_the_source_that_its_stream_files_are_of() -> None:
    export = make_file("a" * 32, version_max="0007#0000-00-00T00:00:00.000#1")
    streamed = [make_file(name * 32, source="stream-1", version_max=f"000{name}#2026#1") for name in "23"]
    batch = build_batch("p", "i", [export, *streamed], "bucket", ("m", "f"))
    assert (batch.source, batch.source_epoch) == ("stream-1", 3)
    batch = build_batch("p", "i", [export], "bucket", ("m", "f"))
    assert (batch.source, batch.source_epoch) == ("", 0)


@pytest.mark.parametrize(
    ("source", "epoch", "latest", "steps"),
    [
        ("stream-1", 1, 1, {"gate_source", "source"}), ("stream-1", 0, 0, {"gate_source", "source"}),
        ("stream-1", 0, 1, {"gate_source", "source"}), ("", 0, 1, set()), ("", 0, 0, set()),
    ],
)  # fmt: skip
def test_which_loads_are_asked_for_their_source(source: str, epoch: int, latest: int, steps: set[str]) -> None:
    pipeline = make_pipeline()
    load: Any = msgspec.structs.replace(
        make_load(pipeline.layout), source=source, source_epoch=epoch, latest_epoch=latest
    )
    assert {statement.step for statement in load_sql(pipeline, load)} & {"gate_source", "source"} == steps
