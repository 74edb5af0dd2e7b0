"""Batches that stay open for months, and files that wait for so long that the bucket has moved or deleted things."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fastetl.aws.s3 import RefusedError
from fastetl.config.model import LoadPolicy
from fastetl.errors import LedgerError
from fastetl.load import steps
from fastetl.load.decide import LAST_DELAY_SECONDS
from fastetl.load.loader import Loader
from fastetl.load.steps import RESTORE_POLL_SECONDS
from fastetl.operate.operator import Operator
from tests.plant import Change
from tests.simulation.bench import Bench, settle
from tests.simulation.fake_s3 import ARCHIVES_SECONDS, DAY, EXPIRES_SECONDS, EXPIRING, RESTORE_SECONDS
from tests.simulation.fake_warehouse import SqlError
from tests.template import read_template, render, resolve

MONTH = 31 * DAY


def test_the_stand_in_ages_as_the_template_says() -> None:
    rules = resolve(read_template())["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    of = {render(rule["Prefix"]).removeprefix("${Prefix}"): rule for rule in rules if "Prefix" in rule}
    assert {prefix for prefix, rule in of.items() if "ExpirationInDays" in rule} == set(EXPIRING)
    assert of["manifests/"]["ExpirationInDays"] * DAY == EXPIRES_SECONDS
    (moved,) = of["data/"]["Transitions"]
    assert moved["StorageClass"] == "GLACIER"
    assert read_template()["Parameters"]["DaysUntilGlacier"]["Default"] * DAY == ARCHIVES_SECONDS


async def until(loader: Loader, *actions: str) -> None:
    """Wake up, and take just these steps."""
    assert [(await loader.wake_up()).action for _ in actions] == list(actions)


async def pause_for_a_month(bench: Bench) -> None:
    """Pause by an operator, and wake up each day; everything that may expire does."""
    operator = Operator(bench.deployment())
    await operator.pause("a long holiday")
    for _ in range(31):
        await bench.new_loader().wake_up()
        await asyncio.sleep(DAY)
        bench.s3.expire()
    assert not [key for _, key in bench.s3.objects if key.startswith("manifests/")]
    await operator.resume()


async def formed(bench: Bench) -> None:
    await bench.put()
    await until(bench.new_loader(), "opened")


async def failed_by_chance(bench: Bench) -> None:
    await bench.put()
    bench.warehouse.trouble = drop_session
    await settle(bench.new_loader(), until="retry")
    bench.warehouse.trouble = lambda *_: None


async def lost(bench: Bench) -> None:
    """An attempt of which nobody knows how it ended, since the pause lasted longer than the Data API remembers."""
    await bench.put()
    await until(bench.new_loader(), "opened", "submitted")


async def loaded_by_another(bench: Bench) -> None:
    """The gate refuses a batch of which a file is loaded: what is asked then reads the batch's list of files."""
    file_id = await bench.put()
    await settle(bench.new_loader())
    await bench.ledger.files.requeue((await bench.ledger.files.read([file_id]))[file_id])
    await bench.put()
    await settle(bench.new_loader(), until="resolving")


def drop_session(step: str, _sql: str) -> None:
    if step == "copy":
        raise SqlError("server closed the connection unexpectedly")


