"""Epochs outlive the ledger: what was begun is known again, and no change is stamped, or loaded, without it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from fastetl.backfill.backfiller import Backfiller
from fastetl.errors import ExportError, LedgerError, WarehouseError
from fastetl.ingest.ingester import Ingest
from fastetl.load import epochs
from fastetl.load.epochs import Epochs
from fastetl.operate import Operator, rebuild_ledger
from fastetl.versions import EpochStart
from tests.backfill.test_backfiller import Flow, item, lines
from tests.ingest.test_ingester import Unchanged
from tests.plant import LABEL, Change, Plant

ARN = f"arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/{LABEL}"
T0 = 1_767_225_600 + 60
"""A minute after the first second of 2026, in which `tests.plant.Change` happens."""


async def begin(plant: Plant) -> EpochStart:
    """Begin an epoch and let its T0 pass."""
    start = await Backfiller(plant.deployment()).begin_epoch()
    plant.now = start.starts_at + 100
    return start


async def ingest(plant: Plant, sequence: int, note: str) -> str:
    """Ingest a change of item 1 that happens now, in a fresh environment; give its version's epoch."""
    record = {
        "eventID": f"e{sequence}", "eventName": "MODIFY", "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": int(plant.now), "Keys": {"id": {"N": "1"}}, "SequenceNumber": str(sequence),
            "NewImage": {"id": {"N": "1"}, "amount": {"N": "1"}, "note": {"S": note}},
        },
    }  # fmt: skip
    outcome = await Ingest(plant.deployment(), Unchanged()).ingest({"Records": [record]})
    assert outcome.file is not None
    return outcome.file.version_min[:4]


async def refused(plant: Plant) -> None:
    """Run until an attempt has failed and the pipeline pauses."""
    assert "loaded" not in await plant.run(until=lambda step: bool(step.paused))
    assert (await plant.ledger.batches.head("orders")).paused


async def lose(plant: Plant, what: str) -> None:
    if what == "HEAD":
        await plant.lose_head()
        return
    client, table = plant.ledger.table._client, plant.ledger.table.name
    for row in (await client.scan(TableName=table))["Items"]:
        await client.delete_item(TableName=table, Key={"pk": row["pk"]})


