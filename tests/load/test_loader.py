"""The second story on a real DynamoDB API, a real S3 API and real SQL: moto's server and DuckDB behind the Data API."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fastetl.config.model import LoadPolicy
from fastetl.errors import LedgerError, WarehouseError
from fastetl.load.plan import Planner
from fastetl.local.warehouse import copy, copy_source, data_api
from fastetl.local.warehouse.data_api_wire import ApiError
from fastetl.local.warehouse.engine import SqlError
from fastetl.sql.load import resolve_sql
from tests.plant import Change, create_tables


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
    waiting = await plant.loader.backlog()
    assert (waiting.files, waiting.more) == (1, False)
    plant.now += 301
    assert await plant.run() == ["opened", "submitted", "loaded"]


async def test_an_operator_may_ask_for_a_load(make_plant: Any) -> None:
    plant = await make_plant(load=LoadPolicy(max_bytes=10**9, max_age_seconds=300))
    await plant.put(Change(1, 1))
    await plant.run()
    head = await plant.ledger.batches.head("orders")
    await plant.ledger.batches.change_head(head, load_requested=True)
    assert await plant.run() == ["opened", "submitted", "loaded"]
    assert not (await plant.ledger.batches.head("orders")).load_requested


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


def deny(patch: pytest.MonkeyPatch, is_denied: Callable[[str], bool]) -> None:
    """Let S3 refuse COPY some objects, as Redshift says it."""
    read = copy_source.read_object

    def refuse(command: Any, s3: Any, url: str) -> bytes:
        if "/data/" in url and is_denied(url):
            what = "S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid 1,CanRetry 1"
            raise SqlError(f"{what}\n  code:      8001\n  context:   S3 key being read : {url}\n  query:     17")
        return read(command, s3, url)

    for module in (copy_source, copy):
        if hasattr(module, "read_object"):
            patch.setattr(module, "read_object", refuse)


async def test_only_objects_that_copy_may_not_read_are_set_aside(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = await make_plant()
    healthy = [await plant.put(Change(n, n)) for n in range(1, 12)]
    denied = await plant.put(Change(20, 20))
    deny(monkeypatch, lambda url: denied in url)
    actions = await plant.run(until=lambda step: step.action == "retry")
    # The message names the object: one split parts it from the rest, which is loaded first.
    assert (actions.count("split"), actions.count("loaded")) == (1, 1)
    assert {file: state for file, state in (await plant.states()).items() if state != "LOADED"} == {denied: "PENDING"}
    assert (await plant.ledger.batches.head("orders")).paused == ""
    await plant.put(Change(30, 30))
    await plant.run()
    states = await plant.states()
    assert states.pop(denied) == "QUARANTINED"
    assert set(states.values()) == {"LOADED"}
    assert set(healthy) < set(states)


async def test_a_pipeline_of_which_no_object_can_be_read_pauses_and_loses_nothing(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = await make_plant()
    files = [await plant.put(Change(n, n)) for n in range(1, 6)]
    with monkeypatch.context() as denying:
        deny(denying, lambda _: True)
        await plant.run(until=lambda step: bool(step.paused))
        head = await plant.ledger.batches.head("orders")
        assert (head.paused_by, "Access Denied" in head.paused) == ("fastetl", True)
        assert set((await plant.states()).values()) == {"PENDING"}
    await plant.run()
    assert await plant.states() == dict.fromkeys(files, "LOADED")
    assert (await plant.ledger.batches.head("orders")).paused == ""


async def test_what_the_infrastructure_breaks_pauses_and_resumes(make_plant: Any) -> None:
    plant = await make_plant()
    one = await plant.put(Change(1, 1))
    broken = plant.new_loader(load=LoadPolicy(max_bytes=1, pre_sql=('INSERT INTO "public"."missing" SELECT 1',)))
    await plant.run(broken, until=lambda step: step.action == "retry")
    head = await plant.ledger.batches.head("orders")
    assert head.paused_by == "fastetl"
    assert "missing" in head.paused
    assert await plant.states() == {one: "PENDING"}
    plant.now += 4000
    assert (await plant.run())[-1] == "loaded"
    assert (await plant.ledger.batches.head("orders")).paused == ""


@pytest.mark.parametrize(
    "message", ["Cluster is paused", "Secrets Manager cannot find the specified secret", "Cluster is resizing"]
)
async def test_a_call_that_is_refused_pauses_and_resumes(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    plant = await make_plant()
    one = await plant.put(Change(1, 1))

    async def refuse(*_: Any) -> Any:
        raise ApiError("ValidationException", message)

    kind, _ = data_api._OPERATIONS["BatchExecuteStatement"]
    with monkeypatch.context() as broken:
        broken.setitem(data_api._OPERATIONS, "BatchExecuteStatement", (kind, refuse))
        await plant.run(until=lambda step: step.action == "waiting")
        head = await plant.ledger.batches.head("orders")
        assert head.paused_by == "fastetl"
        assert message in head.paused
    assert (await plant.run())[-1] == "loaded"
    assert (await plant.ledger.batches.head("orders")).paused == ""
    assert await plant.states() == {one: "LOADED"}


async def test_a_connection_that_is_refused_pauses_and_resumes(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that has expired: calls are taken, and their statements end without any of them having begun."""
    plant = await make_plant()
    one = await plant.put(Change(1, 1))

    def connect(user: str = "") -> Any:
        raise SqlError('FATAL: password authentication failed for user "loader"')

    with monkeypatch.context() as broken:
        broken.setattr(plant.server._engine, "connect", connect)
        for _ in range(100):
            await plant.loader.wake_up()
            if (head := await plant.ledger.batches.head("orders")).paused:
                break
            await asyncio.sleep(0.05)
        assert head.paused_by == "fastetl"
        assert "password authentication failed" in head.paused
    plant.now += 4000
    assert (await plant.run())[-1] == "loaded"
    assert (await plant.ledger.batches.head("orders")).paused == ""
    assert await plant.states() == {one: "LOADED"}


