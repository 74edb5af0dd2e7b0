"""A day of a deployment on virtual time: what the model predicts, played out change by change and load by load.

Changes come at random, are cut into batches as Lambda does it, and become files in the product's own ledger; the
product's own coordinator loads them, on the fake services of the simulation. Durations of invocations and loads are
the model's; how often anything happens, and how long changes wait, is not.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec

from fastetl import keys
from fastetl.aws import Mapping, Shard, Stream
from fastetl.aws.ledger import Ledger
from fastetl.aws.redshift import Warehouse
from fastetl.aws.s3 import Bucket
from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Config, LoadPolicy, Pipeline, RedshiftTarget
from fastetl.decode.decoder import Decoder
from fastetl.ingest.encode import encode_frames
from fastetl.load import Watch
from fastetl.load.loader import Loader
from fastetl.model import FileItem
from fastetl.sql.tables import ddl_sql
from fastetl.tune.model import HOUR, Measured, Settings, Workload, duration
from fastetl.tune.prices import Book
from tests.deployments import make_deployment
from tests.simulation.fake_dynamodb import FakeDynamoDB
from tests.simulation.fake_redshift_data import FakeRedshiftData, Pace
from tests.simulation.fake_s3 import FakeS3
from tests.simulation.fake_warehouse import FakeWarehouse, Transaction
from tests.simulation.faults import FaultPlan, Network
from tests.simulation.loop import SimulatedLoop

BEGINS = 1_800_000_000.0
BUCKET = "lake"
LABEL = "2026-01-01T00:00:00.000"
ARN = f"arn:aws:dynamodb:us-east-1:1:table/orders/stream/{LABEL}"
MARKS = 5
"""Changes of each file whose waiting is looked at, evenly over the time in which the file's changes came."""


class Played(msgspec.Struct):
    """What happened."""

    fresh_p50: float
    """Seconds, of all changes that were loaded."""
    fresh_p99: float
    files: int
    file_bytes: int
    loads: int
    wake_ups: int
    """Of the coordinator."""
    lambda_seconds: float
    """Of the ingest function."""
    awake_seconds: float
    """Of the warehouse."""
    puts: float
    """Requests to S3 that write."""
    calls: Counter[tuple[str, str]]
    """What the product asked of which service."""
    looked: Counter[str]
    """What its looks after the stream asked: `list` requests, `read` and `write` units."""


