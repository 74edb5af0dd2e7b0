"""When items expire, and which changes the ledger refuses: each state of a file against each step."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastetl.aws.ledger import Ledger
from fastetl.aws.ledger.batches import CLOSED_BATCHES_KEPT_SECONDS
from fastetl.aws.ledger.files import LOADED_FILES_KEPT_SECONDS
from fastetl.errors import StaleStepError
from fastetl.model import FileItem
from tests.aws.ledger.test_ledger import make_batch
from tests.load.test_batches import make_file
from tests.simulation.conftest import DirectClient
from tests.simulation.fake_dynamodb import FakeDynamoDB

NOW_MS = 1_790_000_000_999
FILE = "0000000a" + "b" * 24


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(DirectClient(FakeDynamoDB()), "ledger")


async def row_of(ledger: Ledger, pk: str = f"F#{FILE}") -> dict[str, Any]:
    answer = await ledger.table._client.get_item(
        TableName=ledger.table.name, Key={"pk": {"S": pk}}, ConsistentRead=True
    )
    return dict(answer["Item"])


async def expires(ledger: Ledger, pk: str) -> int | None:
    row = await row_of(ledger, pk)
    return int(row["expires"]["N"]) if "expires" in row else None


async def in_state(ledger: Ledger, state: str) -> FileItem:
    """Register a file, and bring it into a state by the ledger's own steps."""
    item = make_file(FILE, **({"state": "REJECTED", "key": ""} if state == "REJECTED" else {}))
    await ledger.files.register(item)
    if state == "LOADED":
        await ledger.files.mark_loaded({FILE: "b"}, now_ms=NOW_MS)
    if state in {"QUARANTINED", "DROPPED"}:
        await ledger.files.mark_quarantined(FILE, "b", "why")
    if state == "DROPPED":
        await ledger.files.drop((await ledger.files.read([FILE]))[FILE])
    found = (await ledger.files.read([FILE]))[FILE]
    assert found.state == state
    return found


STATES = ("PENDING", "LOADED", "QUARANTINED", "DROPPED", "REJECTED")