async def test_an_epoch_is_in_the_warehouse_before_head_has_it(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant: Plant = await make_plant()

    async def refuse(*_: Any, **__: Any) -> None:
        raise LedgerError("not now")

    with monkeypatch.context() as patches:
        patches.setattr(type(plant.ledger.batches), "change_head", refuse)
        with pytest.raises(LedgerError):
            await begin(plant)
    assert await plant.sql('SELECT "epoch", "floor", "kind" FROM "public"."orders_epochs"') == [
        ("1", "0001#", "announced")
    ]
    # Nobody was told of it: what is stamped without it is no mistake.
    plant.now += 1000
    assert await ingest(plant, 1, "as before") == "0000"
    assert (await plant.run())[-1] == "loaded"
    second = await begin(plant)
    assert second.epoch == 2
    assert [start.epoch for start in (await plant.ledger.batches.head("orders")).epochs] == [2]
    assert await ingest(plant, 2, "later") == "0002"
    assert (await plant.run())[-1] == "loaded"


@pytest.mark.parametrize("what", ["HEAD", "ledger"])
@pytest.mark.parametrize("by", ["coordinator", "backfill", "rebuild-ledger"])
async def test_whoever_makes_head_again_knows_the_epochs(make_plant: Any, what: str, by: str) -> None:
    plant: Plant = await make_plant()
    await ingest(plant, 1, "first")
    await plant.run()
    start = await begin(plant)
    assert await ingest(plant, 2, "second") == "0001"
    await plant.run()
    await lose(plant, what)
    with pytest.raises(LedgerError, match="not known yet"):
        await ingest(plant, 3, "third")
    assert "not known yet" in (await Operator(plant.deployment()).status()).ingest_error
    match by:
        case "coordinator":
            await plant.run()
        case "backfill":
            assert (await Backfiller(plant.deployment()).last_epoch()) == start
        case "rebuild-ledger":
            await rebuild_ledger(plant.deployment())
    assert await ingest(plant, 3, "third") == "0001"
    await plant.run()
    assert (await plant.mirror())[0][2] == "third"
    assert (await Operator(plant.deployment()).status()).ingest_error == ""


async def test_a_ledger_under_another_name_is_not_believed(make_plant: Any) -> None:
    """As after a restore to an earlier point in time, which DynamoDB makes into another table."""
    plant: Plant = await make_plant()
    head = await plant.ledger.batches.head("orders")
    await begin(plant)
    current = await plant.ledger.batches.head("orders")
    await plant.ledger.batches.change_head(current, epochs=head.epochs, stack="bucket/ledger-before/orders")
    with pytest.raises(LedgerError, match="not known yet"):
        await ingest(plant, 1, "x")
    await plant.run()
    assert await ingest(plant, 1, "x") == "0001"


async def stamp_too_early(plant: Plant) -> None:
    """Begin an epoch, set the ledger back to before it in place, and ingest a change."""
    head = await plant.ledger.batches.head("orders")
    await begin(plant)
    current = await plant.ledger.batches.head("orders")
    await plant.ledger.batches.change_head(current, epochs=head.epochs)
    assert await ingest(plant, 1, "too early") == "0000"


async def test_a_change_that_is_stamped_too_early_pauses_until_a_resync(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    await stamp_too_early(plant)
    await refused(plant)
    status = await Operator(plant.deployment()).status()
    assert "fastetl resync" in status.paused
    assert [batch.step for batch in status.open_batches] == ["stamps"]
    # HEAD gets it right again, and what is stamped is stamped.
    await rebuild_ledger(plant.deployment())
    assert await ingest(plant, 2, "in time") == "0001"
    await Operator(plant.deployment()).resume()
    await refused(plant)
    assert "stamps" in (await Operator(plant.deployment()).status()).paused
    # A resync reads the table after its T0: whatever came before is in its export.
    start = await begin(plant)
    await Epochs(plant.deployment()).confirm(start.epoch, "resync")
    await Operator(plant.deployment()).resume()
    assert "loaded" in await plant.run()
    assert (await Operator(plant.deployment()).status()).paused == ""


async def test_late_older_changes_load_and_change_nothing(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    kept = Epochs(plant.deployment())
    head, start = await kept.announce(await plant.ledger.batches.head("orders"), T0)
    assert start == EpochStart(1, T0)
    await plant.ledger.batches.change_head(head, epochs=(start,))
    await kept.confirm(1, "backfill")
    await plant.put(Change(1, 10, note="new", second=60, epoch=1))
    await plant.put(Change(1, 11, note="old", second=59, epoch=0))
    assert (await plant.run())[-1] == "loaded"
    assert (await plant.mirror())[0][2] == "new"
    await plant.put(Change(1, 12, note="misstamped", second=60, epoch=0))
    await refused(plant)


async def test_a_warehouse_that_has_lost_its_epochs_pauses_and_is_given_them(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    await begin(plant)
    await plant.execute('DELETE FROM "public"."orders_epochs"')
    await ingest(plant, 1, "x")
    await refused(plant)
    assert "rebuild-ledger" in (await Operator(plant.deployment()).status()).paused
    await rebuild_ledger(plant.deployment())
    await Operator(plant.deployment()).resume()
    assert "loaded" in await plant.run()
    assert await plant.sql('SELECT "epoch", "kind" FROM "public"."orders_epochs"') == [("1", "backfill")]


async def test_an_epoch_that_ledger_and_warehouse_have_lost_is_known_from_the_files(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    start = await begin(plant)
    assert await ingest(plant, 1, "of the epoch") == "0001"
    # Both are set back to before it.
    await plant.execute('DELETE FROM "public"."orders_epochs"')
    await plant.ledger.batches.change_head(await plant.ledger.batches.head("orders"), epochs=())
    # With these rows in the mirror, it would ignore what is stamped without the epoch.
    await refused(plant)
    assert "rebuild-ledger" in (await Operator(plant.deployment()).status()).paused
    assert await ingest(plant, 2, "too early") == "0000"
    await rebuild_ledger(plant.deployment())
    assert (await plant.ledger.batches.head("orders")).epochs == (start,)
    assert await plant.sql('SELECT "epoch", "kind" FROM "public"."orders_epochs"') == [("1", "backfill")]
    assert await ingest(plant, 3, "in time") == "0001"
    # What was stamped without it meanwhile needs a resync.
    await Operator(plant.deployment()).resume()
    await plant.run(until=lambda step: bool(step.paused))
    assert "fastetl resync" in (await Operator(plant.deployment()).status()).paused


async def test_an_epoch_that_both_have_lost_waits_for_a_resync_where_newer_changes_are_loaded(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    await begin(plant)
    assert await ingest(plant, 1, "of the epoch") == "0001"
    await plant.execute('DELETE FROM "public"."orders_epochs"')
    client, table = plant.ledger.table._client, plant.ledger.table.name
    async for file in plant.ledger.files.scan("orders"):
        await client.delete_item(TableName=table, Key={"pk": {"S": f"F#{file.file_id}"}})
    await plant.ledger.batches.change_head(await plant.ledger.batches.head("orders"), epochs=())
    assert await ingest(plant, 2, "newest") == "0000"
    assert "loaded" in await plant.run()
    rebuilt = await rebuild_ledger(plant.deployment())
    assert (rebuilt.registered, rebuilt.awaits_resync) == (1, True)
    assert (await plant.ledger.batches.head("orders")).epochs == ()
    await refused(plant)
    assert "fastetl resync" in (await Operator(plant.deployment()).status()).paused
    assert (await plant.mirror())[0][2] == "newest"
    resync = await begin(plant)
    assert resync.epoch == 2
    await Epochs(plant.deployment()).confirm(resync.epoch, "resync")
    await Operator(plant.deployment()).resume()
    assert await ingest(plant, 3, "latest") == "0002"
    assert "loaded" in await plant.run()
    assert (await plant.mirror())[0][2] == "latest"
    assert not (await rebuild_ledger(plant.deployment())).awaits_resync


async def test_a_rebuilt_ledger_has_the_epochs_of_rows_that_nobody_else_knows(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    start = await begin(plant)
    await ingest(plant, 1, "of the epoch")
    assert "loaded" in await plant.run()
    await plant.execute('DELETE FROM "public"."orders_epochs"')
    await lose(plant, "HEAD")
    await rebuild_ledger(plant.deployment())
    assert (await plant.ledger.batches.head("orders")).epochs == (start,)
    assert await ingest(plant, 2, "latest") == "0001"
    assert "loaded" in await plant.run()
    assert (await plant.mirror())[0][2] == "latest"


async def test_two_commands_never_begin_one_epoch(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    kept, head = Epochs(plant.deployment()), await plant.ledger.batches.head("orders")
    _, first = await kept.announce(head, T0)
    _, second = await kept.announce(head, T0 + 1)
    assert (first, second) == (EpochStart(1, T0), EpochStart(2, T0 + 1))
    there = await kept._write(head, EpochStart(1, T0 + 2))
    assert [each.start for each in there] == [first, second]


@pytest.mark.parametrize("passed", [-1, 0, 1000])
async def test_what_was_only_announced_is_in_force_for_nobody(make_plant: Any, passed: int) -> None:
    """Given to HEAD after its T0 it would be in force in the past, for changes that were read without it."""
    plant: Plant = await make_plant()
    await Epochs(plant.deployment()).announce(await plant.ledger.batches.head("orders"), T0)
    plant.now = T0 + passed
    assert (await Epochs(plant.deployment()).restore()).epochs == ()
    await lose(plant, "HEAD")
    assert (await Epochs(plant.deployment()).head()).epochs == ()


@pytest.mark.parametrize("gate", ["kept", "emptied"])
async def test_epochs_that_neither_head_nor_the_warehouse_knows_are_refused(make_plant: Any, gate: str) -> None:
    plant: Plant = await make_plant()
    await begin(plant)
    assert await ingest(plant, 1, "later") == "0001"
    assert "loaded" in await plant.run()
    await plant.execute('DELETE FROM "public"."orders_epochs"')
    await lose(plant, "HEAD")
    if gate == "emptied":
        # As where only an export has the epoch, too.
        await plant.execute('UPDATE "public"."orders_gate" SET "source_epoch" = 0')
    for make in (Epochs(plant.deployment()).head, Epochs(plant.deployment()).restore, plant.loader.wake_up):
        with pytest.raises(
            WarehouseError, match=r"rows of epoch 1, which neither public\.orders_epochs nor HEAD knows"
        ):
            await make()
    with pytest.raises(LedgerError, match="not known yet"):
        await ingest(plant, 2, "not stamped")
    # The documented remedy; a resync begins with the next epoch.
    now = datetime.fromtimestamp(plant.now, UTC).strftime("%Y-%m-%d %H:%M:%S")
    await plant.execute(f"INSERT INTO \"public\".\"orders_epochs\" VALUES (1, '0001#', '{now}', 'backfill')")
    assert (await Epochs(plant.deployment()).head()).epochs == (EpochStart(1, int(plant.now)),)
    assert (await begin(plant)).epoch == 2
    assert await ingest(plant, 3, "latest") == "0002"
    assert "loaded" in await plant.run()
    assert (await plant.mirror())[0][2] == "latest"


async def test_an_epoch_that_changes_carry_is_in_force_whoever_lost_it(make_plant: Any) -> None:
    """The command that began it died before it was confirmed, and HEAD is set back afterwards."""
    plant: Plant = await make_plant()
    before = await plant.ledger.batches.head("orders")
    head, start = await Epochs(plant.deployment()).announce(before, T0)
    assert start is not None
    await plant.ledger.batches.change_head(head, epochs=(start,))
    plant.now = T0 + 100
    assert await ingest(plant, 1, "first") == "0001"
    assert "loaded" in await plant.run()
    assert await plant.sql('SELECT "kind" FROM "public"."orders_epochs"') == [("announced",)]
    await plant.ledger.batches.change_head(await plant.ledger.batches.head("orders"), epochs=before.epochs)
    assert await ingest(plant, 2, "too early") == "0000"
    await refused(plant)
    assert "stamps" in (await plant.ledger.batches.head("orders")).paused
    assert (await Epochs(plant.deployment()).restore()).epochs == (start,)


async def test_an_epoch_that_another_stack_alone_has_begun_waits_for_a_resync(make_plant: Any) -> None:
    """The target was taken over after it was announced: what this stack stamps without it is newer, and would lose."""
    plant: Plant = await make_plant()
    _, start = await Epochs(plant.deployment()).announce(await plant.ledger.batches.head("orders"), T0)
    assert start is not None
    plant.now = T0 + 100
    assert await ingest(plant, 2, "newest") == "0000"
    assert "loaded" in await plant.run()
    own = await plant.ledger.batches.head("orders")
    theirs = await plant.ledger.batches.change_head(own, epochs=(start,))
    assert await ingest(plant, 1, "older") == "0001"
    await plant.ledger.batches.change_head(theirs, epochs=())
    await refused(plant)
    assert "stamps" in (await plant.ledger.batches.head("orders")).paused
    # To rebuild the ledger is not enough: what was loaded without the epoch stays older than what carries it.
    await rebuild_ledger(plant.deployment())
    await Operator(plant.deployment()).resume()
    assert (await plant.ledger.batches.head("orders")).epochs == ()
    await refused(plant)
    assert (await plant.mirror())[0][2] == "newest"
    resync = await begin(plant)
    await Epochs(plant.deployment()).confirm(resync.epoch, "resync")
    await Operator(plant.deployment()).resume()
    assert await ingest(plant, 3, "latest") == "0002"
    assert "loaded" in await plant.run()
    assert (await plant.mirror())[0][2] == "latest"


async def test_a_pause_tells_its_latest_reason_and_an_operators_pause_its_own(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    owner = plant.deployment().owner
    await stamp_too_early(plant)
    await plant.execute('UPDATE "public"."orders_gate" SET "owner" = \'another\'')
    await refused(plant)
    first = await plant.ledger.batches.head("orders")
    assert "another stack" in first.paused
    await plant.execute(f'UPDATE "public"."orders_gate" SET "owner" = \'{owner}\'')
    plant.now += 4000
    await plant.run(until=lambda step: "stamps" in step.paused)
    second = await plant.ledger.batches.head("orders")
    assert "stamps" in second.paused
    assert second.probe_at == first.probe_at
    await plant.run(until=lambda step: step.action == "submitted")
    await Operator(plant.deployment()).pause("maintenance")
    await plant.run(until=lambda step: "stamps" in step.paused)
    assert (await plant.ledger.batches.head("orders")).paused == "maintenance"


async def test_a_command_waits_for_a_busy_warehouse_and_a_coordinator_asks_again_later(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant: Plant = await make_plant()
    start = await begin(plant)
    monkeypatch.setattr(epochs, "ASK_LIMIT_SECONDS", 0)
    assert (await Epochs(plant.deployment()).restore()).epochs == (start,)
    await lose(plant, "HEAD")
    with pytest.raises(WarehouseError, match="has not told"):
        await Epochs(plant.deployment()).head()


async def test_before_the_first_tables_there_are_no_epochs_and_without_theirs_nothing_is_known(make_plant: Any) -> None:
    plant: Plant = await make_plant()
    fresh = plant.deployment(target="nothing_yet")
    await lose(plant, "HEAD")
    assert (await Epochs(fresh).head()).epochs == ()
    await lose(plant, "HEAD")
    await plant.execute('DROP TABLE "public"."orders_epochs"')
    with pytest.raises(WarehouseError, match="does not exist"):
        await Epochs(plant.deployment()).head()
    assert await plant.ledger.batches.head("orders") is None


async def test_a_late_epoch_is_followed_by_one_in_time(make_plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate is held for an hour: by the time the epoch is written, its T0 has passed."""
    plant: Plant = await make_plant()
    announce, waits = Epochs.announce, [3600.0, 30.0]

    async def slowly(self: Epochs, *arguments: Any) -> Any:
        found = await announce(self, *arguments)
        plant.now += waits.pop(0)
        return found

    monkeypatch.setattr(Epochs, "announce", slowly)
    start = await Backfiller(plant.deployment()).begin_epoch()
    assert start.epoch == 2
    assert [each.epoch for each in (await plant.ledger.batches.head("orders")).epochs] == [2]


async def test_a_resync_that_is_given_up_mends_nothing(make_plant: Any, tmp_path: Any) -> None:
    flow = Flow(await make_plant(), tmp_path)
    await flow.epoch()
    kinds = 'SELECT "kind" FROM "public"."orders_epochs"'
    await flow.open(flow.export(lines(item(1, "x"))), resync=True)
    assert await flow.plant.sql(kinds) == [("resync",)]
    await flow.backfiller.give_up()
    assert await flow.plant.sql(kinds) == [("backfill",)]


async def test_statements_of_one_attempt_stay_the_same(make_plant: Any) -> None:
    """An attempt may be submitted again under its client token after HEAD has learnt of another epoch."""
    plant: Plant = await make_plant()
    await plant.put(Change(1, 1))
    await plant.run(until=lambda step: step.action == "submitted")
    head = await plant.ledger.batches.head("orders")
    batch = await plant.ledger.batches.read(head.open[0])
    planned = await plant.loader._planner.load(batch)
    await plant.ledger.batches.change_head(head, epochs=(EpochStart(1, T0),))
    assert await plant.new_loader()._planner.load(batch) == planned
    assert msgspec.structs.replace(batch, latest_epoch=1) != batch


@pytest.mark.parametrize(("late_seconds", "kept"), [(0, True), (1000, False)])
async def test_an_epoch_whose_head_was_lost_before_it_was_in_force_is_kept_or_the_command_fails(
    make_plant: Any, monkeypatch: pytest.MonkeyPatch, late_seconds: int, *, kept: bool
) -> None:
    plant: Plant = await make_plant()
    original = Epochs.confirm

    async def confirm(self: Epochs, *how: Any) -> None:
        await lose(plant, "HEAD")
        # As the coordinator does when it next wakes: what is only announced is not for it.
        assert (await Epochs(plant.deployment()).head()).epochs == ()
        await original(self, *how)
        plant.now += late_seconds

    monkeypatch.setattr(Epochs, "confirm", confirm)
    if kept:
        start = await Backfiller(plant.deployment()).begin_epoch()
        assert (await plant.ledger.batches.head("orders")).epochs == (start,)
        return
    with pytest.raises(ExportError, match="was lost while epoch 1 began"):
        await Backfiller(plant.deployment()).begin_epoch()
