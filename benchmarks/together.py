"""Play days of 50 pipelines that share one warehouse, with the product's own coordinator, on virtual time.

    python -m benchmarks.together                          # four days, each with join_at as it is by default
    python -m benchmarks.together --earlier CHECKOUT       # and the mixed day with an earlier commit's coordinator

Files arrive as a seed draws them, by each pipeline's own rates; the coordinator is woken every minute and when a load
ends. S3, the ledger, the Data API and the warehouse are the simulation's; a load takes as long as `tune` assumes. The
warehouse is awake for 60 seconds at least each time that it wakes. What no schedule can go below is found by piercing:
each file names the wake-ups of which one must load it, and the fewest wake-ups that hit every file are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import importlib
import itertools
import json
import math
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import msgspec
from tests.simulation.fake_dynamodb import FakeDynamoDB
from tests.simulation.fake_redshift_data import FakeRedshiftData
from tests.simulation.fake_s3 import FakeS3
from tests.simulation.fake_warehouse import FakeWarehouse, Transaction
from tests.simulation.loop import SimulatedLoop

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR, DAY = 3600.0, 86_400.0
BEGINS = 1_800_000_000.0
BUCKET = "lake"
PIPELINES = 50
TICK_SECONDS = 60.0
MINIMUM_SECONDS = 60.0
"""What Redshift Serverless bills at least when it wakes (Amazon Redshift pricing)."""
EVENT_SECONDS = 1.0
"""From the end of a load until its event has woken the coordinator."""
COPY_SECONDS, COPY_SECONDS_PER_FILE, COPY_BYTES_PER_SECOND = 8.0, 0.01, 20e6
"""As `fastetl tune` assumes (`tune/prices.py`)."""
BYTES_PER_CHANGE = 130
MARGIN_SECONDS = 90

OFFICE = tuple(0.05 if hour < 7 or hour > 18 else 2.0 for hour in range(24))
STEADY = (1.0,) * 24


class Source(msgspec.Struct, frozen=True):
    """How one table changes."""

    rate: float
    """Changes a second, the mean of the day."""
    profile: tuple[float, ...]
    """The hours' rates as multiples of the mean."""
    max_age_seconds: int
    window_seconds: float = 20.0
    """The mapping's batching window."""


class File(msgspec.Struct, frozen=True):
    """A file as ingest registers it."""

    created: float
    first_change: float
    changes: int


def build_day(name: str, pipelines: int = PIPELINES) -> list[Source]:
    """Build one of the four days; the same every time."""
    source = random.Random(f"day {name}")
    made = []
    for number in range(pipelines):
        # From one change in a quarter of an hour to 6 a second: most tables of an account change little.
        rate = 10 ** source.uniform(-3, 0.8)
        age = source.choice((900, 900, 1800, 3600))
        burst = tuple(18.0 if hour == (number + 1) % 4 else 0.26 for hour in range(24))
        profile = {"steady": STEADY, "office": OFFICE, "nightly": burst}.get(name) or source.choice(
            (STEADY, OFFICE, burst)
        )
        made.append(Source(rate, profile, age, source.choice((10.0, 20.0))))
    return made