async def test_a_mirror_that_is_gone_pauses_until_it_is_there_again(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1))
    await plant.run()
    await plant.execute('DROP VIEW "public"."orders_current"')
    await plant.execute('DROP TABLE "public"."orders"')
    two = await plant.put(Change(2, 2))
    await plant.run(until=lambda step: step.action == "retry")
    head = await plant.ledger.batches.head("orders")
    assert head.paused_by == "fastetl"
    assert "orders" in head.paused
    assert (await plant.states())[two] == "PENDING"
    await create_tables(plant)
    plant.now += 4000
    assert (await plant.run())[-1] == "loaded"
    assert (await plant.ledger.batches.head("orders")).paused == ""
    assert [row[0] for row in await plant.mirror()] == ["2"]


@pytest.mark.parametrize("lost", [1, 2])
async def test_files_whose_items_are_lost_are_named_when_their_batch_is_to_be_split(make_plant: Any, lost: int) -> None:
    """Their rows are in no other batch: splitting the rest would leave them out for ever."""
    plant = await make_plant()
    changes = [Change(1, 1), Change(2, 2, note="n" * 21)]
    files = [await plant.put(change) for change in changes]
    await plant.run(until=lambda step: step.action == "opened")
    for file_id in files[:lost]:
        table = plant.ledger.table
        await table._client.delete_item(TableName=table.name, Key={"pk": {"S": f"F#{file_id}"}})
    with pytest.raises(LedgerError, match="fastetl rebuild-ledger"):
        await plant.run()
    for change in changes[:lost]:
        await plant.put(change)
    await plant.run(until=lambda step: step.action == "retry")
    assert await plant.states() == {files[0]: "LOADED", files[1]: "PENDING"}


async def test_a_suspect_that_is_tried_for_months_keeps_its_manifest(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket's lifecycle deletes manifests that nobody has written for a month."""
    plant = await make_plant()
    await plant.put(Change(1, 1, note="n" * 21))
    await plant.run(until=lambda step: step.action == "retry")
    head = await plant.ledger.batches.head("orders")
    batch = await plant.ledger.batches.read(head.open[0])
    kept = {key: await plant.bucket.get(key) for key in (batch.manifest_key, batch.files_key)}
    written: dict[str, bytes] = {}
    original = type(plant.bucket).replace

    async def replace(self: Any, key: str, body: bytes, **how: Any) -> Any:
        written[key] = body
        return await original(self, key, body, **how)

    monkeypatch.setattr(type(plant.bucket), "replace", replace)
    plant.now += 4000
    await plant.run(until=lambda step: step.action == "retry")
    assert kept.items() <= written.items()


@pytest.mark.parametrize("when", ["before", "in the middle"])
async def test_a_gate_without_its_row_pauses_until_the_row_is_there_again(make_plant: Any, when: str) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1))
    await plant.run()
    two = await plant.put(Change(2, 2))
    if when == "before":
        await plant.execute('DELETE FROM "public"."orders_gate"')
    else:
        await plant.run(until=lambda step: step.action == "opened")
        await plant.execute('DELETE FROM "public"."orders_gate"')
    for _ in range(20):
        await plant.loader.wake_up()
        await asyncio.sleep(0.05)
    head = await plant.ledger.batches.head("orders")
    assert head.paused_by == "fastetl"
    assert "fastetl ddl --apply" in head.paused
    assert (await plant.states())[two] == "PENDING"
    await create_tables(plant)
    plant.now += 4000
    assert (await plant.run())[-1] == "loaded"
    assert (await plant.ledger.batches.head("orders")).paused == ""
    assert [row[0] for row in await plant.mirror()] == ["1", "2"]


