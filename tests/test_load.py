"""The second story on a real DynamoDB API, a real S3 API and real SQL: moto's server and DuckDB behind the Data API."""

from __future__ import annotations

import asyncio
import csv
import gzip
import hashlib
import io
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import msgspec
import pytest

from fastetl import manifest, statements
from fastetl.columns import Column, RedshiftType
from fastetl.config import Config, LoadPolicy, Pipeline, RedshiftTarget
from fastetl.ledger import Ledger
from fastetl.load import Loader, Step
from fastetl.local.data_api import WarehouseServer
from fastetl.local.duckdb_engine import DuckDBEngine
from fastetl.model import FileItem, Layout, build_version
from fastetl.redshift import Warehouse
from fastetl.s3 import Bucket
from tests.conftest import CREDENTIALS, Aws

LABEL = "2026-01-01T00:00:00.000"


def make_pipeline(**changes: Any) -> Pipeline:
    known: dict[str, Any] = {
        "name": "orders",
        "table": "orders",
        "keys": ("id",),
        "schema": "public",
        "target": "orders",
        "outputs": frozenset({"mirror", "log"}),
        "columns": (
            Column("id", ("id",), RedshiftType.parse("BIGINT")),
            Column("amount", ("amount",), RedshiftType.parse("DECIMAL(38,10)")),
            Column("note", ("note",), RedshiftType.parse("VARCHAR(20)")),
        ),
        "load": LoadPolicy(max_bytes=1),
        "redshift": RedshiftTarget(workgroup="local"),
    }
    return Pipeline(**(known | changes))


class Change(msgspec.Struct):
    """A row of a file, written by hand."""

    id: int
    sequence: int
    amount: str = "1"
    note: str = "x"
    op: str = "MODIFY"
    second: int = 0

    @property
    def changed_at(self) -> str:
        return f"2026-01-01 00:{self.second // 60:02d}:{self.second % 60:02d}"

    @property
    def event_id(self) -> str:
        return f"event-{self.sequence}"

    def row(self, file_id: str, columns: list[str]) -> list[str]:
        gone = self.op == "REMOVE"
        values = {
            "_key": f"N={self.id};", "_version": build_version(0, LABEL, str(self.sequence)), "_op": self.op,
            "_event_id": self.event_id, "_changed_at": f"{self.changed_at}.000000", "_deleted": str(gone).lower(),
            "_file": file_id, "id": str(self.id), "amount": r"\N" if gone else self.amount,
            "note": r"\N" if gone else self.note,
        }  # fmt: skip
        return [values[name] for name in columns]


