"""Looking after a stream: everything that ends its reading is noticed at the next look, and nothing else is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from fastetl import keys
from fastetl.aws import Mapping, Shard, Stream
from fastetl.aws.ledger import Watermarks
from fastetl.errors import SourceError, StaleStepError
from fastetl.load import Loader, Watch
from fastetl.load.batches import build_batch
from fastetl.load.complete import CREATION_SLACK_MS, KEEPS_MS
from fastetl.load.listing import LIST_MS
from fastetl.load.watch import LOOK_SECONDS
from fastetl.model import Backfill, Batch, FileItem, Watermark
from fastetl.operate import Operator
from fastetl.operate.watermark import forget_watermark
from tests.plant import Change, Plant

LABEL = "2026-01-01T00:00:00.000"
ARN = f"arn:aws:dynamodb:us-east-1:1:table/orders/stream/{LABEL}"
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
UUID = "uuid-1"


class FakeStreams:
    """Says what Lambda and DynamoDB Streams would say."""

    def __init__(self) -> None:
        self.stream = Stream(ARN, "ENABLED", START * 1000, (Shard("a"),))
        self.found = Mapping(UUID, ARN, "Enabled", "OK")
        self.error: Exception | None = None
        self.calls: list[str] = []

    async def describe(self, arn: str) -> Stream:
        self.calls.append("describe")
        if self.error:
            raise self.error
        return self.stream

    async def mapping(self, _uuid: str) -> Mapping:
        self.calls.append("mapping")
        return self.found


class Looked:
    """A pipeline, its stream, and whoever looks after it."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        plant.now = START + 600.0
        self.streams = FakeStreams()
        self.watch = self.new_watch()

    def new_watch(self, mappings: tuple[str, ...] = (UUID,), **changes: Any) -> Watch:
        streams: Any = self.streams
        return Watch(self.plant.deployment(**changes), streams, mappings)

    async def look(self) -> Watermark:
        """The next look that is due, after a load has ended."""
        head = await self.plant.ledger.batches.head("orders")
        assert head is not None
        await self.plant.ledger.batches.change_head(head, loads=head.loads + 1)
        return await self.look_idly()

    async def look_idly(self) -> Watermark:
        """The next look that is due."""
        self.plant.now += LOOK_SECONDS
        return await self.watch.look()

    async def register(self, name: str, sequence: int, state: Any = "LOADED", shard_id: str = "a") -> float:
        """Register a file of a change that is made now; give when that was."""
        at = self.plant.now
        changed = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S.%f}"
        key = keys.data_key("", "orders", LABEL, changed, name, "gzip")
        await self.plant.bucket.replace(key, b"x")
        await self.plant.ledger.files.register(FileItem(
            name, "orders", key, "l", "", 1, 1, 0, "", "", "", changed, changed, int(at * 1000), state,
            shard_id=shard_id, last_sequence=str(sequence), last_changed=int(at * 1000),
        ))  # fmt: skip
        return at


def up_to(at: float) -> int:
    return int(at * 1000) - CREATION_SLACK_MS


@pytest.fixture
async def looked(make_plant: Callable[..., Any]) -> Looked:
    return Looked(await make_plant())


async def test_what_is_loaded_moves_it_and_what_waits_holds_it(looked: Looked) -> None:
    first = await looked.register("f1", 1)
    found = await looked.look()
    assert (found.complete_up_to, found.held_by, found.problems) == (up_to(first), "shard a", ())
    assert await looked.plant.ledger.watermarks.read("orders") == found
    second = await looked.register("f2", 2, "PENDING")
    third = await looked.register("f3", 3)
    held = await looked.look()
    assert (held.complete_up_to, held.held_by) == (up_to(second), "files that wait for their load")
    await looked.plant.ledger.files.mark_loaded({"f2": "b"}, now_ms=0)
    assert (await looked.look()).complete_up_to == up_to(third)


async def test_files_are_listed_after_a_load_or_a_split_and_now_and_then(looked: Looked) -> None:
    first = await looked.register("f1", 1)
    assert (await looked.look()).complete_up_to == up_to(first)
    second = await looked.register("f2", 2)
    assert (await looked.look_idly()).complete_up_to == up_to(first)
    assert (await looked.look()).complete_up_to == up_to(second)
    third = await looked.register("f3", 3)
    looked.streams.stream = Stream(ARN, "ENABLED", START * 1000, (Shard("a", "", "3"), Shard("b", "a")))
    assert (await looked.look_idly()).finished == ("a",)
    fourth = await looked.register("f4", 4, shard_id="b")
    assert (await looked.look_idly()).complete_up_to == up_to(third)
    looked.plant.now += LIST_MS / 1000
    assert (await looked.look_idly()).complete_up_to == up_to(fourth)