@pytest.mark.parametrize("state", STATES)
async def test_only_a_loaded_file_expires_and_only_after_it_was_loaded_for_long(ledger: Ledger, state: str) -> None:
    await in_state(ledger, state)
    row = await row_of(ledger)
    assert ("expires" in row) is (state == "LOADED")
    if state == "LOADED":
        assert row["expires"] == {"N": str(NOW_MS // 1000 + LOADED_FILES_KEPT_SECONDS)}
        assert LOADED_FILES_KEPT_SECONDS >= 60 * 86_400
    # The index shows what waits for a load or for somebody, each under its own key, and never what is loaded.
    listed = {"PENDING": "p#10", "QUARANTINED": "p#quarantined", "REJECTED": "p#rejected"}
    shown = {"q": {"S": listed[state]}, "qk": {"S": f"{1:013d}#{FILE}"}} if state in listed else {}
    assert {name: row[name] for name in ("q", "qk") if name in row} == shown


@pytest.mark.parametrize("state", ["LOADED", "QUARANTINED", "DROPPED"])
async def test_a_file_that_waits_again_does_not_expire(ledger: Ledger, state: str) -> None:
    item = await in_state(ledger, state)
    before = await row_of(ledger)
    await ledger.files.requeue(item)
    row = await row_of(ledger)
    assert "expires" not in row
    assert row["state"] == {"S": "PENDING"}
    assert row["qk"] == {"S": f"{item.created:013d}#{FILE}"}
    assert row["q"] == {"S": "p#10"}
    assert (row["batch_id"], row["reason"]) == ({"S": ""}, {"S": ""})
    assert {name for name in before if before[name] != row.get(name)} <= {"state", "batch_id", "reason", "expires", "q"}
    with pytest.raises(StaleStepError):
        await ledger.files.requeue(item)
    assert [file.file_id async for file in ledger.files.pending("p")] == [FILE]


@pytest.mark.parametrize("state", STATES)
async def test_only_what_waits_is_marked(ledger: Ledger, state: str) -> None:
    await in_state(ledger, state)
    before = await row_of(ledger)
    await ledger.files.mark_loaded({FILE: "other"}, now_ms=NOW_MS + 1)
    loaded = await row_of(ledger)
    assert (loaded == before) is (state != "PENDING")
    if state == "PENDING":
        assert loaded["batch_id"] == {"S": "other"}


@pytest.mark.parametrize("state", STATES)
async def test_only_what_waits_goes_into_quarantine(ledger: Ledger, state: str) -> None:
    await in_state(ledger, state)
    before = await row_of(ledger)
    await ledger.files.mark_quarantined(FILE, "other", "another reason")
    after = await row_of(ledger)
    assert (after == before) is (state != "PENDING")
    if state == "PENDING":
        assert (after["batch_id"], after["reason"]) == ({"S": "other"}, {"S": "another reason"})


@pytest.mark.parametrize("state", STATES)
async def test_only_what_is_in_quarantine_is_dropped(ledger: Ledger, state: str) -> None:
    item = await in_state(ledger, state)
    if state == "QUARANTINED":
        await ledger.files.drop(item)
        assert (await ledger.files.read([FILE]))[FILE].state == "DROPPED"
    else:
        with pytest.raises(StaleStepError):
            await ledger.files.drop(item)


@pytest.mark.parametrize("state", STATES)
async def test_a_first_registration_stands_whatever_became_of_it(ledger: Ledger, state: str) -> None:
    first = await in_state(ledger, state)
    again = await ledger.files.register(msgspec.structs.replace(first, state="PENDING", key="another", created=99))
    assert again == first
    assert await ledger.files.register(make_file("c" * 32)) == make_file("c" * 32)


async def test_the_end_of_rejects_is_noted_where_there_is_a_file(ledger: Ledger) -> None:
    await ledger.files.end_rejects(FILE)
    assert await ledger.files.read([FILE]) == {}
    await in_state(ledger, "REJECTED")
    await ledger.files.end_rejects(FILE)
    assert (await ledger.files.read([FILE]))[FILE].rejects_ended


async def test_what_is_read_of_one_pipeline_is_of_no_other(ledger: Ledger) -> None:
    for number, pipeline in enumerate(("p", "pp", "q")):
        await ledger.files.register(make_file(f"{number:032x}", pipeline=pipeline))
    assert [file.pipeline async for file in ledger.files.scan("p")] == ["p"]
    assert [file.file_id async for file in ledger.files.pending("pp")] == [f"{1:032x}"]
    await in_state(ledger, "LOADED")
    assert [file.state async for file in ledger.files.scan("p", "LOADED")] == ["LOADED"]
    assert sorted([file.state async for file in ledger.files.scan("p")]) == ["LOADED", "PENDING"]


async def test_what_loads_have_written_changes_for_one_who_knows_it(ledger: Ledger) -> None:
    assert await ledger.written_columns.read("p", "t") == ()
    await ledger.written_columns.put("p", "t", ("a",), ())
    with pytest.raises(StaleStepError):
        await ledger.written_columns.put("p", "t", ("b",), ())
    with pytest.raises(StaleStepError):
        await ledger.written_columns.put("p", "t", ("b",), ("x",))
    await ledger.written_columns.put("p", "t", ("a", "b"), ("a",))
    assert await ledger.written_columns.read("p", "t") == ("a", "b")
    assert await ledger.written_columns.read("p", "t_log") == await ledger.written_columns.read("q", "t") == ()


async def test_a_batch_expires_long_after_it_was_closed_and_not_when_it_is_taken_up_again(ledger: Ledger) -> None:
    head = await ledger.batches.open(
        await ledger.batches.create_head("p", "i"), [make_batch("b1"), make_batch("b2")], now_ms=0
    )
    batch = await ledger.batches.advance(await ledger.batches.read("b1"), state="SUBMITTING", attempt=1)
    assert await expires(ledger, "B#b1") is None
    head = await ledger.batches.close(head, batch, "QUARANTINED", now_ms=NOW_MS)
    assert CLOSED_BATCHES_KEPT_SECONDS == 90 * 86_400
    assert await expires(ledger, "B#b1") == NOW_MS // 1000 + CLOSED_BATCHES_KEPT_SECONDS
    head = await ledger.batches.open(head, [make_batch("b1")], now_ms=NOW_MS)
    assert await expires(ledger, "B#b1") is None
    await ledger.batches.open(head, [make_batch("b3")], now_ms=NOW_MS, instead_of=await ledger.batches.read("b2"))
    assert await expires(ledger, "B#b2") == NOW_MS // 1000 + CLOSED_BATCHES_KEPT_SECONDS


async def test_of_the_closed_batches_no_more_are_read_than_were_asked_for(ledger: Ledger) -> None:
    head = await ledger.batches.create_head("p", "i")
    for number in range(3):
        head = await ledger.batches.open(head, [make_batch(f"b{number}")], now_ms=0)
        batch = await ledger.batches.advance(await ledger.batches.read(f"b{number}"), state="SUBMITTING", attempt=1)
        head = await ledger.batches.close(head, batch, "QUARANTINED", now_ms=NOW_MS + number)
    assert [each.batch_id async for each in ledger.batches.closed("p")] == ["b0", "b1", "b2"]
    assert [each.batch_id async for each in ledger.batches.closed("p", latest=2)] == ["b2", "b1"]