STATES = {
    "FORMED": formed, "RETRY": failed_by_chance, "SUBMITTED": lost, "RESOLVING": loaded_by_another,
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_a_batch_in_any_state_outlives_its_manifest(state: str) -> None:
    bench = Bench()

    async def test() -> None:
        await STATES[state](bench)
        head = await bench.ledger.batches.head(bench.pipeline.name)
        assert head is not None
        assert [(await bench.ledger.batches.read(each)).state for each in head.open] == [state]
        await pause_for_a_month(bench)
        await bench.put()
        await settle(bench.new_loader())

    bench.run(test())
    assert set(bench.states().values()) == {"LOADED"}
    logged = [row["_event_id"] for row in bench.rows("_log")]
    assert sorted(logged) == sorted(bench.source.changes)


def test_a_suspect_of_a_quiet_month_comes_to_its_end() -> None:
    bench = Bench()

    async def test() -> None:
        bad = await bench.put(bench.write(healthy=False))
        loader = bench.new_loader()
        await settle(loader, until="retry")
        for _ in range(31):
            await loader.wake_up()
            await asyncio.sleep(DAY)
            bench.s3.expire()
        good = await bench.put()
        await settle(loader)
        assert bench.states() == {bad: "QUARANTINED", good: "LOADED"}

    bench.run(test())


def test_what_the_ledger_lacks_is_read_from_the_bucket_as_long_as_it_is_there() -> None:
    bench = Bench()

    async def test() -> None:
        file_id = await bench.put()
        loader = bench.new_loader()
        await until(loader, "opened")
        del bench.dynamodb.items[f"F#{file_id}"]
        await asyncio.sleep(2 * DAY)
        written = {at: bench.s3.objects[at] for at in bench.s3.objects if at[1].startswith("manifests/")}
        await until(loader, "submitted")
        again = {at: bench.s3.objects[at] for at in written}
        assert {at: stored.content for at, stored in again.items()} == {
            at: stored.content for at, stored in written.items()
        }
        assert all(again[at].written_at > stored.written_at for at, stored in written.items())

    bench.run(test())


def test_what_is_neither_in_the_ledger_nor_in_the_bucket_is_told_with_a_remedy() -> None:
    bench = Bench()

    async def test() -> None:
        file_id = await bench.put()
        loader = bench.new_loader()
        await until(loader, "opened")
        del bench.dynamodb.items[f"F#{file_id}"]
        await asyncio.sleep(MONTH)
        bench.s3.expire()
        with pytest.raises(LedgerError, match=r"manifest of batch .* is gone.*run `fastetl rebuild-ledger`"):
            await loader.wake_up()

    bench.run(test())


@pytest.mark.parametrize("at_once", [1, 500])
def test_files_that_went_to_an_archive_are_asked_for_and_waited_for(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is asked for once; younger files load meanwhile; nothing counts as bad data."""
    monkeypatch.setattr(steps, "MARKED_AT_ONCE", at_once)
    bench = Bench()
    asked: list[str] = []
    restore = bench.s3.restore_object

    def counting(**arguments: Any) -> Any:
        asked.append(arguments["Key"])
        return restore(**arguments)

    bench.s3.restore_object = counting  # type: ignore[method-assign]

    async def test() -> None:
        old = [await bench.put() for _ in range(2)]
        await asyncio.sleep(ARCHIVES_SECONDS)
        assert bench.s3.archive() == 2
        old.append(await bench.put())
        loader = bench.new_loader()
        begun = bench.loop.time()
        seen: list[str] = []
        while "restoring" not in seen:
            seen.append((await loader.wake_up()).action)
            await asyncio.sleep(1)
        new = await bench.put()
        while bench.states()[new] != "LOADED":
            seen.append((await loader.wake_up()).action)
            await asyncio.sleep(60)
        assert bench.loop.time() - begun < RESTORE_SECONDS / 2
        assert {bench.states()[file_id] for file_id in old} == {"PENDING"}
        while set(bench.states().values()) != {"LOADED"}:
            seen.append((await loader.wake_up()).action)
            await asyncio.sleep(60)
        assert bench.loop.time() - begun < RESTORE_SECONDS + RESTORE_POLL_SECONDS + LAST_DELAY_SECONDS
        assert not {"split", "quarantined"} & set(seen)
        assert sum(attempt.status == "FAILED" for attempt in bench.attempts()) == 1

    bench.run(test())
    assert len(asked) == len(set(asked)) == 2


def test_a_file_in_an_archive_is_never_bad_data_whatever_copy_says_of_it() -> None:
    bench = Bench()
    hidden = [True]

    def hide(step: str, _sql: str) -> None:
        if step == "copy" and hidden[0]:
            raise SqlError("Load into table 'fastetl_staged' failed. Check 'sys_load_error_detail' for details.")

    async def test() -> None:
        old = await bench.put()
        await asyncio.sleep(ARCHIVES_SECONDS)
        bench.s3.archive()
        loader = bench.new_loader(load=LoadPolicy(max_bytes=1, max_files=1))
        bench.warehouse.trouble = hide
        await settle(loader, until="retry")
        hidden[0] = False
        new = await bench.put()
        await settle(loader, until="loaded")
        hidden[0] = True
        await asyncio.sleep(LAST_DELAY_SECONDS)
        await settle(loader, until="restoring")
        assert bench.states() == {old: "PENDING", new: "LOADED"}
        hidden[0] = False
        await settle(loader)
        assert bench.states() == {old: "LOADED", new: "LOADED"}

    bench.run(test())


def test_a_pipeline_that_may_not_ask_for_files_pauses_and_says_so() -> None:
    bench = Bench()

    def refuse(**_: Any) -> Any:
        error = {"Error": {"Code": "AccessDenied", "Message": "no"}}
        raise ClientError(error, "restore_object")

    restore, bench.s3.restore_object = bench.s3.restore_object, refuse  # type: ignore[method-assign]

    async def test() -> None:
        file_id = await bench.put()
        await asyncio.sleep(ARCHIVES_SECONDS)
        bench.s3.archive()
        loader = bench.new_loader()
        while not (head := await bench.ledger.batches.head(bench.pipeline.name)) or not head.paused:
            await loader.wake_up()
            await asyncio.sleep(10)
        assert re.search("in an archive, and cannot be asked for: .*AccessDenied", head.paused)
        bench.s3.restore_object = restore  # type: ignore[method-assign]
        await settle(loader)
        assert bench.states() == {file_id: "LOADED"}
        head = await bench.ledger.batches.head(bench.pipeline.name)
        assert head is not None
        assert head.paused == ""

    bench.run(test())


async def test_an_archived_file_is_loaded_after_it_was_asked_for(make_plant: Any) -> None:
    """The same on S3's and DynamoDB's own protocols; this archive gives back at once what it is asked for."""
    plant = await make_plant()
    file_id = await plant.put(Change(1, 1))
    (key,) = [key async for key in plant.bucket.list_keys("data/")]
    await plant.bucket._client.put_object(
        Bucket=plant.config.bucket, Key=key, Body=await plant.bucket.get(key), StorageClass="GLACIER"
    )
    actions = await plant.run()
    assert "restoring" in actions
    assert actions[-1] == "loaded"
    assert await plant.states() == {file_id: "LOADED"}


async def test_an_archive_is_asked_once_and_a_refusal_is_told(make_plant: Any) -> None:
    plant = await make_plant()
    client = plant.bucket._client
    await client.put_object(Bucket=plant.config.bucket, Key="data/a", Body=b"x", StorageClass="DEEP_ARCHIVE")
    assert await plant.bucket.restore("data/none")
    answers = {"RestoreAlreadyInProgress": False, "AccessDenied": RefusedError}
    for code, outcome in answers.items():
        error = ClientError({"Error": {"Code": code, "Message": "x"}}, "RestoreObject")

        async def refuse(_error: ClientError = error, **_: Any) -> Any:
            raise _error

        original, client.restore_object = client.restore_object, refuse
        try:
            if isinstance(outcome, bool):
                assert await plant.bucket.restore("data/a") is outcome
            else:
                with pytest.raises(outcome):
                    await plant.bucket.restore("data/a")
        finally:
            client.restore_object = original
