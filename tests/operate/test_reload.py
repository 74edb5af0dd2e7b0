"""A table built again from the files, beside the one that is loaded from them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastetl.columns.types import Column, RedshiftType
from fastetl.errors import WarehouseError
from fastetl.limits import MAX_SQL_BYTES
from fastetl.model import Backfill
from fastetl.operate.reload import Reloaded, Reloader
from fastetl.versions import EpochStart
from tests.plant import Change, Plant

COLUMNS = '"id", "amount", "note"'


def make_reloader(plant: Plant, target: str = "orders_again", **how: Any) -> Reloader:
    return Reloader(plant.deployment(), ("public", target), **how)


async def put(plant: Plant, *changes: Change, **how: Any) -> str:
    """As ingest does it: with what the object has to say of itself."""
    file_id = await plant.put(*changes, **how)
    (item,) = [item async for item in plant.ledger.files.scan("orders") if item.file_id == file_id]
    body = await plant.bucket.get(item.key)
    metadata = {
        "pipeline": "orders", "file-id": file_id, "layout-id": item.layout_id, "rows": str(item.rows), "rejects": "0",
        "rejects-key": "", "version-min": "", "version-max": "", "changed-min": item.changed_min,
        "changed-max": item.changed_max,
    }  # fmt: skip
    await plant.bucket.delete(item.key)
    await plant.bucket.put(item.key, iter([body]), metadata)
    return file_id


async def rows(plant: Plant, table: str) -> list[tuple[str, ...]]:
    return await plant.sql(f'SELECT {COLUMNS} FROM "public"."{table}_current" ORDER BY "id"')


async def test_what_was_loaded_is_loaded_again_elsewhere_and_only_once(make_plant: Any) -> None:
    plant = await make_plant()
    layout = plant.pipeline.layout
    older = msgspec.structs.replace(layout, columns=tuple(pair for pair in layout.columns if pair[0] != "note"))
    await put(plant, Change(1, 1, note="first"), Change(2, 2), Change(4, 3))
    await put(plant, Change(2, 4, op="REMOVE"), Change(1, 5, note="second"))
    await put(plant, Change(3, 6), layout=older)
    await plant.run()
    # Key 4 was deleted in a gap.
    head = await plant.ledger.batches.head("orders")
    await plant.ledger.batches.change_head(head, epochs=(EpochStart(1, int(plant.now)),))
    await put(plant, Change(1, 7, note="third", epoch=1), Change(3, 8, epoch=1))
    await plant.ledger.backfills.put(
        Backfill("orders", 1, "s3://x/y", "id", int(plant.now), 0, 0, 1, resync=True, state="FINISHED")
    )
    told: list[Reloaded] = []
    done = await make_reloader(plant).reload("", "~", told.append)
    assert (done, told[0].loaded, told[-1].loaded) == (Reloaded(4, 8, 4), 0, 4)
    expected = [("1", "1.0000000000", "third"), ("3", "1.0000000000", "x")]
    assert await rows(plant, "orders_again") == expected
    again = await make_reloader(plant).reload("", "~", told.append)
    assert again == Reloaded(4, 8, 4)
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_again_loads"') == [("2",)]
    assert await rows(plant, "orders_again") == expected
    # The pipeline's own table knows nothing of it.
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_load_files"') == [("3",)]


async def test_some_hours_alone(make_plant: Any) -> None:
    plant = await make_plant()
    await put(plant, Change(1, 1))
    assert (await make_reloader(plant).reload("2026/01/01/00", "2026/01/01/01", lambda _: None)).loaded == 1
    assert (await make_reloader(plant, "other").reload("2026/01/01/01", "~", lambda _: None)).files == 0


async def test_what_was_no_resync_deletes_nothing(make_plant: Any) -> None:
    plant = await make_plant()
    await put(plant, Change(1, 1))
    await plant.run()
    head = await plant.ledger.batches.head("orders")
    # An epoch that no backfill has followed, one whose backfill was no resync, and a resync that has not ended.
    await plant.ledger.batches.change_head(head, epochs=tuple(EpochStart(n, int(plant.now) + n) for n in (1, 2, 3)))
    for epoch, how in ((2, {"state": "FINISHED"}), (3, {"resync": True})):
        await plant.ledger.backfills.put(Backfill("orders", epoch, "s3://x/y", "id", int(plant.now), 0, 0, 1, **how))
    await make_reloader(plant).reload("", "~", lambda _: None)
    assert await rows(plant, "orders_again") == [("1", "1.0000000000", "x")]


async def test_a_reload_of_some_hours_repeats_no_resync(make_plant: Any) -> None:
    plant = await make_plant()
    await put(plant, Change(1, 1))
    resync = Backfill("orders", 1, "s3://x/y", "id", int(plant.now), 0, 0, 1, resync=True, state="FINISHED")
    await plant.ledger.backfills.put(resync)
    await make_reloader(plant).reload("2026/01/01/00", "2026/01/01/01", lambda _: None)
    assert await rows(plant, "orders_again") == [("1", "1.0000000000", "x")]


async def test_the_pipelines_own_table_is_refused(make_plant: Any) -> None:
    plant = await make_plant()
    with pytest.raises(WarehouseError, match="the pipeline's own table"):
        make_reloader(plant, "Orders")


async def test_what_is_archived_is_asked_for_and_waited_for(make_plant: Any) -> None:
    plant = await make_plant()
    file_id = await put(plant, Change(1, 1))
    (key,) = [key async for key in plant.bucket.list_keys("data/")]
    bucket = plant.config.bucket
    await plant.bucket._client.copy_object(Bucket=bucket, Key=key, CopySource=f"{bucket}/{key}", StorageClass="GLACIER")
    assert file_id in key
    restored: list[str] = []
    original = plant.bucket.restore

    async def restore(key: str) -> bool:
        ready = await original(key)
        restored.append(key)
        return ready and len(restored) > 2

    plant.bucket.restore = restore
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    told: list[Reloaded] = []
    await make_reloader(plant, sleep=sleep).reload("", "~", told.append)
    assert (len(slept), told[1].restoring, await rows(plant, "orders_again")) == (2, 1, [("1", "1.0000000000", "x")])


async def test_the_tables_of_a_wide_pipeline_are_made_in_pieces(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = await make_plant()
    names = [f"column_{n:03d}".ljust(120, "x") for n in range(230)]
    columns = (*plant.pipeline.columns, *(Column(name, (name,), RedshiftType.parse("BIGINT")) for name in names))
    deployment, sent = plant.deployment(columns=columns), []
    submit = deployment.warehouse.submit

    async def count(statements: Any, **how: Any) -> str:
        sent.append([len(each.sql) for each in statements])
        return await submit(statements, **how)

    monkeypatch.setattr(deployment.warehouse, "submit", count)
    await Reloader(deployment, ("public", "orders_again")).reload("", "~", lambda _: None)
    assert sum(map(sum, sent)) > MAX_SQL_BYTES
    assert all(sum(piece) <= MAX_SQL_BYTES for piece in sent)
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_again_current"') == [("0",)]