async def test_after_a_load_it_looks_at_once(looked: Looked) -> None:
    before = await looked.look()
    looked.plant.now += 1
    assert await looked.watch.look() == before
    assert (await looked.watch.look(at_once=True)).checked_at == int(looked.plant.now * 1000)


async def test_what_this_process_has_loaded_is_not_read_again(looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    at = await looked.register("0" * 32, 1, "PENDING")
    assert (await looked.look()).held_by == "files that wait for their load"
    (item,) = (await looked.plant.ledger.files.read(["0" * 32])).values()
    looked.watch.note_loaded(build_batch("orders", "i", [item], "lake", ("m", "f")))
    monkeypatch.setattr(type(looked.plant.ledger.files), "read", read_nothing)
    assert (await looked.look()).complete_up_to == up_to(at)


async def test_before_a_load_it_tells_what_will_be_loaded_with_it(looked: Looked) -> None:
    await looked.register("1" * 32, 1, "PENDING")
    at = await looked.register("2" * 32, 2, "PENDING")
    after = await looked.register("3" * 32, 3, "PENDING")
    items = await looked.plant.ledger.files.read(["1" * 32, "2" * 32])
    batch = build_batch("orders", "i", list(items.values()), "lake", ("m", "f"))
    assert await looked.watch.foresee(batch) == up_to(after)
    kept = await looked.plant.ledger.watermarks.read("orders")
    assert kept is not None
    assert (kept.complete_up_to, kept.held_by) == (up_to(at), "files that wait for their load")
    looked.streams.error = SourceError("describe_stream: AccessDenied")
    assert await looked.watch.foresee(batch) == 0


async def test_a_load_tells_the_warehouse_what_was_foreseen(looked: Looked) -> None:
    async def foresee(_batch: Batch) -> int:
        return START * 1000

    plant = looked.plant
    loader = Loader(msgspec.structs.replace(plant.deployment(), warehouse=plant.loading), foresee)
    await plant.put(Change(1, 1))
    await plant.run(loader)
    ((complete_up_to,),) = await plant.sql('SELECT "complete_up_to" FROM "public"."orders_complete"')
    assert complete_up_to.startswith("2026-01-01 00:00:00")


async def read_nothing(_files: Any, file_ids: Any) -> dict[str, FileItem]:
    assert not file_ids
    return {}


async def test_a_look_is_taken_once_in_two_minutes_whoever_asks(looked: Looked) -> None:
    found = await looked.look()
    calls = list(looked.streams.calls)
    looked.plant.now += LOOK_SECONDS - 1
    assert await looked.new_watch().look() == found
    assert looked.streams.calls == calls
    looked.plant.now += 2
    assert (await looked.new_watch().look()).checked_at == int(looked.plant.now * 1000)


async def test_two_coordinators_that_look_at_once_leave_one_watermark(looked: Looked) -> None:
    before = await looked.look()
    await looked.look()
    with pytest.raises(StaleStepError):
        await looked.plant.ledger.watermarks.put(msgspec.structs.replace(before, held_by="x"), before)
    with pytest.raises(StaleStepError):
        await looked.plant.ledger.watermarks.put(before, None)


async def test_what_a_refused_look_has_listed_is_listed_again(looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    await looked.register("f1", 1)
    await looked.look()
    second = await looked.register("f2", 2)

    async def refuse(*_: object) -> Watermark:
        raise StaleStepError("put_item: someone else was faster")

    with monkeypatch.context() as patches:
        patches.setattr(Watermarks, "put", refuse)
        with pytest.raises(StaleStepError):
            await looked.look()
    assert (await looked.look_idly()).complete_up_to == up_to(second)


@pytest.mark.parametrize(
    ("changes", "stream", "looks", "problem"),
    [
        ({"state": "Disabled"}, {}, 1, "uuid-1 is Disabled: enable it"),
        ({"state": "Disabling"}, {}, 1, "uuid-1 is Disabling"),
        ({"state": "Gone", "stream_arn": ""}, {}, 1, "no event source mapping of this stack reads its stream"),
        ({}, {"status": "DISABLED"}, 1, "is DISABLED: deploy with the table's stream of now"),
        ({}, {"status": "GONE", "shards": ()}, 1, "is gone: deploy with the table's stream of now"),
        ({"last_result": "PROBLEM: Function call failed"}, {}, 2, "look at ingest's log and at its role"),
    ],
)
async def test_whatever_ends_the_reading_is_told_within_two_looks(
    looked: Looked, changes: Any, stream: Any, looks: int, problem: str
) -> None:
    assert (await looked.look()).problems == ()
    good = looked.streams.found, looked.streams.stream
    looked.streams.found = msgspec.structs.replace(looked.streams.found, **changes)
    looked.streams.stream = msgspec.structs.replace(looked.streams.stream, **stream)
    for _ in range(looks - 1):
        assert (await looked.look()).problems == ()
    found = await looked.look()
    assert len(found.problems) == 1
    assert problem in found.problems[0]
    assert looks * LOOK_SECONDS < 600
    looked.streams.found, looked.streams.stream = good
    assert (await looked.look()).problems == ()


@pytest.mark.parametrize("state", ["Enabling", "Creating", "Updating"])
async def test_a_mapping_on_its_way_is_no_problem(looked: Looked, state: str) -> None:
    looked.streams.found = msgspec.structs.replace(looked.streams.found, state=state)
    assert (await looked.look()).problems == ()


async def test_a_day_without_reading_is_a_gap_that_a_resync_mends(looked: Looked) -> None:
    at = await looked.register("f1", 1)
    await looked.look()
    await looked.look()
    looked.streams.found = msgspec.structs.replace(looked.streams.found, state="Disabled")
    await looked.look()
    looked.plant.now += KEEPS_MS / 1000
    looked.streams.found = msgspec.structs.replace(looked.streams.found, state="Enabled")
    found = await looked.look()
    (gap,) = found.gaps
    assert (gap.shard_id, gap.since) == ("a", int(at * 1000))
    assert found.problems == (
        f"changes of shard a from {datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ} to"
        f" {datetime.fromtimestamp(gap.until / 1000, UTC):%Y-%m-%dT%H:%M:%SZ} may be missing: `fastetl resync`",
    )
    exported_at = int(looked.plant.now)
    backfill = Backfill("orders", 1, "s3://b/e", "e", exported_at, 1, 1, 1, resync=True)
    await looked.plant.ledger.backfills.put(backfill)
    assert (await looked.look()).gaps
    await looked.plant.ledger.backfills.put(msgspec.structs.replace(backfill, state="FINISHED"))
    assert (await looked.look()).gaps == ()


async def test_an_export_that_does_not_end_is_told_after_a_day(looked: Looked) -> None:
    backfill = Backfill("orders", 1, "s3://b/e", "e1", int(looked.plant.now), 1, 1, 1)
    await looked.plant.ledger.backfills.put(backfill)
    assert (await looked.look()).problems == ()
    looked.plant.now += KEEPS_MS / 1000
    (problem,) = (await looked.look()).problems
    assert problem == "the export e1 is being carried over for 24 hours: start `fastetl backfill` again"
    await looked.plant.ledger.backfills.put(msgspec.structs.replace(backfill, state="FINISHED"))
    assert (await looked.look()).problems == ()


async def test_events_that_lambda_gave_up_hold_it_until_they_are_replayed(looked: Looked) -> None:
    first = await looked.register("f1", 1)
    await looked.look()
    await looked.look()
    key = f"{keys.FAILURES_PREFIX}{UUID}/a/2026/01/01/x"
    await looked.plant.bucket.replace(key, b"{}")
    await looked.register("f2", 3)
    await looked.look()
    assert (await looked.look()).complete_up_to == up_to(first)
    await looked.plant.bucket.delete(key)
    assert (await looked.look()).complete_up_to > up_to(first)


async def test_an_old_watermark_is_moved_by_a_look_that_lists_all_since(looked: Looked) -> None:
    await looked.register("f1", 1)
    await looked.look()
    await looked.look()
    looked.plant.now += 6 * 3600
    late = await looked.register("f2", 2)
    looked.plant.now += LIST_MS / 1000
    assert (await looked.look()).complete_up_to == up_to(late)


async def test_a_table_that_has_rested_moves_it_with_the_load_of_its_next_change(looked: Looked) -> None:
    await looked.register("f1", 1)
    await looked.look()
    looked.plant.now += 50 * 3600
    late = await looked.register("2" * 32, 2, "PENDING")
    (item,) = (await looked.plant.ledger.files.read(["2" * 32])).values()
    batch = build_batch("orders", "i", [item], "lake", ("m", "f"))
    assert await looked.watch.foresee(batch) == up_to(late)


async def test_a_quarantined_file_holds_it_from_the_moment_on_that_it_is_put_back(looked: Looked) -> None:
    old = await looked.register("3" * 32, 1, "QUARANTINED")
    looked.plant.now += 5 * 3600
    new = await looked.register("f2", 2)
    before = await looked.look()
    assert before.complete_up_to == up_to(new)
    await Operator(looked.plant.deployment()).retry("3" * 32)
    held = await looked.plant.ledger.watermarks.read("orders")
    assert held is not None
    assert (held.complete_up_to, held.held_by) == (up_to(old), "files that wait for their load")
    with pytest.raises(StaleStepError):
        # A look that began before.
        await looked.plant.ledger.watermarks.put(before, before)
    assert (await looked.look_idly()).complete_up_to == up_to(old)
    await looked.plant.ledger.files.mark_loaded({"3" * 32: "b"}, now_ms=0)
    assert (await looked.look()).complete_up_to == up_to(new)


async def test_a_file_that_is_put_back_and_fails_again_holds_it_no_longer(looked: Looked) -> None:
    await looked.register("3" * 32, 1, "QUARANTINED")
    new = await looked.register("f2", 2)
    await looked.look()
    await Operator(looked.plant.deployment()).retry("3" * 32)
    await looked.plant.ledger.files.mark_quarantined("3" * 32, "b", "again")
    assert (await looked.look_idly()).complete_up_to == up_to(new)
    assert (await looked.look_idly()).put_back == ()


async def test_what_a_rebuilt_ledger_lets_wait_makes_it_unknown_until_it_is_loaded(looked: Looked) -> None:
    await looked.register("4" * 32, 1)
    at = await looked.register("f2", 2)
    assert (await looked.look()).complete_up_to == up_to(at)
    await forget_watermark(looked.plant.deployment())
    (item,) = (await looked.plant.ledger.files.read(["4" * 32])).values()
    await looked.plant.ledger.files.requeue(item)
    assert ((await looked.look()).complete_up_to, (await looked.look()).held_by) == (0, "a ledger that was rebuilt")
    looked.plant.now += LIST_MS / 1000
    assert (await looked.look()).complete_up_to == 0
    await looked.plant.ledger.files.mark_loaded({"4" * 32: "b"}, now_ms=0)
    looked.plant.now += LIST_MS / 1000
    assert (await looked.look()).complete_up_to == up_to(at)


@pytest.mark.parametrize("happens", ["given up", "replayed"])
async def test_events_that_are_given_up_or_replayed_in_the_middle_of_a_look_hold_it(
    looked: Looked, happens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await looked.register("f1", 1)
    await looked.look()
    bucket, key = looked.plant.bucket, f"{keys.FAILURES_PREFIX}{UUID}/a/2026/01/01/x"
    if happens == "replayed":
        await bucket.replace(key, b"{}")
    await looked.register("f2", 3)
    original = bucket.list_keys

    async def list_keys(prefix: str, **how: Any) -> Any:
        async for found in original(prefix, **how):
            yield found
        if prefix.startswith("data/"):
            await (bucket.delete(key) if happens == "replayed" else bucket.replace(key, b"{}"))

    monkeypatch.setattr(bucket, "list_keys", list_keys)
    assert (await looked.look()).complete_up_to == up_to(first)


async def test_a_pipeline_whose_old_files_wait_is_not_known_before_they_are_loaded(looked: Looked) -> None:
    await looked.register("01d", 1, "PENDING")
    looked.plant.now += 2 * KEEPS_MS / 1000
    looked.streams.stream = Stream(ARN, "ENABLED", int(looked.plant.now * 1000) - 3_600_000, (Shard("a"),))
    assert (await looked.look()).complete_up_to == 0


async def test_of_a_kinesis_stream_the_mapping_is_looked_after(looked: Looked) -> None:
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/changes"
    looked.streams.found = Mapping(UUID, arn, "Enabled")
    looked.watch = looked.new_watch(source="kinesis", stream_arn=arn)
    found = await looked.look()
    assert (found.problems, found.complete_up_to, looked.streams.calls) == ((), 0, ["mapping"])
    looked.streams.found = Mapping(UUID, arn, "Disabled")
    assert len((await looked.look()).problems) == 1


async def test_each_pipeline_has_the_mapping_of_its_own_stream(looked: Looked) -> None:
    looked.streams.found = Mapping(UUID, ARN.replace("orders", "others"), "Enabled")
    assert "no event source mapping" in (await looked.look()).problems[0]


async def test_what_cannot_be_asked_changes_nothing(looked: Looked) -> None:
    before = await looked.look()
    looked.streams.error = SourceError("describe_stream: AccessDenied")
    with pytest.raises(SourceError, match="AccessDenied"):
        await looked.look()
    assert await looked.plant.ledger.watermarks.read("orders") == before