class Plant:
    """A pipeline with everything it needs, and a clock that is moved by hand."""

    def __init__(self, config: Config, bucket: Bucket, ledger: Ledger, server: WarehouseServer, client: Any) -> None:
        self.config, self.bucket, self.ledger, self.server = config, bucket, ledger, server
        self.now = time.time()
        self.warehouse = Warehouse(client, config.pipelines[0].redshift)
        self.loader = self.new_loader()

    @property
    def pipeline(self) -> Pipeline:
        return self.config.pipelines[0]

    def new_loader(self, **changes: Any) -> Loader:
        pipeline = msgspec.structs.replace(self.pipeline, **changes)
        return Loader(
            self.config, pipeline, self.bucket, self.ledger, self.warehouse,
            clock=lambda: self.now, new_installation=lambda: "installation",
        )  # fmt: skip

    async def put(self, *changes: Change, layout: Layout | None = None, rows: int = -1) -> str:
        layout = layout or self.pipeline.layout
        names = "\n".join(change.event_id for change in changes)
        file_id = hashlib.blake2b(names.encode(), digest_size=16).hexdigest()
        text = io.StringIO()
        columns = [name for name, _ in layout.columns]
        csv.writer(text, lineterminator="\n").writerows(change.row(file_id, columns) for change in changes)
        body = gzip.compress(text.getvalue().encode(), mtime=0)
        key = manifest.data_key("", self.pipeline.name, LABEL, "2026-01-01 00", file_id, "gzip")
        layout_key = manifest.layout_key("", self.pipeline.name, layout.layout_id)
        await self.bucket.replace(layout_key, msgspec.json.encode(layout))
        await self.bucket.replace(key, body)
        item = FileItem(
            file_id=file_id, pipeline=self.pipeline.name, key=key, layout_id=layout.layout_id, checksum="",
            bytes=len(body), rows=len(changes) if rows < 0 else rows, rejects=0, rejects_key="", version_min="",
            version_max="", changed_min=f"{min(change.changed_at for change in changes)}.000000",
            changed_max=f"{max(change.changed_at for change in changes)}.000000",
            created=int(self.now * 1000),
        )  # fmt: skip
        await self.ledger.register(item)
        return file_id

    async def run(self, loader: Loader | None = None, *, until: Callable[[Step], bool] | None = None) -> list[str]:
        """Wake up until there is nothing to do (or until told), passing over delays; give the actions taken."""
        actions: list[str] = []
        waited = 0
        while waited < 200:
            step = await (loader or self.loader).wake_up()
            if step.progressed:
                actions.append(step.action)
                waited = 0
            if until and until(step):
                return actions
            if step.action == "idle":
                head = await self.ledger.head(self.pipeline.name)
                assert head is not None
                if not head.open or waited > 3:
                    return actions
                self.now += 4000
            if not step.progressed:
                waited += 1
                await asyncio.sleep(0.02)
        raise AssertionError(f"not settled: {actions}")

    async def sql(self, text: str) -> list[tuple[str, ...]]:
        return await self.warehouse.rows(await self.execute(text), 0)

    async def execute(self, text: str) -> str:
        statement_id = await self.warehouse.submit(
            [statements.Statement("test", text)],
            name="test",
            token=hashlib.sha256(text.encode() + str(time.time_ns()).encode()).hexdigest(),
        )
        while (run := await self.warehouse.describe(statement_id)).state == "RUNNING":
            await asyncio.sleep(0.01)
        assert run.state == "FINISHED", run
        return statement_id

    async def mirror(self) -> list[tuple[str, ...]]:
        return await self.sql('SELECT "id", "amount", "note" FROM "public"."orders_current" ORDER BY "id"')

    async def states(self) -> dict[str, str]:
        client = self.ledger._client
        answer = await client.scan(TableName=self.ledger.table)
        return {row["file_id"]["S"]: row["state"]["S"] for row in answer["Items"] if row["pk"]["S"].startswith("F#")}


@pytest.fixture
async def make_plant(aws: Aws) -> AsyncIterator[Callable[..., Any]]:
    servers: list[WarehouseServer] = []
    blocking = boto3.client("s3", endpoint_url=aws.endpoint_url, **CREDENTIALS)

    async def make(**changes: Any) -> Plant:
        server = WarehouseServer(DuckDBEngine(), blocking, time.time)
        await server.start()
        servers.append(server)
        name = await aws.new_bucket()
        ledger = await aws.new_ledger()
        config = Config(name, ledger.table, (make_pipeline(**changes),))
        client = await aws.client("redshift-data", endpoint_url=server.endpoint_url)
        plant = Plant(config, Bucket(await aws.client("s3"), name), ledger, server, client)
        await create_tables(plant)
        return plant

    yield make
    for server in servers:
        await server.stop()
    blocking.close()


async def create_tables(plant: Plant) -> None:
    statement_id = await plant.warehouse.submit(statements.ddl_sql(plant.pipeline), name="ddl", token="ddl")
    while (run := await plant.warehouse.describe(statement_id)).state == "RUNNING":
        await asyncio.sleep(0.01)
    assert run.state == "FINISHED", run


async def test_files_arrive_in_mirror_and_log_once(make_plant: Any) -> None:
    plant = await make_plant()
    exact = "1234567890123456789012345678.0123456789"
    one = await plant.put(Change(1, 10, amount=exact), Change(2, 11))
    two = await plant.put(Change(2, 12, note='a "b", c\nd'), Change(3, 13, note=""))
    assert await plant.run() == ["opened", "submitted", "loaded"]
    assert await plant.mirror() == [
        ("1", exact, "x"), ("2", "1.0000000000", 'a "b", c\nd'), ("3", "1.0000000000", ""),
    ]  # fmt: skip
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_log"') == [("4",)]
    assert await plant.states() == {one: "LOADED", two: "LOADED"}
    assert await plant.run() == []


