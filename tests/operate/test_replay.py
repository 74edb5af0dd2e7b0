"""What is replayed arrives, or is a reject again, in any order and however often."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import orjson
import pytest

from fastetl.enrich.enricher import Enricher
from fastetl.errors import StorageError
from fastetl.ingest.ingester import Ingest
from fastetl.operate.replay import FAILURES_PREFIX, Replayed, replay_failures, replay_rejects
from tests.operate.test_reconcile import make_event, new_ingest, new_operator, new_reconciler
from tests.plant import Plant

NAMES = itertools.count()


def mended(plant: Plant) -> Ingest:
    """Ingest after an operator has mended the column: what is too long is cut."""
    columns = tuple(msgspec.structs.replace(column, on_misfit="truncate") for column in plant.pipeline.columns)
    return Ingest(plant.deployment(columns=columns), Enricher(plant.pipeline))


async def replay_all(plant: Plant, ingest: Ingest) -> list[Replayed]:
    """Replay every object of rejects, as the command does."""
    operator, done = new_operator(plant), []
    for key in await operator.reject_keys():
        done += await replay_rejects(key, await operator.rejects(key), ingest, lambda: str(next(NAMES)))
        await operator.end_rejects(key)
    return done


def event_of(*events: bytes) -> bytes:
    return orjson.dumps({"Records": [record for event in events for record in orjson.loads(event)["Records"]]})


BAD = make_event(3, note="x" * 21)
EVENTS = {"wholly rejected": BAD, "partly rejected": event_of(BAD, make_event(4))}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("too_early", [0, 1, 2])
async def test_rejects_arrive_once_their_column_is_mended(make_plant: Any, event: str, too_early: int) -> None:
    plant = await make_plant()
    await new_ingest(plant).ingest(EVENTS[event])
    for _ in range(too_early):
        assert [(each.records, each.rejects) for each in await replay_all(plant, new_ingest(plant))] == [(1, 1)]
    (arrived,) = await replay_all(plant, mended(plant))
    assert (arrived.records, arrived.rejects) == (1, 0)
    file = (await plant.ledger.files.read([arrived.file_id]))[arrived.file_id]
    assert (file.state, file.rows, file.rejects) == ("PENDING", 1, 0)
    assert await new_operator(plant).reject_keys() == []
    await plant.run()
    assert [row[0] for row in await plant.mirror()] == (["3"] if event == "wholly rejected" else ["3", "4"])
    assert (await new_reconciler(plant).reconcile()).differences == ()


async def test_a_replay_that_is_repeated_doubles_nothing(make_plant: Any) -> None:
    """Whoever replayed died before the object of the rejects was deleted."""
    plant = await make_plant()
    file = (await new_ingest(plant).ingest(BAD)).file
    assert file
    rejects = await new_operator(plant).rejects(file.rejects_key)
    for _ in range(2):
        await replay_rejects(file.rejects_key, rejects, mended(plant), lambda: str(next(NAMES)))
    await plant.run()
    assert [row[0] for row in await plant.mirror()] == ["3"]
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_log"') == [("1",)]


async def test_what_cannot_be_replayed_stays_and_keeps_nothing_else(make_plant: Any) -> None:
    plant = await make_plant()
    ingest = new_ingest(plant)
    held = {
        "a": b'{"requestContext": {}, "DDBStreamBatchInfo": {}}',
        "b": b"no JSON",
        "c": orjson.dumps({"payload": {"Records": []}}),
        "d": orjson.dumps({"payload": make_event(1).decode()}),
        "e": orjson.dumps({"payload": make_event(2).decode()}),
        "f": orjson.dumps({"payload": orjson.loads(make_event(5))}),
        "g": orjson.dumps({"payload": make_event(7, note="a secret").decode()}),
        "h": orjson.dumps({"payload": make_event(8).decode()}),
    }
    for name, body in held.items():
        await plant.bucket.replace(f"{FAILURES_PREFIX}mapping/{name}", body)
    original = ingest.ingest

    async def sometimes(event: bytes) -> Any:
        if b'"N":"2"' in event:
            raise StorageError("put_object: SlowDown")
        if b'"N":"7"' in event:
            raise ValueError(event)
        return await original(event)

    ingest.ingest = sometimes  # type: ignore[method-assign, assignment]

    async def ingest_for(_: str) -> Ingest:
        return ingest

    done = await replay_failures(plant.config, plant.bucket, ingest_for)
    assert [(each.source[-1], bool(each.error)) for each in done] == [
        ("a", True), ("b", True), ("c", True), ("d", False), ("e", True), ("f", False),
        ("g", True), ("h", False),
    ]  # fmt: skip
    assert done[4].error == "orders: put_object: SlowDown"
    assert done[6].error == "orders: unexpected ValueError"
    left = [key[-1] async for key in plant.bucket.list_keys(FAILURES_PREFIX)]
    assert left == ["a", "b", "c", "e", "g"]
    await plant.run()
    assert [row[0] for row in await plant.mirror()] == ["1", "5", "8"]