async def test_a_repaired_file_from_quarantine_overwrites_nothing_newer(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1, note="first"), Change(2, 2, note="first"))
    await plant.run()
    too_long = "n" * 30
    bad = await plant.put(Change(1, 5, note=too_long), Change(2, 6, note=too_long), Change(3, 7, note=too_long))
    await plant.run(until=lambda step: step.action == "retry")
    await plant.put(Change(1, 9, note="newest"), Change(3, 10, op="REMOVE"))
    await plant.run()
    assert (await plant.states())[bad] == "QUARANTINED"
    # Repaired: the object under the same key now holds the notes as far as they fit.
    file = (await plant.ledger.files.read([bad]))[bad]
    body = gzip.decompress(await plant.bucket.get(file.key)).replace(too_long.encode(), b"repaired")
    await plant.bucket.replace(file.key, gzip.compress(body, mtime=0))
    await plant.ledger.files.requeue(file)
    assert (await plant.run())[-1] == "loaded"
    assert [row[0::2] for row in await plant.mirror()] == [("1", "newest"), ("2", "repaired")]
    events = await plant.sql('SELECT "_event_id" FROM "public"."orders_log"')
    assert sorted(events) == [(f"event-{number}",) for number in (1, 10, 2, 5, 6, 7, 9)]


async def test_an_operators_pause_holds(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1))
    head = await plant.ledger.batches.head("orders")
    head = await plant.ledger.batches.change_head(head, paused="maintenance", paused_by="operator")
    assert await plant.run() == []
    await plant.ledger.batches.change_head(head, paused="", paused_by="")
    assert await plant.run() == ["opened", "submitted", "loaded"]


async def test_a_ledger_that_forgot_a_load_is_told_by_the_warehouse(make_plant: Any) -> None:
    plant = await make_plant()
    one = await plant.put(Change(1, 1))
    await plant.run()
    client = plant.ledger.table._client
    await client.delete_item(TableName=plant.ledger.table.name, Key={"pk": {"S": f"F#{one}"}})
    assert await plant.put(Change(1, 1)) == one
    two = await plant.put(Change(2, 2))
    assert "dissolved" in await plant.run()
    assert await plant.states() == {one: "LOADED", two: "LOADED"}
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_log"') == [("2",)]


async def test_a_lost_answer_is_resolved_and_nothing_is_loaded_twice(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1))
    await plant.run(until=lambda step: step.action == "submitted")
    head = await plant.ledger.batches.head("orders")
    batch = await plant.ledger.batches.read(head.open[0])
    while (await plant.loading.describe(batch.statement_id)).state == "RUNNING":
        await asyncio.sleep(0.01)
    await plant.ledger.batches.advance(batch, statement_id="00000000-0000-0000-0000-000000000000")
    assert await plant.run() == ["resolving", "resolving", "loaded"]
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_load_files"') == [("1",)]


async def test_a_statement_that_starts_after_its_fence_commits_nothing(make_plant: Any) -> None:
    plant = await make_plant()
    await plant.put(Change(1, 1))
    await plant.run(until=lambda step: step.action == "opened")
    head = await plant.ledger.batches.head("orders")
    batch = await plant.ledger.batches.read(head.open[0])
    late = await Planner(plant.deployment()).load(msgspec.structs.replace(batch, attempt=1))
    fence = resolve_sql(plant.pipeline, plant.deployment().owner, batch.batch_id, 1, "2026-01-01 00:00:00")
    for name, planned in (("fence", fence), ("late", late)):
        statement_id = await plant.warehouse.submit(planned, name=name, token=(name,))
        while (run := await plant.warehouse.describe(statement_id)).state == "RUNNING":
            await asyncio.sleep(0.01)
    assert run.state == "FAILED"
    assert late[run.failed_index].step == "gate_fence"
    assert (await plant.run())[-1] == "loaded"
    assert (await plant.sql('SELECT "attempt" FROM "public"."orders_loads"')) == [("2",)]


