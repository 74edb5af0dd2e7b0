"""The watermark is told of what an operator puts back before that stops being what it was."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastetl.errors import LedgerError
from fastetl.load.listing import LIST_MS
from fastetl.load.waiting import MOST_PUT_BACK, put_back
from fastetl.model import FileItem, Watermark
from fastetl.operate import Operator, rebuild_ledger, replay_failures, replay_rejects
from fastetl.operate.replay import FAILURES_PREFIX
from tests.operate.test_reconcile import make_event, new_ingest, new_operator
from tests.operate.test_replay import mended
from tests.plant import Change, Plant

LATE = 4_000_000_000_000
"""Unix milliseconds, after everything of these tests."""


async def know(plant: Plant) -> None:
    """Have it known that everything is loaded."""
    await plant.ledger.watermarks.put(Watermark("orders", proved_up_to=LATE), None)


async def read(plant: Plant) -> Watermark:
    watermark = await plant.ledger.watermarks.read("orders")
    assert watermark is not None
    return watermark


async def quarantine(plant: Plant) -> str:
    file_id = await plant.put(Change(1, 1))
    await plant.ledger.files.mark_quarantined(file_id, "b", "too long")
    return file_id


async def test_a_retried_file_and_the_watermark_change_together_or_not_at_all(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant: Plant = await make_plant()
    await know(plant)
    file_id = await quarantine(plant)
    watermarks = plant.ledger.watermarks
    original = watermarks.read
    looks: list[Watermark] = []

    async def read_before_a_look(pipeline: str) -> Watermark | None:
        known = await original(pipeline)
        if known and len(looks) < 2:
            looks.append(await watermarks.put(known, known))
            assert (await plant.ledger.files.read([file_id]))[file_id].state == "QUARANTINED"
        return known

    monkeypatch.setattr(watermarks, "read", read_before_a_look)
    await Operator(plant.deployment()).retry(file_id)
    assert len(looks) == 2
    assert (await plant.ledger.files.read([file_id]))[file_id].state == "PENDING"
    (noted,) = (await read(plant)).put_back
    assert noted.file_id == file_id
    assert (await read(plant)).complete_up_to == noted.before < LATE
    looks.clear()
    monkeypatch.setattr("fastetl.operate.operator.RACES", 2)
    await plant.ledger.files.mark_quarantined(file_id, "b", "again")
    with pytest.raises(LedgerError, match="changes all the time"):
        await Operator(plant.deployment()).retry(file_id)
    assert (await plant.ledger.files.read([file_id]))[file_id].state == "QUARANTINED"


async def test_a_retry_before_the_first_look_is_known_to_it(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    file_id = await quarantine(plant)
    await Operator(plant.deployment()).retry(file_id)
    assert [file.file_id for file in (await read(plant)).put_back] == [file_id]


@pytest.mark.parametrize("what", ["rejects", "failures"])
async def test_what_is_ingested_again_is_in_it_before_its_object_is_gone(
    make_plant: Any, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant: Plant = await make_plant()
    await know(plant)
    known_when_deleted: list[Watermark] = []
    original = plant.bucket.delete

    async def delete(key: str) -> None:
        known_when_deleted.append(await read(plant))
        await original(key)

    monkeypatch.setattr(plant.bucket, "delete", delete)
    if what == "rejects":
        await new_ingest(plant).ingest(make_event(3, note="x" * 21))
        operator = new_operator(plant)
        (key,) = await operator.reject_keys()
        (replayed,) = await replay_rejects(key, await operator.rejects(key), mended(plant), lambda: "n")
        await operator.end_rejects(key)
    else:
        await plant.bucket.replace(f"{FAILURES_PREFIX}m/x", msgspec.json.encode({"payload": make_event(1).decode()}))

        async def ingest_for(_: str) -> Any:
            return new_ingest(plant)

        (replayed,) = await replay_failures(plant.config, plant.bucket, ingest_for)
    (known,) = known_when_deleted
    assert [file.file_id for file in known.put_back] == [replayed.file_id]
    assert known.complete_up_to < LATE


async def test_of_a_rebuilt_ledger_nothing_is_known_until_it_is_loaded(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    await know(plant)
    await rebuild_ledger(plant.deployment())
    known = await read(plant)
    assert (known.complete_up_to, known.unknown_until) == (0, int(plant.now * 1000) + LIST_MS)


def test_names_of_more_files_than_an_item_holds_are_not_kept() -> None:
    def name(number: int) -> FileItem:
        at = "2026-01-01 00:00:00.000000"
        return FileItem(f"{number}", "orders", "k", "l", "", 1, 1, 0, "", "", "", at, at, 0)

    most = put_back(Watermark("orders", proved_up_to=LATE), map(name, range(MOST_PUT_BACK)), 7)
    assert (len(most.put_back), most.unknown_until) == (MOST_PUT_BACK, 0)
    assert put_back(most, [name(0)], 7) == most
    more = put_back(most, [name(MOST_PUT_BACK)], 7)
    assert (more.put_back, more.complete_up_to, more.unknown_until) == ((), 0, 7 + LIST_MS)