def draw_files(source: Source, seed: str) -> list[File]:
    """Draw a day's files: a batch begins with its first change, and ends with its window."""
    chance, now, files = random.Random(seed), 0.0, []
    mean = sum(source.profile) / len(source.profile)
    while now < DAY:
        rate = source.rate * source.profile[int(now // HOUR) % 24] / mean
        first = now + chance.expovariate(rate)
        if int(first // HOUR) != int(now // HOUR):
            # Another hour, another rate: what was drawn for this one does not come.
            now = (now // HOUR + 1) * HOUR
            continue
        now = first + source.window_seconds
        count = 1 + max(0, round(chance.gauss(rate * source.window_seconds, math.sqrt(rate * source.window_seconds))))
        files.append(File(now + 0.3, first, count))
    return [file for file in files if file.created < DAY]


def count_least_wakeups(days: Sequence[tuple[int, Sequence[File]]]) -> int:
    """Count the fewest wake-ups of the schedule that load each file within its pipeline's `max_age`.

    Each file has a first and a last wake-up that may load it. Going by the last ones, and waking only for a file that
    no earlier wake-up has taken, gives the fewest (the classic argument of piercing intervals).
    """
    windows = [
        (math.ceil((file.created + max_age) / TICK_SECONDS), math.ceil(file.created / TICK_SECONDS))
        for max_age, files in days
        for file in files
    ]
    count, woken = 0, -1
    for last, first in sorted(windows):
        if first > woken:
            count, woken = count + 1, last
    return count


class Played(msgspec.Struct):
    """What came of a day."""

    awake_seconds: float
    loads: int
    wakeups: int
    """Of the warehouse."""
    late: list[float]
    """By pipeline: how much later than its `max_age` 99 of 100 changes were loaded."""
    late_files: list[float]
    """The same of files, from their registration."""
    awake_minutes: list[tuple[float, float]]
    """From and to, of each time that the warehouse was awake."""
    calls: int
    """Invocations of the coordinator."""


class Play:
    """One day."""

    def __init__(self, sources: Sequence[Source], files: Sequence[Sequence[File]], join_at: float | None) -> None:
        self.sources, self.files = sources, files
        loop: Any = SimulatedLoop  # it has no more of a loop than the simulation needs
        self.loop = loop(0, starts_at=BEGINS)
        # A day of 50 pipelines has more steps than any course of the simulation.
        self.loop.most_steps = sys.maxsize
        self.s3 = FakeS3(self.loop.time)
        self.dynamodb = FakeDynamoDB(self.loop.time, lag=lambda: 0.0, page_items=1000)
        self.warehouse = FakeWarehouse(self.s3, self.loop.time)
        self.wake = asyncio.Event()
        self.loads: list[tuple[float, float]] = []
        self.load_of: dict[str, float] = {}
        self.calls = 0
        self.data_api = _DataApi(self)
        self.product = _Product(self, join_at)

    def run(self) -> Played:
        """Play it, and the hours after it in which its last files are loaded."""
        self.loop.run_until_complete(self._main())
        self.loop.close()
        spans: list[tuple[float, float]] = []
        for begin, end in sorted(self.loads):
            if spans and begin <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((begin, max(end, begin + MINIMUM_SECONDS)))
        late, late_files = [], []
        for number, source in enumerate(self.sources):
            of_changes, of_files = [], []
            for n, file in enumerate(self.files[number]):
                loaded = self.load_of[name_file(number, n)]
                of_files.append((loaded - BEGINS - file.created, 1.0))
                spread = (file.created - 0.3 - file.first_change) / 5
                of_changes += [
                    (
                        loaded - BEGINS - file.first_change - spread * (mark + 0.5 if file.changes > 1 else 0),
                        file.changes / 5,
                    )
                    for mark in range(5)
                ]
            late.append(find_quantile(of_changes, 0.99) - source.max_age_seconds)
            late_files.append(find_quantile(of_files, 0.99) - source.max_age_seconds)
        awake = sum(end - begin for begin, end in spans)
        return Played(awake, len(self.loads), len(spans), late, late_files, spans, self.calls)

    async def _main(self) -> None:
        for pipeline in self.product.pipelines:
            transaction = Transaction(self.warehouse)
            for statement in self.product.ddl_sql(pipeline):
                await transaction.run(statement.sql)
            transaction.commit()
        for number in range(len(self.sources)):
            self.loop.background(self._ingest(number))
        scheduled = BEGINS
        while self.loop.time() < BEGINS + DAY + 2 * HOUR:
            self.calls += 1
            self.wake.clear()
            await self.product.wake_up()
            while scheduled <= self.loop.time():
                scheduled += TICK_SECONDS
            timer = self.loop.create_task(asyncio.sleep(scheduled - self.loop.time()))
            waker = self.loop.create_task(self.wake.wait())
            await asyncio.wait([timer, waker], return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            waker.cancel()
            self.loop._tasks = [task for task in self.loop._tasks if not task.done()]

    async def _ingest(self, number: int) -> None:
        pipeline = self.product.pipelines[number]
        for n, file in enumerate(self.files[number]):
            await asyncio.sleep(max(0.0, BEGINS + file.created - self.loop.time()))
            file_id = name_file(number, n)
            key = f"data/{file_id}.csv.gz"
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(self.product.line(pipeline, file_id), 1))
            await self.product.register(pipeline, file_id, key, file.changes * BYTES_PER_CHANGE)

    def begin_load(self, name: str) -> float:
        """Give the seconds that a load takes, and note when it ends."""
        batch = self.dynamodb.items[f"B#{name.partition('/')[0]}"]
        seconds = (
            COPY_SECONDS
            + int(batch["files"]["N"]) * COPY_SECONDS_PER_FILE
            + int(batch["bytes"]["N"]) / COPY_BYTES_PER_SECOND
        )
        now = self.loop.time()
        self.loads.append((now, now + seconds))
        manifest = json.loads(self.s3.objects[BUCKET, batch["manifest_key"]["S"]].content)
        for entry in manifest["entries"]:
            self.load_of[entry["url"].rpartition("/")[2].partition(".")[0]] = now + seconds
        return seconds


async def _ignore(_name: str, _step: Any) -> None:
    """What a step did is seen in the ledger."""


def name_file(pipeline: int, number: int) -> str:
    """Name a file, so that files are spread over the index."""
    return f"{(pipeline * 1_000_003 + number) * 2_654_435_761 % 2**32:08x}{pipeline:08x}{number:016x}"


def find_quantile(weighed: Sequence[tuple[float, float]], share: float) -> float:
    """Find the value below which this share of the weight is; 0 of nothing."""
    total, passed = sum(weight for _, weight in weighed), 0.0
    for value, weight in sorted(weighed):
        passed += weight
        if passed >= share * total:
            return value
    return 0.0


class _DataApi(FakeRedshiftData):
    """Takes the time of a load while COPY runs, and wakes the coordinator a moment after the end."""

    def __init__(self, play: Play) -> None:
        super().__init__(play.loop, play.warehouse, on_event=self._on_end)
        self._play = play

    def _on_end(self, _name: str, _status: str) -> None:
        self._play.loop.background(self._tell())

    async def _tell(self) -> None:
        await asyncio.sleep(EVENT_SECONDS)
        self._play.wake.set()

    async def _run_part(self, execution: Any, part: Any, transaction: Any) -> None:
        if part.sql.split(None, 3)[2] == "copy":
            await asyncio.sleep(self._play.begin_load(execution.name))
        await super()._run_part(execution, part, transaction)


class _Direct:
    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._service, operation)

        async def call(**arguments: Any) -> Any:
            return method(**arguments)

        return call


def find(*places: str) -> Any:
    """Find something of the product where this commit has it, or where an earlier one has; None where neither has."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(f"fastetl.{module}"), name)
        except (ImportError, AttributeError):
            continue
    return None


class _Product:
    """The coordinator and what it works on: this commit's, or that of an earlier one whose checkout is on the path."""

    def __init__(self, play: Play, join_at: float | None) -> None:
        clients = {"s3": _Direct(play.s3), "dynamodb": _Direct(play.dynamodb), "redshift-data": _Direct(play.data_api)}
        self.ddl_sql = find("sql.tables:ddl_sql", "statements:ddl_sql")
        self.pipelines = self._make_pipelines(play, {} if join_at is None else {"join_at": join_at})
        self.ledger = find("aws.ledger:Ledger", "ledger:Ledger")(clients["dynamodb"], "ledger")
        config = find("config.model:Config", "config:Config")(BUCKET, "ledger", tuple(self.pipelines))
        loader = find("load.loader:Loader", "load:Loader")
        if rounds := find("load.rounds:Rounds"):
            build, numbers = find("aws.deployment:build_deployment"), itertools.count()
            how = {"clock": play.loop.time, "new_name": lambda: f"name{next(numbers)}"}
            loaders = {each.name: loader(build(config, each, clients, **how)) for each in self.pipelines}
            self._rounds = rounds(loaders, self.pipelines)
            return
        bucket = find("s3:Bucket")(clients["s3"], BUCKET)
        how = {"clock": play.loop.time, "new_installation": lambda: "day"}
        self._rounds = None
        self._loaders = [
            loader(config, each, bucket, self.ledger, self._earlier_warehouse(clients, each), **how)
            for each in self.pipelines
        ]

    @staticmethod
    def _earlier_warehouse(clients: dict[str, Any], pipeline: Any) -> Any:
        return find("redshift:Warehouse")(clients["redshift-data"], pipeline.redshift)

    async def wake_up(self) -> None:
        """One invocation of the coordinator."""
        if self._rounds is None:
            for loader in self._loaders:
                while (await loader.wake_up()).progressed:
                    pass
            return
        for moved in (await self._rounds.wake_up(_ignore, lambda: 300.0)).values():
            if moved.error:
                raise moved.error

    def _make_pipelines(self, play: Play, redshift: dict[str, Any]) -> list[Any]:
        column, kind = (
            find("columns.types:Column", "columns:Column"),
            find("columns.types:RedshiftType", "columns:RedshiftType"),
        )
        policy, pipeline, target, layout_key = (
            find(f"config.model:{name}", f"config:{name}") or find(f"keys:{name}", f"manifest:{name}")
            for name in ("LoadPolicy", "Pipeline", "RedshiftTarget", "layout_key")
        )
        made = [
            pipeline(
                name=f"p{n}", table=f"table{n}", keys=("id",), schema="public", target=f"t{n}",
                columns=(column("id", ("id",), kind.parse("VARCHAR(64)")),),
                load=policy(max_age_seconds=source.max_age_seconds),
                redshift=target(workgroup="shared", **redshift),
            )
            for n, source in enumerate(play.sources)
        ]  # fmt: skip
        for each in made:
            key = layout_key("", each.name, each.layout.layout_id)
            play.s3.put_object(Bucket=BUCKET, Key=key, Body=msgspec.json.encode(each.layout))
        return made

    def line(self, _pipeline: Any, file_id: str) -> bytes:
        """Give a file's one row."""
        version = f"0001#2026-01-01T00:00:00.000#{int(file_id[16:], 16) + 1:040d}"
        return f"S=a;,{version},INSERT,{file_id},2026-01-01 00:00:00.000000,false,{file_id},a\n".encode()

    async def register(self, pipeline: Any, file_id: str, key: str, size: int) -> None:
        """Register a file, as ingest does."""
        clock = asyncio.get_running_loop().time
        files = self.ledger.files if hasattr(self.ledger, "batches") else self.ledger
        await files.register(
            find("model:FileItem")(
                file_id=file_id, pipeline=pipeline.name, key=key, layout_id=pipeline.layout.layout_id, checksum="",
                bytes=size, rows=1, rejects=0, rejects_key="", version_min="", version_max="",
                changed_min="2026-01-01 00:00:00.000000", changed_max="2026-01-01 00:00:00.000000",
                created=int(clock() * 1000),
            )
        )  # fmt: skip


def play_day(name: str, join_at: float | None = None, pipelines: int = PIPELINES) -> dict[str, Any]:
    """Play a day, and compare it with the least possible."""
    sources = build_day(name, pipelines)
    files = [draw_files(source, f"{name} {n}") for n, source in enumerate(sources)]
    ledger = sys.modules[find("aws.ledger.pending:PendingIndex", "aws.ledger:Ledger", "ledger:Ledger").__module__]
    with patch.object(ledger, "INDEX_BUCKETS", 1):
        played = Play(sources, files, join_at).run()
    least = count_least_wakeups([(source.max_age_seconds, drawn) for source, drawn in zip(sources, files, strict=True)])
    by_hour: dict[int, float] = defaultdict(float)
    for begin, end in played.awake_minutes:
        by_hour[int((begin - BEGINS) // HOUR)] += (end - begin) / 60
    return {
        "day": name, "files": sum(map(len, files)), "loads": played.loads, "wakeups": played.wakeups,
        "awake_minutes": round(played.awake_seconds / 60, 1), "least_minutes": least * MINIMUM_SECONDS / 60,
        "ratio": round(played.awake_seconds / 60 / (least * MINIMUM_SECONDS / 60), 3),
        "latest_p99_beyond_max_age": round(max(played.late), 1),
        "latest_file_p99_beyond_max_age": round(max(played.late_files), 1),
        "coordinator_invocations": played.calls,
        "awake_minutes_by_hour": [round(by_hour[hour], 1) for hour in range(24)],
    }  # fmt: skip


def play_with(checkout: Path, name: str) -> dict[str, Any]:
    """Play a day with the coordinator of an earlier commit, in a process of its own."""
    path = os.pathsep.join([str(checkout / "src"), str(checkout)])
    command = [sys.executable, __file__, "--days", name, "--json"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=checkout, check=True, capture_output=True, text=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)[0]
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description="50 pipelines on one warehouse, on virtual time")
    parser.add_argument("--days", nargs="*", default=["steady", "office", "nightly", "mixed"])
    parser.add_argument("--join-at", type=float, help="share from which on a pipeline joins; the product's by default")
    parser.add_argument("--earlier", type=Path, help="a checkout of an earlier commit, for the mixed day")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    played = [play_day(name, asked.join_at) for name in asked.days]
    if asked.earlier:
        played.append({**play_with(asked.earlier, "mixed"), "day": "mixed, earlier"})
    if asked.json:
        print(json.dumps(played))
        return
    for day in played:
        print(
            f"{day['day']:16} {day['files']:8,} files {day['loads']:6,} loads {day['awake_minutes']:8,.1f} min awake, "
            f"{day['ratio']:.3f} times the least possible {day['least_minutes']:.0f}; of the latest pipeline 99 of 100 "
            f"changes {day['latest_p99_beyond_max_age']:.0f} s after max_age at most"
        )


if __name__ == "__main__":
    main()