class Day:
    """One pipeline's day."""

    def __init__(self, measured: Measured, settings: Settings, workload: Workload, book: Book, seed: int = 0) -> None:
        self.measured, self.settings, self.workload, self.book = measured, settings, workload, book
        self.random = random.Random(seed)
        self.loop = SimulatedLoop(seed, starts_at=BEGINS)
        plan = FaultPlan(seed)
        plan.active = False
        self.network = Network(self.loop, plan)
        self.pipeline = Pipeline(
            name="orders", table="orders", keys=("id",), schema="public", target="orders",
            columns=(Column("id", ("id",), RedshiftType.parse("VARCHAR(64)")),),
            load=LoadPolicy(settings.max_bytes, settings.max_age_seconds, settings.max_files),
            redshift=RedshiftTarget(workgroup="simulated"),
        )  # fmt: skip
        self.config = Config(BUCKET, "ledger", (self.pipeline,))
        self.s3 = FakeS3(self.loop.time)
        self.dynamodb = FakeDynamoDB(self.loop.time, lag=lambda: 0.0, page_items=1000)
        self.warehouse = FakeWarehouse(self.s3, self.loop.time)
        self.wake = asyncio.Event()
        self.data_api = FakeRedshiftData(
            self.loop, self.warehouse, pace=_Pace(self), on_event=lambda _name, _status: self.wake.set()
        )
        self.ledger = Ledger(self.network.client(self.dynamodb), "ledger")
        self.marks: dict[str, tuple[int, list[float]]] = {}
        """Of each file: how many changes each mark stands for, and when they came."""
        self.waits: list[tuple[float, float]] = []
        self.loads: list[tuple[float, float]] = []
        self.files = 0
        self.file_bytes = 0
        self.lambda_seconds = 0.0
        self.puts = 0.0
        self.wake_ups = 0
        self.sequence = 0
        self.looked: Counter[str] = Counter()
        self._line = self._build_line()

    def play(self) -> Played:
        """Play it."""
        self.loop.run_until_complete(self._main())
        self.loop.close()
        return self._sum_up()

    async def _main(self) -> None:
        transaction = Transaction(self.warehouse)
        for statement in ddl_sql(self.pipeline):
            await transaction.run(statement.sql)
        transaction.commit()
        layout = self.pipeline.layout
        key = keys.layout_key("", self.pipeline.name, layout.layout_id)
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=msgspec.json.encode(layout))
        for number in range(self.workload.shards * self.settings.parallelization):
            self.loop.background(self._lane(f"shard-{number}"))
        self.loop.background(self._coordinate())
        await asyncio.sleep(24 * HOUR)

    # --- changes -------------------------------------------------------------------------------------------------

    def _rate(self) -> float:
        rates = self.workload.hours
        part = int((self.loop.time() - BEGINS) * len(rates) // (24 * HOUR)) % len(rates)
        return rates[part] / self.workload.shards / self.settings.parallelization

    async def _lane(self, shard_id: str) -> None:
        """Cut batches of what comes, and invoke the function with one after the other."""
        constants, settings = self.book.constants, self.settings
        record_bytes = self.measured.samples[-1].event_bytes / self.measured.samples[-1].records
        most = int(min(settings.batch_size, constants.payload_bytes // record_bytes))
        read_to = self.loop.time()
        while True:
            rate = self._rate()
            first = read_to + self.random.expovariate(rate)
            window = settings.window_seconds or self.random.random() * constants.poll_seconds
            full = first + self.random.gammavariate(most - 1, 1 / rate) if most > 1 else first
            # What comes while the previous invocation runs is read as well, up to a full batch.
            cut = min(full, max(first + window, self.loop.time()))
            count = most if cut == full else 1 + self._count(rate * (cut - first))
            await asyncio.sleep(max(0.0, cut - self.loop.time()))
            read_to = cut
            sample = self.measured.at(count)
            seconds = duration(sample, settings.memory_mb, constants)
            self.lambda_seconds += seconds
            await asyncio.sleep(seconds)
            spread = (cut - first) / MARKS
            marks = [first + spread * (n + 0.5) for n in range(MARKS)]
            await self._register(shard_id, count, sample.file_bytes, marks, cut)

    def _count(self, expected: float) -> int:
        """Draw how many come, by how many are expected."""
        if expected > 50:
            return max(0, round(self.random.gauss(expected, math.sqrt(expected))))
        passed, count = self.random.expovariate(1.0), 0
        while passed < expected:
            passed, count = passed + self.random.expovariate(1.0), count + 1
        return count

    async def _register(self, shard_id: str, count: int, size: int, marks: list[float], last: float) -> None:
        file_id = f"{self.random.getrandbits(128):032x}"
        changed = f"{datetime.fromtimestamp(marks[0], UTC):%Y-%m-%d %H:%M:%S.%f}"
        key = keys.data_key("", "orders", LABEL, changed, file_id, "gzip")
        self.sequence += 1
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(self._line.replace(b"F" * 32, file_id.encode())))
        self.puts += 1 if size < self.settings.part_size else 2 + math.ceil(size / self.settings.part_size)
        self.files += 1
        self.file_bytes += size
        self.marks[file_id] = (count, marks)
        await self.ledger.files.register(
            FileItem(
                file_id=file_id, pipeline=self.pipeline.name, key=key, layout_id=self.pipeline.layout.layout_id,
                checksum="", bytes=size, rows=1, rejects=0, rejects_key="", version_min="", version_max="",
                changed_min=changed, changed_max=changed, created=int(self.loop.time() * 1000), shard_id=shard_id,
                last_sequence=str(self.sequence), last_changed=int(last * 1000),
            )
        )  # fmt: skip

    def _build_line(self) -> bytes:
        change = {"Keys": {"id": {"S": "a"}}, "NewImage": {"id": {"S": "a"}}, "SequenceNumber": "1"}
        record = {
            "eventID": "1", "eventName": "INSERT", "dynamodb": {**change, "ApproximateCreationDateTime": 1_767_225_600},
            "eventSourceARN": ARN,
        }  # fmt: skip
        changes = Decoder(self.pipeline).decode({"Records": [record]})
        layout = msgspec.structs.replace(self.pipeline.layout, compression="none")
        return b"".join(encode_frames([changes.frame], layout, 1)).replace(changes.file_id.encode(), b"F" * 32)

    # --- loads ---------------------------------------------------------------------------------------------------

    async def _coordinate(self) -> None:
        bucket = Bucket(self.network.client(self.s3), BUCKET)
        warehouse = Warehouse(self.network.client(self.data_api), self.pipeline.redshift)
        watch = self._build_watch()
        deployment = make_deployment(self.config, self.pipeline, bucket, self.ledger, warehouse, clock=self.loop.time)
        loader = Loader(deployment, watch.foresee)
        scheduled = BEGINS
        while True:
            self.wake_ups += 1
            at_once = False
            while (step := await loader.wake_up()).progressed:
                if step.action == "loaded" and step.batch:
                    at_once = True
                    watch.note_loaded(step.batch)
            await watch.look(at_once=at_once)
            if self.loop.time() >= scheduled:
                scheduled += self.book.constants.wake_up_seconds
            self.wake.clear()
            timer = self.loop.create_task(asyncio.sleep(scheduled - self.loop.time()))
            waker = self.loop.create_task(self.wake.wait())
            await asyncio.wait([timer, waker], return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            waker.cancel()

    def _build_watch(self) -> Watch:
        bucket = Bucket(_Counted(self.s3, self.looked, self.dynamodb), BUCKET)
        ledger = Ledger(_Counted(self.dynamodb, self.looked, self.dynamodb), "ledger")
        warehouse = Warehouse(self.network.client(self.data_api), self.pipeline.redshift)
        deployment = make_deployment(self.config, self.pipeline, bucket, ledger, warehouse, clock=self.loop.time)
        names = (f"shard-{number}" for number in range(self.workload.shards * self.settings.parallelization))
        return Watch(deployment, _Streams(tuple(Shard(name) for name in names)), ("uuid",))

    def begin_load(self) -> float:
        """Say how long the load that has just begun takes, and note how long its changes will have waited."""
        running = [item for pk, item in self.dynamodb.items.items() if pk.startswith("B#") and _is_running(item)]
        (batch,) = running
        constants, now = self.book.constants, self.loop.time()
        seconds = (
            constants.copy_base_seconds
            + int(batch["files"]["N"]) * constants.copy_seconds_per_file
            + int(batch["bytes"]["N"]) / constants.copy_bytes_per_second
        )
        for member in self.s3.objects[BUCKET, batch["files_key"]["S"]].content.decode().splitlines():
            count, marks = self.marks.pop(member.partition(",")[0])
            self.waits += [(now + seconds - came, count / MARKS) for came in marks]
        self.loads.append((now, seconds))
        return seconds

    # --- what came of it -----------------------------------------------------------------------------------------

    def _sum_up(self) -> Played:
        calls = Counter((service, operation) for _, _, service, operation, *_ in self.network.trace)
        return Played(
            fresh_p50=self._waited(0.5),
            fresh_p99=self._waited(0.99),
            files=self.files,
            file_bytes=self.file_bytes,
            loads=len(self.loads),
            wake_ups=self.wake_ups,
            lambda_seconds=self.lambda_seconds,
            awake_seconds=self._awake(self.book.constants.redshift_minimum_seconds),
            puts=self.puts + calls["s3", "put_object"],
            calls=calls,
            looked=self.looked,
        )

    def _waited(self, share: float) -> float:
        total, passed = sum(count for _, count in self.waits), 0.0
        for seconds, count in sorted(self.waits):
            passed += count
            if passed >= share * total:
                return seconds
        raise AssertionError("nothing was loaded")

    def _awake(self, minimum: float) -> float:
        """Add up the time in which the warehouse runs: at least the minimum after each start."""
        awake, until = 0.0, 0.0
        for begin, seconds in self.loads:
            end = begin + max(seconds, minimum)
            awake += max(0.0, end - max(begin, until))
            until = max(until, end)
        return awake


class _Counted:
    """A client that counts what it asks, in what is paid for."""

    def __init__(self, service: Any, counts: Counter[str], dynamodb: FakeDynamoDB) -> None:
        self._service, self._counts, self._dynamodb = service, counts, dynamodb

    def __getattr__(self, operation: str) -> Any:
        async def call(**arguments: Any) -> Any:
            answer = getattr(self._service, operation)(**arguments)
            size = len(json.dumps(self._dynamodb.items.get("W#orders", "")))
            match operation:
                case "list_objects_v2":
                    self._counts["list"] += 1
                case "batch_get_item":
                    self._counts["read"] += len(arguments["RequestItems"]["ledger"]["Keys"])
                case "get_item":
                    is_watermark = arguments["Key"]["pk"]["S"].startswith("W#")
                    self._counts["read"] += math.ceil(size / 4096) if is_watermark else 1
                case "put_item" | "update_item":
                    self._counts["write"] += math.ceil(size / 1024)
            return answer

        return call


class _Streams:
    """Says what Lambda and DynamoDB Streams would say."""

    def __init__(self, shards: tuple[Shard, ...]) -> None:
        self._shards = shards

    async def describe(self, arn: str) -> Stream:
        return Stream(arn, "ENABLED", int(BEGINS * 1000), self._shards)

    async def mapping(self, uuid: str) -> Mapping:
        return Mapping(uuid, ARN, "Enabled", "OK")


def _is_running(batch: dict) -> bool:
    return batch["state"]["S"] in {"SUBMITTING", "SUBMITTED"}


class _Pace(Pace):
    def __init__(self, day: Day) -> None:
        self._day = day

    def running(self, step: str) -> float:
        return self._day.begin_load() if step == "copy" else 0.0
