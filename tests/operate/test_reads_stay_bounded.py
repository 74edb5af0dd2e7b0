"""What is asked every day reads no more after years: thousands of loaded files more change nothing of what is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from fastetl.aws.ledger import Ledger
from fastetl.aws.ledger.items import write_item
from fastetl.backfill import Backfiller
from fastetl.cli.status import describe
from fastetl.config.model import LoadPolicy
from fastetl.load.epochs import Epochs
from fastetl.model import FileItem
from fastetl.operate import status
from fastetl.operate.operator import Operator
from fastetl.operate.recent_files import read_files_since, read_latest_files
from fastetl.operate.reconcile import Reconciler
from fastetl.operate.schema import SchemaReader
from tests.plant import LABEL, Change, Plant
from tests.simulation.conftest import DirectClient
from tests.simulation.fake_dynamodb import FakeDynamoDB

LOADED = 5000


class Counting:
    """A client of DynamoDB that counts the items of every answer, and the calls."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.read: Counter[str] = Counter()

    def __getattr__(self, operation: str) -> Any:
        async def call(**arguments: Any) -> Any:
            answer = await getattr(self._client, operation)(**arguments)
            batch = [row for rows in answer.get("Responses", {}).values() for row in rows]
            rows = [*answer.get("Items", []), *batch, *([answer["Item"]] if "Item" in answer else [])]
            self.read[f"{operation} calls"] += 1
            self.read[operation] += max(len(rows), answer.get("ScannedCount", 0))
            return answer

        return call


async def look_at_status(plant: Plant) -> None:
    await Operator(plant.deployment()).status()


async def look_at_drift(plant: Plant) -> None:
    await SchemaReader(plant.deployment()).diff(hours=1)


async def look_at_latest(plant: Plant) -> None:
    """As `check --online` and `verify-account` do."""
    assert await read_latest_files(plant.ledger, "orders")
    assert [file async for file in read_files_since(plant.ledger, "orders", int(plant.now * 1000) - 3_600_000)]


async def make_head(plant: Plant) -> None:
    """As the coordinator does where HEAD was lost."""
    await plant.lose_head()
    await Epochs(plant.deployment()).head()


async def look_at_backfills(plant: Plant) -> None:
    backfiller = Backfiller(plant.deployment())
    assert await backfiller.under_way() == []
    assert not await backfiller.is_epoch_used(1)
    assert await backfiller.last_epoch() is None


async def look_at_quarantine(plant: Plant) -> None:
    (file,) = await Operator(plant.deployment()).quarantined()
    await Operator(plant.deployment()).retry(file.file_id)
    await plant.ledger.files.mark_quarantined(file.file_id, "b", "too long")


async def reconcile_an_hour(plant: Plant) -> None:
    await Reconciler(plant.deployment()).reconcile("2027/01/01/00", "2027/01/01/01")


ASKED: dict[str, Callable[[Plant], Awaitable[None]]] = {
    "status": look_at_status,
    "schema diff": look_at_drift,
    "check": look_at_latest,
    "backfill": look_at_backfills,
    "quarantine": look_at_quarantine,
    "reconcile": reconcile_an_hour,
    "coordinator": make_head,
}


async def count(plant: Plant) -> dict[str, Counter[str]]:
    """Ask everything, and give what each question read."""
    client, table, found = plant.ledger.table._client, plant.ledger.table.name, {}
    for name, ask in ASKED.items():
        counting = Counting(client)
        plant.ledger = Ledger(counting, table)
        await ask(plant)
        found[name] = counting.read
    plant.ledger = Ledger(client, table)
    return found


def put_loaded_files(plant: Plant, dynamodb: FakeDynamoDB, count: int) -> None:
    """Put items of files that were loaded long ago, as they are in a ledger after years."""
    created = int(plant.now * 1000) - 40 * 86_400_000
    for number in range(count):
        file_id, changed = f"{number:032x}", "2025-01-01 00:00:00.000000"
        key = f"data/orders/{LABEL}/2025/01/01/00/{file_id}.csv.gz"
        file = FileItem(
            file_id, "orders", key, "l", "c", 1, 1, 0, "", "", "", changed, changed, created, "LOADED",
            drift={"ignored/x": 1},
        )  # fmt: skip
        row = {"pk": f"F#{file_id}", **msgspec.to_builtins(file), "expires": int(plant.now) + 86_400}
        dynamodb.items[row["pk"]] = write_item(row)


async def test_thousands_of_loaded_files_more_are_not_read(make_plant: Any) -> None:
    plant = await make_plant()
    dynamodb = FakeDynamoDB(lambda: plant.now)
    plant.ledger = Ledger(DirectClient(dynamodb), "ledger")
    plant.loader = plant.new_loader()
    await Epochs(plant.deployment()).head()
    bad = await plant.put(Change(9, 9))
    await plant.ledger.files.mark_quarantined(bad, "b", "too long")
    await plant.put(Change(1, 1))
    await plant.run()
    await plant.put(Change(2, 2))
    await count(plant)
    before = await count(plant)
    put_loaded_files(plant, dynamodb, LOADED)
    assert await count(plant) == before
    assert not any("scan" in read for read in before.values())
    assert max(sum(read.values()) for read in before.values()) < LOADED / 10
    # What has to know every file reads them all, and is counted.
    counting = Counting(plant.ledger.table._client)
    assert len([file async for file in Ledger(counting, "ledger").files.scan("orders")]) == LOADED + 3
    assert counting.read["scan"] > LOADED


async def test_a_backlog_is_counted_up_to_a_number(make_plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = await make_plant()
    monkeypatch.setattr(status, "COUNTED", 3)
    for number in range(5):
        await plant.put(Change(number, number + 1))
    found = await Operator(plant.deployment()).status()
    assert (found.pending_files, found.counted_up_to) == (3, 3)
    assert any(line.startswith("  waiting      3 files or more, ") for line, _ in describe(found))


async def test_the_latest_files_are_found_wherever_they_are(make_plant: Any) -> None:
    plant = await make_plant(load=LoadPolicy(max_bytes=1, max_files=1))
    told: list[str] = []

    async def put(number: int) -> None:
        plant.now += 60
        told.insert(0, await plant.put(Change(number, number)))

    async def latest() -> list[str]:
        return [file.file_id for file in await read_latest_files(plant.ledger, "orders")]

    assert await latest() == []
    await put(1)
    assert await latest() == told
    await plant.run(until=lambda step: step.action == "submitted")
    assert await latest() == told, "in an open batch"
    await plant.run()
    assert await latest() == told, "loaded"
    await put(2)
    await plant.run()
    await put(3)
    await plant.ledger.files.mark_quarantined(told[0], "b", "too long")
    await put(4)
    assert await latest() == told
    since = int(plant.now * 1000) - 130_000
    found = [file.file_id async for file in read_files_since(plant.ledger, "orders", since)]
    assert sorted(found) == sorted(told[:3])
    assert (await Operator(plant.deployment()).status()).last_file_seconds == 0
