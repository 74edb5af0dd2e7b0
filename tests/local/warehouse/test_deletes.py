"""What a deletion leaves in the mirror and its views, by each policy, in whatever order and parts files are loaded."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from fastetl.columns import Column, RedshiftType
from fastetl.config import Pipeline, Storage
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.postgres_engine import PostgresEngine
from fastetl.model import Op
from fastetl.sql import ddl_sql, tombstone_sql
from fastetl.versions import build_version
from tests.local.product import OWNER, Batch
from tests.local.warehouse_client import Warehouse

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATIONS: tuple[Op, ...] = ("INSERT", "MODIFY", "MODIFY", "REMOVE", "EXPIRE", "LEAVE")
KEPT = {"forget": set(), "keep": {"REMOVE", "EXPIRE"}, "keep_expired": {"EXPIRE"}}


class Change(msgspec.Struct, frozen=True):
    key: str
    number: int
    op: Op

    @property
    def value(self) -> str | None:
        """What the item held, or held last; a row that a filter does not keep has none."""
        return None if self.op == "LEAVE" else f"value {self.number}"

    def write(self, file_id: str) -> str:
        deleted = str(self.op in {"REMOVE", "EXPIRE", "LEAVE"}).lower()
        version = build_version(0, "2026-01-01T00:00:00.000", str(self.number))
        value = r"\N" if self.value is None else self.value
        return (
            f"S={self.key};,{version},{self.op},{self.key}-{self.number},2026-01-01 00:00:00.000000,{deleted},{file_id}"
            f",{self.key},{value}\n"
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["duckdb", "postgres"])
async def warehouse(request: pytest.FixtureRequest, s3: Any) -> AsyncIterator[Warehouse]:
    engine = DuckDBEngine() if request.param == "duckdb" else PostgresEngine()
    async with WarehouseServer(engine, s3, time.time) as server:
        yield Warehouse(server)


def make_pipeline(target: str, deletes: Any) -> Pipeline:
    columns = (
        Column("id", ("id",), RedshiftType.parse("VARCHAR(16)")),
        Column("value", ("value",), RedshiftType.parse("VARCHAR(16)")),
    )
    mirror = Storage(distkey="id", sortkey="AUTO", encode={"value": "ZSTD"})
    return Pipeline(target, target, ("id",), "public", target, columns, deletes=deletes, mirror=mirror)


@pytest.mark.parametrize("deletes", ["forget", "keep", "keep_expired"])
@pytest.mark.parametrize("seed", range(2))
async def test_mirror_and_views_are_those_of_the_winning_versions(
    warehouse: Warehouse, s3: Any, deletes: str, seed: int
) -> None:
    chance = random.Random(seed)
    pipeline = make_pipeline(f"t{seed}_{deletes}", deletes)
    await run(warehouse, [each.sql for each in ddl_sql(pipeline)])
    changes = [Change(chance.choice("abcde"), number, chance.choice(OPERATIONS)) for number in range(40)]
    chance.shuffle(changes)
    loaded: list[Change] = []
    while changes:
        parts = [[changes.pop() for _ in range(min(len(changes), chance.randint(1, 5)))] for _ in range(2)]
        files = [part for part in parts if part]
        await run(warehouse, Batch(pipeline, s3, files, Change.write).load_sql(1))
        loaded += [change for part in files for change in part]
        await check(warehouse, pipeline, loaded)


async def check(warehouse: Warehouse, pipeline: Pipeline, loaded: list[Change]) -> None:
    newest = {change.key: change for change in sorted(loaded, key=lambda change: change.number)}
    kept = KEPT[pipeline.deletes]
    there = {key for key, change in newest.items() if change.op in {"INSERT", "MODIFY"}}
    visible = there | {key for key, change in newest.items() if change.op in kept}
    expected = {key: (change.op, change.value if key in visible else None) for key, change in newest.items()}
    name = pipeline.target
    assert await table(warehouse, name) == expected
    assert await table(warehouse, f"{name}_current") == {key: expected[key] for key in there}
    if kept:
        assert await table(warehouse, f"{name}_all") == {key: expected[key] for key in visible}


@pytest.mark.parametrize("deletes", ["forget", "keep", "keep_expired"])
async def test_a_resync_deletes_by_the_same_policy(warehouse: Warehouse, s3: Any, deletes: str) -> None:
    pipeline = make_pipeline(f"resync_{deletes}", deletes)
    await run(warehouse, [each.sql for each in ddl_sql(pipeline)])
    changes = [Change("a", 1, "INSERT"), Change("b", 2, "EXPIRE"), Change("c", 3, "LEAVE")]
    await run(warehouse, Batch(pipeline, s3, [changes], Change.write).load_sql(1))
    await run(warehouse, [each.sql for each in tombstone_sql(pipeline, OWNER, 1, 1_767_225_600)])
    values = {key: value for key, (_, value) in (await table(warehouse, pipeline.target)).items()}
    assert values == {
        "a": "value 1" if deletes == "keep" else None, "b": None if deletes == "forget" else "value 2", "c": None,
    }  # fmt: skip


async def run(warehouse: Warehouse, sqls: list[str]) -> None:
    described = await warehouse.batch(*sqls)
    assert described["Status"] == "FINISHED", described


async def table(warehouse: Warehouse, name: str) -> dict[str, tuple[str, str | None]]:
    return {key: (op, value) for key, op, value in await warehouse.rows(f"SELECT id, _op, value FROM public.{name}")}
