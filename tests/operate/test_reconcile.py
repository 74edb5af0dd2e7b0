"""Objects, ledger and warehouse held against each other, with every kind of difference made by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import orjson
import pytest

from fastetl.enrich.enricher import Enricher
from fastetl.errors import EventError, LedgerError
from fastetl.ingest.ingester import Ingest
from fastetl.ingest.store import build_file
from fastetl.keys import FAILURES_PREFIX
from fastetl.operate.operator import Operator
from fastetl.operate.rebuild import rebuild_ledger
from fastetl.operate.reconcile import Reconciler
from fastetl.operate.replay import parse_failure, replay_failures, replay_rejects
from tests.plant import Change, Plant

ARN = "arn:aws:dynamodb:us-east-1:1:table/orders/stream/2026-01-01T00:00:00.000"


def make_event(*numbers: int, note: str = "x", hour: int = 0) -> bytes:
    records = [
        {
            "eventID": f"{number:032x}",
            "eventName": "INSERT",
            "eventSource": "aws:dynamodb",
            "eventSourceARN": ARN,
            "dynamodb": {
                "ApproximateCreationDateTime": 1_767_225_600 + hour * 3600,
                "Keys": {"id": {"N": str(number)}},
                "NewImage": {"id": {"N": str(number)}, "note": {"S": note}},
                "SequenceNumber": str(10**21 + number),
            },
        }
        for number in numbers
    ]
    return orjson.dumps({"Records": records})


def new_ingest(plant: Plant) -> Ingest:
    return Ingest(plant.deployment(), Enricher(plant.pipeline))


def new_reconciler(plant: Plant) -> Reconciler:
    return Reconciler(plant.deployment())


def new_operator(plant: Plant) -> Operator:
    return Operator(plant.deployment())


async def test_all_is_where_it_should_be_hour_by_hour(make_plant: Any) -> None:
    plant = await make_plant()
    ingest = new_ingest(plant)
    await ingest.ingest(make_event(1, 2))
    await plant.run()
    await ingest.ingest(make_event(3, hour=1))
    await ingest.ingest(make_event(4, note="x" * 21, hour=1))
    whole = await new_reconciler(plant).reconcile()
    assert (whole.records, whole.rows, whole.rejects, whole.files) == (4, 3, 1, 2)
    assert (whole.loaded, whole.pending, whole.differences) == (1, 1, ())
    first = await new_reconciler(plant).reconcile("2026/01/01/00", "2026/01/01/01")
    assert (first.records, first.loaded, first.pending) == (2, 1, 0)


async def test_every_difference_is_told_with_its_remedy(make_plant: Any) -> None:
    plant = await make_plant()
    ingest = new_ingest(plant)
    files = [(await ingest.ingest(make_event(number))).file for number in range(1, 4)]
    assert all(files)
    await plant.run()
    waiting = (await ingest.ingest(make_event(7))).file
    rejected = (await ingest.ingest(make_event(8, note="x" * 21))).file
    lost = (await ingest.ingest(make_event(9))).file
    client, table = plant.ledger.table._client, plant.ledger.table.name
    await client.delete_item(TableName=table, Key={"pk": {"S": f"F#{waiting.file_id}"}})
    await plant.bucket.delete(rejected.rejects_key)
    await plant.bucket.delete(lost.key)
    await plant.execute(f"DELETE FROM public.orders_load_files WHERE file_id = '{files[0].file_id}'")
    await plant.execute(f"UPDATE public.orders_load_files SET row_count = 5 WHERE file_id = '{files[1].file_id}'")
    await plant.ledger.files.requeue((await plant.ledger.files.read([files[2].file_id]))[files[2].file_id])
    told = {each.file_id: each.what for each in (await new_reconciler(plant).reconcile()).differences}
    assert told == {
        waiting.file_id: "its object is in no ledger",
        lost.file_id: f"its object {lost.key} is gone",
        files[0].file_id: "the ledger says it is loaded, the warehouse does not",
        files[1].file_id: "1 rows were written and 5 loaded",
        files[2].file_id: "it is loaded, and PENDING in the ledger",
        rejected.file_id: f"0 of 1 rejects are in {rejected.rejects_key}",
    }


async def test_what_the_lifecycle_removed_after_its_load_is_no_difference(make_plant: Any) -> None:
    plant = await make_plant()
    ingest = new_ingest(plant)
    removed = (await ingest.ingest(make_event(1))).file
    await ingest.ingest(make_event(2))
    await plant.run()
    await plant.bucket.delete(removed.key)
    found = await new_reconciler(plant).reconcile()
    assert (found.records, found.rows, found.files, found.loaded, found.differences) == (2, 1, 1, 1, ())
    # A loaded file whose item has expired as well is known to the warehouse alone.
    client, table = plant.ledger.table._client, plant.ledger.table.name
    await client.delete_item(TableName=table, Key={"pk": {"S": f"F#{removed.file_id}"}})
    assert (await new_reconciler(plant).reconcile()).differences == ()


async def test_what_an_attempt_before_a_deploy_left_under_another_name_is_no_difference(make_plant: Any) -> None:
    plant = await make_plant()
    file = (await new_ingest(plant).ingest(make_event(1))).file
    await plant.run()
    described = (await plant.bucket.head(file.key)).metadata
    await plant.bucket.put(
        file.key.replace(".csv.gz", ".csv.zst"), iter([b"the same, compressed in another way"]), described
    )
    assert (await new_reconciler(plant).reconcile()).differences == ()


async def test_records_that_became_neither_row_nor_reject_are_told(make_plant: Any) -> None:
    plant = await make_plant()
    ingest = new_ingest(plant)
    file = (await ingest.ingest(make_event(1, 2, 3))).file
    assert (file.received, file.rows, file.rejects) == (3, 3, 0)
    rejected = (await ingest.ingest(make_event(4, note="x" * 21))).file
    assert (rejected.received, rejected.rows, rejected.rejects) == (1, 0, 1)
    assert build_file(await plant.bucket.head(file.key), 0).received == 3
    await plant.run()
    for tampered in (file, rejected):
        await plant.ledger.table._client.update_item(
            TableName=plant.ledger.table.name,
            Key={"pk": {"S": f"F#{tampered.file_id}"}},
            UpdateExpression="SET received = received + :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
    found = await new_reconciler(plant).reconcile()
    assert {each.file_id: each.what for each in found.differences} == {
        file.file_id: "4 records were received, and 3 rows and 0 rejects written",
        rejected.file_id: "2 records were received, and 0 rows and 1 rejects written",
    }
    assert (found.records, found.rows, found.rejects) == (6, 3, 1)


async def test_a_ledger_is_rebuilt_from_bucket_and_warehouse(make_plant: Any) -> None:
    plant = await make_plant()
    ingest = new_ingest(plant)
    await ingest.ingest(make_event(1))
    gone = (await ingest.ingest(make_event(2))).file
    await plant.run()
    await ingest.ingest(make_event(3))
    before = await plant.states()
    client, table = plant.ledger.table._client, plant.ledger.table.name
    for file_id in before:
        if file_id != gone.file_id:
            await client.delete_item(TableName=table, Key={"pk": {"S": f"F#{file_id}"}})
    await plant.execute(f"DELETE FROM public.orders_load_files WHERE file_id = '{gone.file_id}'")
    rebuilt = await rebuild_ledger(plant.deployment())
    assert (rebuilt.registered, rebuilt.marked_loaded, rebuilt.waiting_again) == (2, 1, 1)
    assert await plant.states() == before | {gone.file_id: "PENDING"}
    await plant.run()
    assert (await new_reconciler(plant).reconcile()).differences == ()
    assert [row[0] for row in await plant.mirror()] == ["1", "2", "3"]
    assert await plant.sql("SELECT COUNT(*) FROM public.orders_log") == [("3",)]


async def test_an_operator_retries_or_drops_what_is_in_quarantine(make_plant: Any) -> None:
    plant = await make_plant()
    operator = new_operator(plant)
    await plant.put(Change(1, 1))
    await plant.run()
    bad = [await plant.put(Change(number, number, note="x" * 21)) for number in (8, 9)]
    await plant.run(until=lambda step: step.action == "retry")
    await plant.put(Change(2, 2))
    await plant.run()
    assert {file.file_id for file in await operator.quarantined()} == set(bad)
    assert (await operator.status()).quarantined == 2
    await operator.retry(bad[0])
    assert (await operator.status()).pending_files == 1
    await operator.drop(bad[1])
    assert await operator.quarantined() == []
    with pytest.raises(LedgerError, match="is not in the quarantine of orders"):
        await operator.retry(bad[1])
    assert (await plant.states())[bad[1]] == "DROPPED"


async def test_a_pause_holds_and_ends(make_plant: Any) -> None:
    plant = await make_plant()
    operator = new_operator(plant)
    await plant.lose_head()
    with pytest.raises(LedgerError, match="has no HEAD yet"):
        await operator.pause("too early")
    await plant.run()
    await operator.pause("maintenance")
    await plant.put(Change(1, 1))
    assert await plant.run() == []
    status = await operator.status()
    assert (status.paused, status.paused_by, status.pending_files) == ("maintenance", "operator", 1)
    assert (status.loads, status.last_load) == (0, "")
    await operator.resume()
    await operator.load_now()
    assert (await operator.status()).load_requested
    assert await plant.run() == ["opened", "submitted", "loaded"]
    status = await operator.status()
    assert (status.loads, datetime.fromisoformat(status.last_load).timestamp()) == (1, int(plant.now))


async def test_what_lambda_gave_up_on_and_what_was_rejected_comes_once_more(make_plant: Any) -> None:
    plant = await make_plant()
    ingest = new_ingest(plant)
    failed = orjson.dumps({"version": "1.0", "payload": make_event(1, 2).decode()})
    await plant.bucket.replace(f"{FAILURES_PREFIX}mapping/shard/one", failed)

    async def ingest_for(_: str) -> Ingest:
        return ingest

    (replayed,) = await replay_failures(plant.config, plant.bucket, ingest_for)
    assert (replayed.records, replayed.rejects) == (2, 0)
    assert await replay_failures(plant.config, plant.bucket, ingest_for) == []
    refused = (await ingest.ingest(make_event(3, note="x" * 21))).file
    rejects = await new_operator(plant).rejects(refused.rejects_key)
    (again,) = await replay_rejects(refused.rejects_key, rejects, ingest, lambda: "1")
    assert (again.records, again.rejects) == (1, 1)
    await plant.run()
    assert [row[0] for row in await plant.mirror()] == ["1", "2"]
    for body in (b"no", b"{}", b"[]"):
        with pytest.raises(EventError, match="holds no event"):
            parse_failure(body, "key")


async def test_rejects_that_were_replayed_or_dropped_have_an_end(make_plant: Any) -> None:
    plant = await make_plant()
    ingest, operator, reconciler = new_ingest(plant), new_operator(plant), new_reconciler(plant)
    events = [make_event(1), make_event(2, note="x" * 21)]
    records = [record for event in events for record in orjson.loads(event)["Records"]]
    file = (await ingest.ingest(orjson.dumps({"Records": records}))).file
    rejects = await operator.rejects(file.rejects_key)
    lenient = tuple(msgspec.structs.replace(column, on_misfit="truncate") for column in plant.pipeline.columns)
    mended = Ingest(plant.deployment(columns=lenient), Enricher(plant.pipeline))
    (again,) = await replay_rejects(file.rejects_key, rejects, mended, lambda: "1")
    assert (again.rejects, again.file_id != file.file_id) == (0, True)
    assert (await operator.status()).rejects == 1
    for _ in range(2):  # repeating it changes nothing
        await operator.end_rejects(file.rejects_key)
    assert (await operator.status()).rejects == 0
    await plant.run()
    found = await reconciler.reconcile()
    assert found.differences == ()
    assert (await plant.ledger.files.read([file.file_id]))[file.file_id].rejects_ended