async def test_nothing_is_loaded_before_a_threshold_is_crossed(make_plant: Any) -> None:
    plant = await make_plant(load=LoadPolicy(max_bytes=10**9, max_age_seconds=300))
    await plant.put(Change(1, 1))
    assert await plant.run() == []
    waiting = await plant.loader.waiting()
    assert (waiting.files, waiting.more) == (1, False)
    plant.now += 301
    assert await plant.run() == ["opened", "submitted", "loaded"]


async def test_an_operator_may_ask_for_a_load(make_plant: Any) -> None:
    plant = await make_plant(load=LoadPolicy(max_bytes=10**9, max_age_seconds=300))
    await plant.put(Change(1, 1))
    await plant.run()
    head = await plant.ledger.head("orders")
    await plant.ledger.change_head(head, load_requested=True)
    assert await plant.run() == ["opened", "submitted", "loaded"]
    assert not (await plant.ledger.head("orders")).load_requested


async def test_an_older_change_that_arrives_later_changes_nothing(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 100, note="new"), Change(2, 101, op="REMOVE"))
    await plant.run()
    await plant.put(Change(1, 99, note="old"), Change(2, 98, note="undead"))
    await plant.run()
    assert [row[0::2] for row in await plant.mirror()] == [("1", "new")]
    await plant.put(Change(2, 1000, note="again"))
    await plant.run()
    assert [row[0::2] for row in await plant.mirror()] == [("1", "new"), ("2", "again")]


async def test_a_tombstone_forgets_the_item(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1, note="secret"))
    await plant.run()
    await plant.put(Change(1, 2, op="REMOVE"))
    await plant.run()
    assert await plant.sql('SELECT "id", "note", "_deleted" FROM "public"."orders"') == [("1", "", "True")]


async def test_an_event_in_two_files_is_logged_once(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1), Change(2, 2))
    await plant.put(Change(2, 2), Change(3, 3))
    await plant.run()
    await plant.put(Change(3, 3), Change(4, 4))
    await plant.run()
    events = await plant.sql('SELECT "_event_id" FROM "public"."orders_log" ORDER BY "_event_id"')
    assert events == [("event-1",), ("event-2",), ("event-3",), ("event-4",)]


async def test_the_history_tells_from_when_to_when(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 3, op="REMOVE"), Change(1, 1, note="a"))
    await plant.put(Change(1, 2, note="b"))
    await plant.run()
    rows = await plant.sql('SELECT "note", "_valid_to" IS NULL FROM "public"."orders_history" ORDER BY "_version"')
    assert rows == [("a", "False"), ("b", "False")]


@pytest.mark.parametrize("seed", range(4))
async def test_the_history_is_what_happened_in_whatever_order_it_came(make_plant: Any, seed: int) -> None:
    """Random changes of many items, some within one second, delivered out of order and twice, against a model."""
    chance = random.Random(seed)
    changes = [
        Change(
            chance.randint(1, 30), sequence, note=f"n{sequence}", second=sequence // chance.randint(1, 9),
            op=chance.choice(("MODIFY", "MODIFY", "REMOVE")),
        )
        for sequence in range(1, 151)
    ]  # fmt: skip
    delivered = [*changes, *chance.sample(changes, 40)]
    chance.shuffle(delivered)
    plant = await make_plant()
    while delivered:
        size = chance.randint(1, 40)
        await plant.put(*delivered[:size])
        delivered = delivered[size:]
        if chance.random() < 0.4:
            await plant.run()
    await plant.run()
    expected = []
    for number in range(1, 31):
        own = [change for change in changes if change.id == number]
        for change, following in itertools.zip_longest(own, own[1:]):
            if change.op != "REMOVE":
                expected.append((change.note, change.changed_at, following.changed_at if following else ""))
    columns = '"note", CAST("_valid_from" AS VARCHAR), CAST("_valid_to" AS VARCHAR)'
    rows = await plant.sql(f'SELECT {columns} FROM "public"."orders_history"')
    assert sorted(rows) == sorted(expected)


async def test_files_of_two_layouts_are_loaded_apart_and_a_missing_column_is_null(make_plant: Any) -> None:
    plant = await make_plant()
    layout = plant.pipeline.layout
    older = msgspec.structs.replace(layout, columns=tuple(pair for pair in layout.columns if pair[0] != "note"))
    await plant.put(Change(1, 1, note="kept by a newer file"))
    await plant.run()
    await plant.put(Change(1, 2), Change(2, 3), layout=older)
    await plant.put(Change(3, 4, note="new"))
    assert await plant.run() == ["opened", "submitted", "loaded"] * 2
    assert [row[0::2] for row in await plant.mirror()] == [("1", ""), ("2", ""), ("3", "new")]


