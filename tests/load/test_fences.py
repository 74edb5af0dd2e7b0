"""A fence holds off the attempts of its own batch, up to its number, and no others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastetl.errors import WarehouseError
from fastetl.load.plan import Planner
from fastetl.model import Batch
from fastetl.sql.load import resolve_sql
from tests.plant import Change, Plant


async def stage(plant: Plant, number: int, attempt: int) -> Batch:
    """Put a file and its batch on S3, as if a coordinator had died before it opened it."""
    file_id = await plant.put(Change(number, number))
    files = list((await plant.ledger.files.read([file_id])).values())
    batch = await Planner(plant.deployment()).stage("installation", files)
    return msgspec.structs.replace(batch, attempt=attempt)


async def resolve(plant: Plant, batch: Batch, attempt: int) -> dict[str, str]:
    statements = resolve_sql(plant.pipeline, plant.deployment().owner, batch.batch_id, attempt, SINCE)
    name = f"{batch.batch_id}/{attempt}/resolve"
    statement_id = await plant.warehouse.run(statements, name=name, token=(name, next(TOKENS)))
    verdict = [statement.step for statement in statements].index("verdict")
    return dict(await plant.warehouse.rows(statement_id, verdict))


async def load(plant: Plant, batch: Batch, attempt: int) -> bool:
    statements = await Planner(plant.deployment()).load(msgspec.structs.replace(batch, attempt=attempt))
    try:
        await plant.warehouse.run(statements, name=f"{batch.batch_id}/{attempt}", token=(next(TOKENS),))
    except WarehouseError:
        return False
    return True


SINCE = "2026-01-01 00:00:00"
TOKENS = iter(range(10**9))


async def test_a_fence_is_of_one_batch(make_plant: Any) -> None:
    plant = await make_plant()
    one, two, three = [await stage(plant, number, 3) for number in (1, 2, 3)]
    assert await resolve(plant, one, 3) == {"fenced": "3"}
    assert await resolve(plant, two, 3) == {"fenced": "3"}
    # Late attempts of both commit nothing, with whatever number was fenced off or a smaller one.
    assert not any([await load(plant, batch, attempt) for batch in (one, two) for attempt in (1, 2, 3)])
    assert await load(plant, three, 3)
    assert await load(plant, two, 4)
    assert sorted(row[0] for row in await plant.mirror()) == ["2", "3"]
    # A fence that stands is enough for every attempt below it, and what is loaded needs none.
    assert await resolve(plant, one, 2) == {"fenced": "3"}
    assert await resolve(plant, one, 5) == {"fenced": "5"}
    assert (await resolve(plant, two, 4))["loaded"] == two.manifest_checksum
    assert not await load(plant, two, 5)
    fences = await plant.sql('SELECT "batch_id", "attempt" FROM "public"."orders_fences"')
    assert sorted(fences) == sorted([(one.batch_id, "3"), (one.batch_id, "5"), (two.batch_id, "3")])


@pytest.mark.parametrize("attempts", [(2, 3), (3, 2)])
async def test_the_highest_fence_is_told(make_plant: Any, attempts: tuple[int, int]) -> None:
    plant = await make_plant()
    batch = await stage(plant, 1, 1)
    told = [(await resolve(plant, batch, attempt))["fenced"] for attempt in attempts]
    assert told == (["2", "3"] if attempts == (2, 3) else ["3", "3"])


async def test_a_file_is_loaded_by_one_batch(make_plant: Any) -> None:
    plant = await make_plant()
    batch = await stage(plant, 1, 1)
    assert await load(plant, batch, 1)
    other = await Planner(plant.deployment()).stage(
        "another installation", list((await plant.ledger.files.read(list(await plant.states()))).values())
    )
    assert other.batch_id != batch.batch_id
    assert not await load(plant, other, 1)
    statements = resolve_sql(
        plant.pipeline,
        plant.deployment().owner,
        other.batch_id,
        1,
        SINCE,
        f"s3://{plant.config.bucket}/{other.files_key}",
    )
    statement_id = await plant.warehouse.run(statements, name="resolve", token=(next(TOKENS),))
    place = [statement.step for statement in statements].index("verdict_files")
    (file_id,) = await plant.states()
    assert await plant.warehouse.rows(statement_id, place) == [(file_id, batch.batch_id)]
