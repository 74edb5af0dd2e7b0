"""The ledger's conditions are evaluated by a real DynamoDB API (moto's server)."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from fastetl.aws.ledger import Ledger
from fastetl.errors import LedgerError, StaleStepError
from fastetl.model import Backfill, Batch, Converted, Head, IngestError
from tests.conftest import Aws
from tests.load.test_batches import make_file

NOW_MS = 1_790_000_000_000


def file_id(n: int) -> str:
    return f"{n * 7919:08x}{n:024x}"


def make_batch(name: str, **changes: object) -> Batch:
    known: dict[str, object] = {
        "batch_id": name, "pipeline": "p", "layout_id": "l", "manifest_key": "m", "files_key": "f",
        "manifest_checksum": "c", "files": 1, "bytes": 1, "rows": 1, "changed_min": "a", "changed_max": "b",
    }  # fmt: skip
    return Batch(**(known | changes))


@pytest.fixture
async def ledger(aws: Aws) -> Ledger:
    return await aws.new_ledger()


async def waiting(ledger: Ledger, pipeline: str = "p") -> list[str]:
    return [file.file_id async for file in ledger.files.pending(pipeline)]


async def test_the_first_registration_stands(ledger: Ledger) -> None:
    first = make_file(file_id(1), created=5)
    assert await ledger.files.register(first) == first
    again = await ledger.files.register(msgspec.structs.replace(first, key="another", created=9))
    assert again == first
    assert await ledger.files.read([file_id(1), file_id(2)]) == {file_id(1): first}


async def test_pending_files_come_oldest_first_from_all_buckets(ledger: Ledger) -> None:
    files = [make_file(file_id(n), created=1_000 + (n * 37) % 100, bytes=n) for n in range(60)]
    await asyncio.gather(*(ledger.files.register(file) for file in files))
    await ledger.files.register(make_file(file_id(99), pipeline="q"))
    found = [file async for file in ledger.files.pending("p")]
    assert [file.created for file in found] == sorted(file.created for file in files)
    assert {file.file_id: file.bytes for file in found} == {file.file_id: file.bytes for file in files}


async def test_a_file_of_rejects_alone_does_not_wait(ledger: Ledger) -> None:
    await ledger.files.register(make_file(file_id(1), state="REJECTED", key=""))
    assert await waiting(ledger) == []


async def test_loaded_files_wait_no_longer_and_marking_repeats(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.files.register(make_file(file_id(n))) for n in range(120)))
    marked = [file_id(n) for n in range(110)]
    for _ in range(2):
        await ledger.files.mark_loaded(dict.fromkeys([*marked, file_id(999)], "b1"), now_ms=NOW_MS)
    assert sorted(await waiting(ledger)) == sorted(file_id(n) for n in range(110, 120))
    found = await ledger.files.read([file_id(n) for n in range(120)])
    assert {item.batch_id for item in found.values() if item.state == "LOADED"} == {"b1"}
    assert sum(item.state == "LOADED" for item in found.values()) == 110
    assert file_id(999) not in await ledger.files.read([file_id(999)])


async def test_a_loaded_file_is_never_quarantined_nor_a_quarantined_one_loaded(ledger: Ledger) -> None:
    for n in (1, 2):
        await ledger.files.register(make_file(file_id(n)))
    await ledger.files.mark_loaded({file_id(1): "b1"}, now_ms=NOW_MS)
    await ledger.files.mark_quarantined(file_id(1), "b2", "why")
    await ledger.files.mark_quarantined(file_id(2), "b2", "why")
    await ledger.files.mark_loaded({file_id(2): "b1"}, now_ms=NOW_MS)
    found = await ledger.files.read([file_id(1), file_id(2)])
    assert [found[file_id(n)].state for n in (1, 2)] == ["LOADED", "QUARANTINED"]


async def test_a_batch_opens_once(ledger: Ledger) -> None:
    head = await ledger.batches.create_head("p", "i")
    opened = await ledger.batches.open(head, [make_batch("b1")], now_ms=NOW_MS)
    assert opened == Head("p", 2, ("b1",), "i") == await ledger.batches.head("p")
    with pytest.raises(StaleStepError):
        await ledger.batches.open(head, [make_batch("b2")], now_ms=NOW_MS)
    with pytest.raises(StaleStepError):
        await ledger.batches.open(opened, [make_batch("b1")], now_ms=NOW_MS)
    with pytest.raises(StaleStepError):
        await ledger.batches.create_head("p", "j")


async def test_a_step_is_taken_once(ledger: Ledger) -> None:
    await ledger.batches.open(await ledger.batches.create_head("p", "i"), [make_batch("b1")], now_ms=NOW_MS)
    batch = await ledger.batches.read("b1")
    moved = await ledger.batches.advance(batch, state="SUBMITTING", attempt=1, steps=("lock", "bump"))
    assert await ledger.batches.read("b1") == moved
    with pytest.raises(StaleStepError):
        await ledger.batches.advance(batch, state="SUBMITTING", attempt=1)


async def test_a_split_replaces_the_parent_by_its_parts(ledger: Ledger) -> None:
    head = await ledger.batches.open(
        await ledger.batches.create_head("p", "i"), [make_batch("b1"), make_batch("b2")], now_ms=NOW_MS
    )
    parent = await ledger.batches.read("b1")
    head = await ledger.batches.open(head, [make_batch("b3"), make_batch("b4")], now_ms=NOW_MS, instead_of=parent)
    assert head.open == ("b2", "b3", "b4")
    assert (await ledger.batches.read("b1")).state == "SPLIT"


async def test_a_batch_of_the_same_files_takes_up_its_attempts(ledger: Ledger) -> None:
    head = await ledger.batches.open(await ledger.batches.create_head("p", "i"), [make_batch("b1")], now_ms=NOW_MS)
    batch = await ledger.batches.advance(await ledger.batches.read("b1"), state="SUBMITTING", attempt=7)
    head = await ledger.batches.close(head, batch, "QUARANTINED", now_ms=NOW_MS)
    assert head.open == ()
    await ledger.batches.open(head, [make_batch("b1", rows=5)], now_ms=NOW_MS)
    again = await ledger.batches.read("b1")
    assert (again.state, again.attempt, again.rows) == ("FORMED", 7, 5)


async def test_a_loaded_batch_resumes_what_fastetl_paused_but_not_an_operator(ledger: Ledger) -> None:
    for paused_by, left in (("fastetl", ""), ("operator", "maintenance")):
        head = await ledger.batches.create_head(paused_by, "i")
        head = await ledger.batches.change_head(head, paused="maintenance", paused_by=paused_by)
        name = f"b-{paused_by}"
        head = await ledger.batches.open(head, [make_batch(name, pipeline=paused_by)], now_ms=NOW_MS)
        head = await ledger.batches.close(head, await ledger.batches.read(name), "LOADED", now_ms=NOW_MS, loads=1)
        assert (head.paused, head.loads) == (left, 1)
        assert await ledger.batches.head(paused_by) == head


async def test_a_lost_head_is_rebuilt_from_the_open_batches(aws: Aws, ledger: Ledger) -> None:
    head = await ledger.batches.open(
        await ledger.batches.create_head("p", "i"), [make_batch("b1"), make_batch("b2")], now_ms=NOW_MS
    )
    await ledger.batches.close(head, await ledger.batches.read("b2"), "LOADED", now_ms=NOW_MS)
    client = await aws.client("dynamodb")
    await client.delete_item(TableName=ledger.table.name, Key={"pk": {"S": "P#p"}})
    assert (await ledger.batches.create_head("p", "j")).open == ("b1",)


async def test_an_open_batch_without_an_item_is_an_error_with_a_remedy(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="rebuild-ledger"):
        await ledger.batches.read("nowhere")


async def test_a_ledger_that_is_not_there_is_an_error(aws: Aws) -> None:
    missing = Ledger(await aws.client("dynamodb"), "missing")
    with pytest.raises(LedgerError, match="get_item: ResourceNotFoundException"):
        await missing.batches.head("p")
    with pytest.raises(LedgerError):
        await waiting(missing)


def make_backfill(epoch: int, export_id: str) -> Backfill:
    return Backfill("p", epoch, "s3://b/e", export_id, exported_at=1, files=2, items=3, split_bytes=4)


async def test_what_a_backfill_has_done_is_its_own(ledger: Ledger) -> None:
    first, second, other = make_backfill(1, "a"), make_backfill(1, "b"), make_backfill(11, "a")
    done = {"f": Converted("f", items=1, rows=2, rejects=3, files=4), "g": Converted("g", 5, 6, 7, 8)}
    for backfill in (other, first, second):
        await ledger.backfills.put(backfill)
    for each in done.values():
        await ledger.backfills.put_converted(first, each)
    assert await ledger.backfills.converted(first, [*done, "another"]) == done
    assert await ledger.backfills.scan_converted(first) == done
    for backfill in (second, other):
        assert await ledger.backfills.scan_converted(backfill) == await ledger.backfills.converted(backfill, done) == {}
    assert await ledger.backfills.read_all("p") == (first, second, other)
    assert await ledger.backfills.read("p", 1, second.name) == await ledger.backfills.read_latest("p") == second


async def test_items_keep_their_keys(ledger: Ledger) -> None:
    backfill = make_backfill(1, "a")
    await ledger.files.register(make_file(file_id(1), created=5))
    await ledger.batches.open(await ledger.batches.create_head("p", "i"), [make_batch("b1")], now_ms=NOW_MS)
    await ledger.backfills.put(backfill)
    await ledger.backfills.put_converted(backfill, Converted("f", 1, 2, 3, 4))
    await ledger.ingest_errors.put(IngestError("p", 1, "failed"))
    table = ledger.backfills._table
    answer = await table._client.scan(TableName=table.name)
    keys = {item["pk"]["S"]: item for item in answer["Items"]}
    # A running pipeline's items would not be found under other keys.
    name = "1ba3c523e770f3313cc91ab1"
    assert keys.keys() == {f"F#{file_id(1)}", "P#p", "O#p", "B#b1", f"E#p#1#{name}", "E#p", f"X#p#1#{name}#f", "I#p"}
    waits = keys[f"F#{file_id(1)}"]
    assert (waits["q"], waits["qk"]) == ({"S": "p#15"}, {"S": f"0000000000005#{file_id(1)}"})