async def test_an_attempt_that_cannot_be_looked_for_is_found_by_its_token(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ListStatements is denied: the pipeline goes on all the same, and nothing runs twice."""
    plant = await make_plant()
    await plant.put(Change(1, 1))

    async def denied(_: str) -> str:
        raise WarehouseError("list_statements: AccessDeniedException: not authorized", code="AccessDeniedException")

    monkeypatch.setattr(plant.loading, "find", denied)
    await plant.run(until=lambda step: step.action == "submitted")
    head = await plant.ledger.batches.head("orders")
    batch = await plant.ledger.batches.read(head.open[0])
    await plant.ledger.batches.advance(batch, state="SUBMITTING", statement_id="")
    assert (await plant.loader.wake_up()).batch.statement_id == batch.statement_id
    assert (await plant.run())[-1] == "loaded"
    # Long afterwards, the token is forgotten as well, and the warehouse is asked.
    await plant.put(Change(2, 2))
    await plant.run(until=lambda step: step.action == "submitted")
    head = await plant.ledger.batches.head("orders")
    batch = await plant.ledger.batches.read(head.open[0])
    await plant.ledger.batches.advance(batch, state="SUBMITTING", statement_id="")
    plant.now += 5 * 3600
    assert await plant.run() == ["resolving", "resolving", "loaded"]
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders_load_files"') == [("2",)]


async def test_a_file_is_blamed_although_the_warehouse_numbers_its_queries_otherwise(make_plant: Any) -> None:
    """As on a provisioned cluster: the Data API's query id finds no row of SYS_LOAD_ERROR_DETAIL."""
    plant = await make_plant()
    plant.server.query_id_skew = 7_000_000
    poison = await plant.put(Change(1, 1, amount="not a number"))
    healthy = [await plant.put(Change(number, number)) for number in range(2, 7)]
    await plant.run(until=lambda step: step.action == "split")
    head = await plant.ledger.batches.head("orders")
    batches = [await plant.ledger.batches.read(batch_id) for batch_id in head.open]
    assert [batch.files for batch in batches] == [1, len(healthy)]
    # Alone it is tried again and again, until something else has loaded since.
    await plant.run(until=lambda step: step.action == "retry")
    assert (await plant.states())[poison] == "PENDING"
    assert {(await plant.states())[each] for each in healthy} == {"LOADED"}


@pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException"])
async def test_a_poison_file_is_found_by_halves_where_load_errors_may_not_be_read(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    plant = await make_plant()
    submit = plant.loading.submit

    async def refuse_errors(statements: Any, **how: Any) -> str:
        if statements[0].step == "load_errors":
            raise WarehouseError(f"batch_execute_statement: {code}: no", code=code)
        return await submit(statements, **how)

    monkeypatch.setattr(plant.loading, "submit", refuse_errors)
    poison = await plant.put(Change(1, 1, amount="not a number"))
    healthy = [await plant.put(Change(number, number)) for number in range(2, 7)]
    loaded = 0
    while loaded < len(healthy):
        await plant.run(until=lambda step: step.action in {"loaded", "retry"})
        states = await plant.states()
        loaded = list(states.values()).count("LOADED")
    assert states[poison] == "PENDING"


async def test_files_with_copys_own_marker_are_loaded_beside_those_with_todays(make_plant: Any) -> None:
    plant = await make_plant()
    older = msgspec.structs.replace(plant.pipeline.layout, null_marker=r"\N")
    assert plant.pipeline.layout.null_marker != older.null_marker
    await plant.put(Change(1, 1), Change(2, 2), layout=older)
    await plant.put(Change(1, 3, op="REMOVE"), layout=older)
    await plant.put(Change(2, 4, op="REMOVE"), Change(3, 5))
    await plant.run()
    tombstones = 'SELECT "id", "amount", "note" FROM "public"."orders" WHERE "_deleted" ORDER BY "id"'
    assert await plant.sql(tombstones) == [("1", "", ""), ("2", "", "")]
    assert await plant.sql('SELECT COUNT(*) FROM "public"."orders" WHERE "note" IS NULL') == [("2",)]
    assert await plant.mirror() == [("3", "1.0000000000", "x")]