@pytest.mark.parametrize("poison", [{"amount": "not a number"}, {"note": "n" * 21}, {"rows": 7}])
async def test_a_poison_file_alone_is_quarantined_and_the_rest_is_loaded(make_plant: Any, poison: Any) -> None:
    plant = await make_plant()
    healthy = [await plant.put(Change(n, n)) for n in range(1, 6)]
    rows = poison.pop("rows", -1) if "rows" in poison else -1
    bad = await plant.put(Change(9, 9, **poison), rows=rows)
    # Alone it is tried again and again, until something else has loaded since.
    await plant.run(until=lambda step: step.action == "retry")
    assert (await plant.states())[bad] == "PENDING"
    await plant.put(Change(10, 10))
    actions = await plant.run()
    states = await plant.states()
    assert states.pop(bad) == "QUARANTINED", actions
    assert set(states.values()) == {"LOADED"}
    assert set(healthy) < set(states)
    assert [row[0] for row in await plant.mirror()] == ["1", "2", "3", "4", "5", "10"]


async def test_what_the_surroundings_break_pauses_and_resumes(make_plant: Any) -> None:
    plant = await make_plant()
    one = await plant.put(Change(1, 1))
    broken = plant.new_loader(load=LoadPolicy(max_bytes=1, pre_sql=('INSERT INTO "public"."missing" SELECT 1',)))
    await plant.run(broken, until=lambda step: step.action == "retry")
    head = await plant.ledger.head("orders")
    assert head.paused_by == "fastetl"
    assert "missing" in head.paused
    assert await plant.states() == {one: "PENDING"}
    plant.now += 4000
    assert (await plant.run())[-1] == "loaded"
    assert (await plant.ledger.head("orders")).paused == ""


async def test_an_operators_pause_holds(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1))
    head = await plant.ledger.create_head("orders", "installation")
    head = await plant.ledger.change_head(head, paused="maintenance", paused_by="operator")
    assert await plant.run() == []
    await plant.ledger.change_head(head, paused="", paused_by="")
    assert await plant.run() == ["opened", "submitted", "loaded"]


async def test_a_ledger_that_forgot_a_load_is_told_by_the_warehouse(make_plant: Any) -> None:
    plant = await make_plant()
    one = await plant.put(Change(1, 1))
    await plant.run()
    client = plant.ledger._client
    await client.delete_item(TableName=plant.ledger.table, Key={"pk": {"S": f"F#{one}"}})
    assert await plant.put(Change(1, 1)) == one
    two = await plant.put(Change(2, 2))
    assert "dissolved" in await plant.run()
    assert await plant.states() == {one: "LOADED", two: "LOADED"}
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_log"') == [("2",)]


async def test_a_lost_answer_is_resolved_and_nothing_is_loaded_twice(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1))
    await plant.run(until=lambda step: step.action == "submitted")
    head = await plant.ledger.head("orders")
    batch = await plant.ledger.batch(head.open[0])
    while (await plant.warehouse.describe(batch.statement_id)).state == "RUNNING":
        await asyncio.sleep(0.01)
    await plant.ledger.advance(batch, statement_id="00000000-0000-0000-0000-000000000000")
    assert await plant.run() == ["resolving", "resolving", "loaded"]
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_load_files"') == [("1",)]


async def test_a_statement_that_starts_after_its_fence_commits_nothing(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1))
    await plant.run(until=lambda step: step.action == "opened")
    head = await plant.ledger.head("orders")
    batch = await plant.ledger.batch(head.open[0])
    late = await plant.loader._load_sql(msgspec.structs.replace(batch, attempt=1))
    fence = statements.resolve_sql(plant.pipeline, batch.batch_id, 1)
    for name, planned in (("fence", fence), ("late", late)):
        statement_id = await plant.warehouse.submit(planned, name=name, token=name)
        while (run := await plant.warehouse.describe(statement_id)).state == "RUNNING":
            await asyncio.sleep(0.01)
    assert run.state == "FAILED"
    assert late[run.failed_index].step == "gate_fence"
    assert (await plant.run())[-1] == "loaded"
    assert (await plant.sql('SELECT "attempt" FROM "public"."orders_loads"')) == [("2",)]
