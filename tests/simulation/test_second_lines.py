"""Guards whose loss the simulation never meets: one course of events each, with the guard and without it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ReadTimeoutError

from fastetl.backfill.backfiller import Backfiller
from fastetl.config.model import LoadPolicy
from fastetl.errors import FastetlError, StaleStepError, WarehouseError
from fastetl.load import Epochs, steps
from fastetl.load.decide import RESUBMIT_LIMIT_SECONDS, Verdict
from fastetl.load.loader import Loader
from fastetl.load.rounds import Rounds
from fastetl.model import MAX_OPEN_BATCHES, Backfill
from fastetl.sql.text import quote_table
from tests.load.test_batches import make_file
from tests.load.test_bounded import WAKE_UP_SECONDS, Slow, Told, open_batch
from tests.load.test_lifecycle import pause_for_a_month
from tests.load.test_sources import switch, through_replica, until_paused
from tests.simulation.bench import Bench, settle
from tests.simulation.conftest import DirectClient
from tests.simulation.fake_s3 import ARCHIVES_SECONDS, DAY
from tests.simulation.faults import ENDPOINT
from tests.simulation.mutations import DIRECTED
from tests.simulation.source import build_event

Course = Callable[[Bench], Awaitable[Any]]


async def overtake(loader: Loader, method: str, others: Callable[[], Awaitable[Any]]) -> None:
    """Take a step; before it first plans by `method` others do theirs."""
    planner = loader._planner
    original = getattr(planner, method)

    async def overtaken(*arguments: Any) -> Any:
        setattr(planner, method, original)
        await others()
        return await original(*arguments)

    setattr(planner, method, overtaken)
    try:
        await loader.wake_up()
    except StaleStepError:
        return


async def refused(bench: Bench) -> int:
    """Bring everything to its end, all of it loaded once; give the number of loads that the warehouse had to refuse."""
    await settle(bench.new_loader())
    assert set(bench.states().values()) == {"LOADED"}
    logged = [row["_event_id"] for row in bench.rows("_log")]
    assert sorted(logged) == sorted(bench.source.changes)
    return sum(attempt.status == "FAILED" for attempt in bench.attempts())


async def index_is_late(bench: Bench) -> int:
    """The index goes on showing a file that is loaded."""
    await bench.put()
    bench.lag = 600.0
    loader = bench.new_loader()
    await settle(loader, until="loaded")
    assert [file async for file in bench.ledger.files.pending(bench.pipeline.name)]
    await loader.wake_up()
    await asyncio.sleep(bench.lag)
    return await refused(bench)


async def ledger_begins_again(bench: Bench) -> int:
    """A stack is deployed a second time, with an empty ledger, against the same warehouse; then a file comes."""
    await bench.put()
    await settle(bench.new_loader())
    bench.dynamodb.restore({})
    await settle(bench.new_loader())
    await bench.put()
    await settle(bench.new_loader())
    return sum(attempt.status == "FAILED" for attempt in bench.attempts())


async def two_open_different_batches(bench: Bench) -> int:
    """One coordinator has seen both files; before it opens their batch another has one of them on its way."""
    await bench.put()
    await bench.put()
    other = bench.new_loader(load=LoadPolicy(max_bytes=1, max_files=1))

    async def begin() -> None:
        assert [(await other.wake_up()).action for _ in range(2)] == ["opened", "submitted"]

    await overtake(bench.new_loader(), "stage", begin)
    return await refused(bench)


async def one_opens_what_another_has_loaded(bench: Bench) -> int:
    """A coordinator has seen a file waiting; before it opens a batch another has loaded it."""
    await bench.put()
    await overtake(bench.new_loader(), "stage", lambda: settle(bench.new_loader()))
    return await refused(bench)


async def two_start_one_attempt(bench: Bench) -> int:
    """Two coordinators begin the same attempt."""
    await bench.put()
    loader, other = bench.new_loader(), bench.new_loader()
    await loader.wake_up()

    async def start() -> None:
        # A second later, so that the two attempts have different names.
        await asyncio.sleep(1)
        assert (await other.wake_up()).action == "submitted"

    await overtake(loader, "load", start)
    return await refused(bench)


async def dies_while_files_are_marked(bench: Bench) -> int:
    """A coordinator dies before it has marked the files of a batch that is loaded."""
    await bench.put()
    loader, mark = bench.new_loader(), bench.ledger.files.mark_loaded

    async def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    bench.ledger.files.mark_loaded = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await settle(loader)
    bench.ledger.files.mark_loaded = mark  # type: ignore[method-assign]
    return await refused(bench)


async def dies_while_some_files_are_marked(bench: Bench) -> int:
    """A coordinator dies while it marks the first of two files of a batch that is loaded; each step marks one."""
    await bench.put()
    await bench.put()
    loader, mark = bench.new_loader(), bench.ledger.files.mark_loaded

    async def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    bench.ledger.files.mark_loaded = die  # type: ignore[method-assign]
    with patch.object(steps, "MARKED_AT_ONCE", 1):
        with pytest.raises(KeyboardInterrupt):
            await settle(loader)
        bench.ledger.files.mark_loaded = mark  # type: ignore[method-assign]
        return await refused(bench)


async def marking_takes_long(bench: Bench) -> bool:
    """A batch of 1,200 files is loaded, of which a wake-up has time to mark the half; give whether it ever ends."""
    client = Slow(bench.dynamodb)
    client.seconds = 3.0
    bench.ledger.table._client = client  # type: ignore[assignment]
    files = [make_file(f"{n:032x}", pipeline=bench.pipeline.name) for n in range(1200)]
    for file in files:
        await bench.ledger.files.register(file)
    await open_batch(bench, files, state="SUBMITTED")
    for _ in range(4):
        loader = bench.new_loader()
        Told(loader, Verdict("finished"), [])
        until = bench.loop.time() + WAKE_UP_SECONDS
        rounds = Rounds({bench.pipeline.name: loader}, [bench.pipeline])
        await rounds.wake_up(lambda *_: asyncio.sleep(0), lambda until=until: until - bench.loop.time())  # type: ignore[misc]
    return set(bench.states().values()) == {"LOADED"}


class LosesFirstLoad(DirectClient):
    """A Data API whose answer to the first load never comes; the call itself is on its way for hours."""

    late: dict[str, Any] | None = None

    async def batch_execute_statement(self, **arguments: Any) -> Any:
        if self.late is None:
            self.late = arguments
            raise ReadTimeoutError(endpoint_url=ENDPOINT)
        return self._service.batch_execute_statement(**arguments)


async def late_statement(bench: Bench) -> tuple[str, bool]:
    """A load's first statement starts when its file is long in quarantine, and its object repaired.

    Gives the file's state in the ledger, and whether the warehouse has it.
    """
    client = LosesFirstLoad(bench.data_api)
    loader = bench.new_loader(client)
    bad = await bench.put()
    assert [(await loader.wake_up()).action for _ in range(2)] == ["opened", "waiting"]
    where = next(place for place in bench.s3.objects if bad in place[1])
    good = bench.s3.objects[where]
    bench.s3.put_object(Bucket=where[0], Key=where[1], Body=b"spoilt")
    await asyncio.sleep(RESUBMIT_LIMIT_SECONDS + 1)
    await settle(loader, until="retry")
    await settle(loader, until="retry")
    await bench.put()
    await settle(loader, until="quarantined")
    bench.s3.objects[where] = good
    assert client.late
    bench.data_api.batch_execute_statement(**client.late)
    await asyncio.sleep(60)
    return bench.states()[bad], bad in {row["file_id"] for row in bench.rows("_load_files")}


async def epoch_begins(bench: Bench) -> bool:
    """An item changes twice just after an epoch was begun; who ingests the second change has not heard of it yet.

    Gives whether the mirror has the second.
    """
    backfiller = Backfiller(bench.deployment())
    await settle(bench.new_loader())
    warm, fresh = bench.new_ingest(), bench.new_ingest()
    await warm.ingest(build_event([bench.write(number=0)]))
    await backfiller.begin_epoch()
    for ingest in (fresh, warm):
        await asyncio.sleep(5)
        last = bench.write(number=0, delete=False)
        await ingest.ingest(build_event([last]))
    await loaded_within(bench, DAY)
    return [row["_event_id"] for row in bench.rows("")] == [last.event_id]


async def suspects_crowd(bench: Bench) -> bool:
    """A pipeline has paused because of suspects, one of which may always be tried again when the schedule wakes it.

    Gives whether a healthy file is loaded within a day.
    """
    loader = bench.new_loader(load=LoadPolicy(max_bytes=1, max_files=1))
    for _ in range(MAX_OPEN_BATCHES - 1):
        await bench.put(bench.write(healthy=False))
    while not (head := await bench.ledger.batches.head(bench.pipeline.name)) or not head.paused:
        await loader.wake_up()
        await asyncio.sleep(1)
    healthy = await bench.put(bench.write(delete=False))
    for _ in range(24 * 4):
        while (await loader.wake_up()).progressed:
            pass
        await asyncio.sleep(900)
    return bench.states()[healthy] == "LOADED"


async def pause_lasts(bench: Bench) -> bool:
    """An operator pauses for a month, while a batch is open; give whether it is loaded in the week after."""
    await bench.put()
    await bench.new_loader().wake_up()
    await pause_for_a_month(bench)
    return await loaded_within(bench, 7 * DAY)


async def files_are_archived(bench: Bench) -> bool:
    """A file waits until it is in an archive; give whether it is loaded in the week after."""
    await bench.put()
    await asyncio.sleep(ARCHIVES_SECONDS)
    bench.s3.archive()
    return await loaded_within(bench, 7 * DAY)


async def loaded_within(bench: Bench, seconds: float) -> bool:
    """Wake up every quarter of an hour; tell whether every file is loaded after this time."""
    loader = bench.new_loader()
    for _ in range(int(seconds / 900)):
        with contextlib.suppress(FastetlError):
            while (await loader.wake_up()).progressed:
                pass
        if set(bench.states().values()) == {"LOADED"}:
            return True
        await asyncio.sleep(900)
    return False


async def source_changes(bench: Bench) -> bool:
    """A change comes by way of a replica, whose stream is older; give whether the mirror has it, or it is told."""
    paused = await switch(bench)
    last = list(bench.source.changes)[-1]
    return bool(paused) or [row["_event_id"] for row in bench.rows("")] == [last]


async def epoch_without_resync(bench: Bench) -> bool:
    """An epoch begins, and its backfill, which deletes nothing, ends; give whether an older row is still there."""
    await bench.put(bench.write(number=0, delete=False))
    await settle(bench.new_loader())
    backfiller = Backfiller(bench.deployment())
    start = await backfiller.begin_epoch()
    await backfiller.wait_for(start)
    backfill = Backfill(bench.pipeline.name, start.epoch, "s3://lake/x", "x", start.starts_at + 60, 0, 0, 1)
    assert not await backfiller.finish(backfill)
    return [row["_deleted"] for row in bench.rows("")] == ["false"]


async def epoch_before_sources_change(bench: Bench) -> bool:
    """An epoch begins after the first change by way of a replica; give whether the mirror has it, or it is told."""
    await bench.put(bench.write(number=0, delete=False))
    await settle(bench.new_loader())
    change = bench.write(number=0, delete=False)
    backfiller = Backfiller(bench.deployment())
    await backfiller.wait_for(await backfiller.begin_epoch())
    await bench.new_ingest().ingest(through_replica(change))
    paused = await until_paused(bench)
    return bool(paused) or [row["_event_id"] for row in bench.rows("")] == [change.event_id]


async def epochs_are_lost(bench: Bench) -> bool:
    """A change of an epoch is loaded, and then HEAD and the warehouse lose the epoch; give whether that is told."""
    backfiller = Backfiller(bench.deployment())
    await backfiller.wait_for(await backfiller.begin_epoch())
    await bench.put(bench.write(number=0, delete=False))
    await settle(bench.new_loader())
    assert [row["_version"][:4] for row in bench.rows("")] == ["0001"]
    bench.warehouse.delete(quote_table(bench.pipeline, "_epochs"), lambda _: True)
    del bench.dynamodb.items[f"P#{bench.pipeline.name}"]
    try:
        await Epochs(bench.deployment()).head()
    except WarehouseError:
        return True
    return False


COURSES: dict[str, tuple[Course, Any, Any]] = {
    "index believed": (index_is_late, 0, 1),
    "batch ids from a counter": (ledger_begins_again, 0, 1),
    "generation ignored": (two_open_different_batches, 0, 1),
    "steps of a batch unconditional": (two_start_one_attempt, 0, 1),
    "HEAD lets go before the files are marked": (dies_while_files_are_marked, 0, 1),
    "marking counted before it is done": (dies_while_some_files_are_marked, 0, 1),
    "all files marked in one step": (marking_takes_long, True, False),
    "manifests written once": (pause_lasts, True, False),
    "an archive taken for a failure like any other": (files_are_archived, True, False),
    "labels order two sources": (source_changes, True, False),
    "an epoch that only reorders deletes": (epoch_without_resync, True, False),
    "any epoch orders two sources": (epoch_before_sources_change, True, False),
    "lost epochs taken for none": (epochs_are_lost, True, False),
    "HEAD read after the files": (one_opens_what_another_has_loaded, 0, 1),
    "suspects tried again before a probe": (suspects_crowd, True, False),
    "no fence": (late_statement, ("QUARANTINED", False), ("QUARANTINED", True)),
    "an epoch that begins at once": (epoch_begins, True, False),
}
"""What happens, and what comes of it with the guard and without: of most, how many loads are in vain."""


def play(course: Course) -> Any:
    bench, told = Bench(), []

    async def run() -> None:
        told.append(await course(bench))

    bench.run(run())
    return told[0]


def test_every_guard_has_its_course_and_is_explained() -> None:
    _, _, table = Path(__file__).with_name("README.md").read_text().partition("| what comes of it |")
    explained = re.findall(r"^\| (\w[^|]+) \|", table.partition("\n\n")[0], re.MULTILINE)
    assert sorted(explained) == sorted(COURSES) == sorted(DIRECTED)


@pytest.mark.parametrize("guard", COURSES)
def test_what_a_guard_prevents(guard: str) -> None:
    course, kept, lost = COURSES[guard]
    assert play(course) == kept
    with DIRECTED[guard]():
        assert play(course) == lost
