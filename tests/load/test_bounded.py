"""No step of a load does more than a coordinator has time for, however many files a batch has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from fastetl.load import batches, steps
from fastetl.load.decide import Verdict
from fastetl.load.loader import Loader
from fastetl.load.rounds import Rounds
from fastetl.model import Batch, FileItem
from tests.load.test_batches import make_file
from tests.simulation.bench import Bench
from tests.simulation.conftest import DirectClient

WAKE_UP_SECONDS = 60.0
"""The updates of each case, 32 at a time, take more than twice as long."""


class Slow(DirectClient):
    """A ledger table that is throttled: each update of a file takes its time."""

    updates = 0
    seconds = 0.0

    async def update_item(self, **arguments: Any) -> Any:
        if arguments["Key"]["pk"]["S"].startswith("F#"):
            self.updates += 1
            await asyncio.sleep(self.seconds)
        return self._service.update_item(**arguments)


class Told:
    """What the warehouse says of the batch, without a warehouse."""

    def __init__(self, loader: Loader, verdict: Verdict, loaded: Sequence[tuple[str, str]]) -> None:
        self._verdict, self._loaded = verdict, loaded
        survey: Any = loader._survey
        taken: Any = loader._steps
        survey.ask_warehouse = self.ask
        taken._warehouse = self

    async def ask(self, open_batches: Sequence[Batch]) -> Mapping[str, Verdict]:
        return {batch.batch_id: self._verdict for batch in open_batches}

    async def rows(self, _statement_id: str, _place: int) -> list[list[str]]:
        return [list(row) for row in self._loaded]


async def open_batch(bench: Bench, files: Sequence[FileItem], **changes: Any) -> Batch:
    """Put a batch of files into HEAD that are registered, as if the warehouse were at work on it."""
    heads, name = bench.ledger.batches, bench.pipeline.name
    head = await heads.head(name) or await heads.create_head(name, "i")
    batch = batches.build_batch(bench.pipeline.name, "i", files, "lake", ("manifest", "files"))
    await bench.bucket.replace("files", batches.build_members(files))
    batch = msgspec.structs.replace(batch, attempt=1, statement_id="s", **changes)
    await bench.ledger.batches.open(head, [batch], now_ms=0)
    return batch


ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "loaded": ({"state": "SUBMITTED"}, "LOADED"),
    "dissolved": ({"state": "RESOLVING", "failure": "files"}, "SPLIT"),
}


@pytest.mark.parametrize(("end", "count", "update_seconds"), [("loaded", 10_000, 0.5), ("dissolved", 2_500, 2.0)])
def test_a_batch_of_many_files_ends_over_several_wakeups(end: str, count: int, update_seconds: float) -> None:
    """Each wake-up is cut off when its time is up, one of them in the middle of marking, and another one goes on."""
    bench = Bench()
    changes, state = ENDS[end]
    client = Slow(bench.dynamodb)
    client.seconds = update_seconds
    bench.ledger.table._client = client  # type: ignore[assignment]
    files = [make_file(f"{n:032x}", pipeline=bench.pipeline.name) for n in range(count)]
    marked: list[int] = []

    async def test() -> None:
        for file in files:
            await bench.ledger.files.register(file)
        batch = await open_batch(bench, files, **changes)
        actions: list[str] = []
        for wake_up in range(1, 8):
            loader = bench.new_loader()
            Told(loader, Verdict("finished"), [(file.file_id, "another") for file in files])
            rounds = Rounds({bench.pipeline.name: loader}, [bench.pipeline])
            begun = bench.loop.time()
            until = begun + WAKE_UP_SECONDS
            waking = asyncio.create_task(
                rounds.wake_up(lambda *_: asyncio.sleep(0), lambda until=until: until - bench.loop.time())  # type: ignore[misc]
            )
            if wake_up == 2:
                await asyncio.sleep(WAKE_UP_SECONDS / 2)
                waking.cancel()
                await asyncio.gather(waking, return_exceptions=True)
                continue
            moved = (await waking)[bench.pipeline.name]
            assert bench.loop.time() - begun < WAKE_UP_SECONDS + 10
            actions += moved.actions
            marked.append(sum(found == "LOADED" for found in bench.states().values()))
            if "loaded" in actions or "dissolved" in actions:
                break
        assert actions[-1] == end
        assert set(actions[:-1]) == {"marked"}
        head = await bench.ledger.batches.head(bench.pipeline.name)
        assert head is not None
        assert head.open == ()
        assert (await bench.ledger.batches.read(batch.batch_id)).state == state

    bench.run(test())
    assert set(bench.states().values()) == {"LOADED"}
    named = {item["batch_id"]["S"] for pk, item in bench.dynamodb.items.items() if pk.startswith("F#")}
    assert (named == {"another"}) is (end == "dissolved")
    # It took several wake-ups, of which each went on where the one before had stopped.
    assert len(marked) >= 2
    assert marked == sorted(set(marked))
    assert client.updates < count + 3 * steps.MARKED_AT_ONCE


@pytest.mark.parametrize(("state", "changed"), [("SUBMITTED", {}), ("RESOLVING", {"failure": "files"})])
def test_what_is_asked_again_is_marked_from_the_start(state: Any, changed: dict[str, Any]) -> None:
    """The new answer may hold files that the old one did not."""
    bench = Bench()
    files = [make_file(f"{n:032x}", pipeline=bench.pipeline.name) for n in range(3)]

    async def test() -> None:
        batch = await open_batch(bench, files, state=state, marked_to=files[1].file_id, **changed)
        loader = bench.new_loader()
        Told(loader, Verdict("lost"), [])
        assert (await loader.wake_up()).action == "resolving"
        assert (await bench.ledger.batches.read(batch.batch_id)).marked_to == ""

    bench.run(test())
