"""The first story on real S3 and DynamoDB APIs: an event becomes one file and one FILE item, however often it comes."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import Any

import msgspec
import orjson
import polars as pl
import pytest

from fastetl.aws.deployment import Deployment
from fastetl.aws.ledger import Ledger
from fastetl.aws.ledger.files import Files
from fastetl.aws.s3 import Bucket
from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Config, FileFormat, Pipeline
from fastetl.enrich.enricher import Enriched
from fastetl.errors import EventError, FastetlError, LedgerError, StorageError
from fastetl.ingest.ingester import Ingest
from fastetl.model import Layout
from fastetl.versions import EpochStart
from tests.conftest import Aws
from tests.deployments import create_head, make_deployment

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
NOW = 1_767_225_600.0


class Unchanged:
    """An enrichment that adds nothing."""

    def apply(self, frame: pl.DataFrame, write_records: object = None) -> Enriched:
        return Enriched(frame, {"seen": frame.height})


def make_pipeline(**changes: Any) -> Pipeline:
    columns = (
        Column("id", ("id",), RedshiftType.parse("BIGINT")),
        Column("note", ("note",), RedshiftType.parse("VARCHAR(20)")),
    )
    known: dict[str, Any] = {
        "name": "orders",
        "table": "orders",
        "keys": ("id",),
        "schema": "public",
        "target": "orders",
    }
    return Pipeline(**(known | {"columns": columns} | changes))


def event_of(*notes: Any, arn: str = ARN) -> bytes:
    records = [
        {
            "eventID": f"e{number}",
            "eventName": "INSERT",
            "eventSourceARN": arn,
            "dynamodb": {
                "ApproximateCreationDateTime": NOW + number,
                "Keys": {"id": {"N": str(number)}},
                "NewImage": {"id": {"N": str(number)}, "note": note},
                "SequenceNumber": str(number),
            },
        }
        for number, note in enumerate(notes)
    ]
    return orjson.dumps({"Records": records})


class Plant:
    def __init__(self, s3: Any, bucket: str, ledger: Ledger) -> None:
        self.s3, self.name, self.ledger = s3, bucket, ledger
        self.bucket = Bucket(s3, bucket)

    def ingest(self, pipeline: Pipeline | None = None, *, ledger: Any = None, bucket: Any = None) -> Ingest:
        return Ingest(self.deployment(pipeline, ledger=ledger, bucket=bucket), Unchanged())

    def deployment(self, pipeline: Pipeline | None = None, *, ledger: Any = None, bucket: Any = None) -> Deployment:
        pipeline = pipeline or make_pipeline()
        config = Config(self.name, self.ledger.table.name, (pipeline,))
        return make_deployment(config, pipeline, bucket or self.bucket, ledger or self.ledger, clock=lambda: NOW)

    async def keys(self) -> list[str]:
        return [key async for key in self.bucket.list_keys("")]

    async def files(self) -> list[Any]:
        return [file async for file in self.ledger.files.pending("orders")]


@pytest.fixture
async def plant(aws: Aws) -> Plant:
    made = Plant(await aws.client("s3"), await aws.new_bucket(), await aws.new_ledger())
    await create_head(made.deployment())
    return made


S = {"S": "x"}


async def test_an_event_becomes_an_object_and_an_item(plant: Plant) -> None:
    outcome = await plant.ingest().ingest(event_of({"S": 'a "b", c\r\n'}, {"S": ""}, {"NULL": True}))
    file = outcome.file
    assert file is not None
    layout = make_pipeline().layout
    data_key = f"data/orders/2026-01-01T00:00:00.000/2026/01/01/00/{outcome.file_id}.csv.gz"
    layout_key = f"layouts/orders/{layout.layout_id}.json"
    assert await plant.keys() == [data_key, layout_key]
    body = await plant.bucket.get(data_key)
    lines = gzip.decompress(body).decode()
    assert lines.startswith("N=0;,0000#2026-01-01T00:00:00.000#")
    assert f'{outcome.file_id},0,"a ""b"", c\r\n"\n' in lines
    assert lines.endswith(f'{outcome.file_id},1,""\n' + lines.splitlines(keepends=True)[-1])
    assert lines.endswith(f"{outcome.file_id},2,<N>\n")
    assert file == await plant.ledger.files.register(file)
    assert (file.key, file.rows, file.rejects, file.bytes, file.state) == (data_key, 3, 0, len(body), "PENDING")
    assert file.checksum == base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    assert (file.changed_min, file.changed_max) == ("2026-01-01 00:00:00.000000", "2026-01-01 00:00:02.000000")
    assert msgspec.json.decode(await plant.bucket.get(layout_key), type=Layout) == layout
    assert (outcome.records, outcome.decoded_native, outcome.already_there) == (3, 3, False)
    assert outcome.enrichment == {"seen": 3}


async def test_the_same_event_again_changes_nothing(plant: Plant) -> None:
    event = event_of(S, S)
    first = await plant.ingest().ingest(event)
    for repeated in (event, orjson.loads(event)):  # as bytes, and as the dict that it is without raw events
        again = await plant.ingest().ingest(repeated)
        assert again.already_there
        assert again.file == first.file
    assert len(await plant.keys()) == 2
    assert len(await plant.files()) == 1


async def test_a_retry_after_a_deploy_registers_what_the_first_attempt_wrote(plant: Plant) -> None:
    class Dead(Files):
        async def register(self, item: Any, **_: Any) -> Any:
            raise LedgerError("killed before the item was written")

    event = event_of(S, S)
    ledger = Ledger(plant.ledger.table._client, plant.ledger.table.name)
    ledger.files = Dead(ledger.table)
    with pytest.raises(LedgerError):
        await plant.ingest(ledger=ledger).ingest(event)
    before = [key for key in await plant.keys() if key.startswith("data/")]
    deployed = make_pipeline(file=FileFormat(delimiter="|"), outputs=frozenset({"mirror", "log"}))
    outcome = await plant.ingest(deployed).ingest(event)
    assert outcome.already_there
    assert outcome.file is not None
    assert outcome.file.layout_id == make_pipeline().layout.layout_id != deployed.layout.layout_id
    assert [key for key in await plant.keys() if key.startswith("data/")] == before


async def test_a_deploy_that_changes_the_compression_leaves_no_second_object(plant: Plant) -> None:
    event = event_of(S, S)
    first = await plant.ingest().ingest(event)
    deployed = make_pipeline(file=FileFormat(compression="zstd"))
    again = await plant.ingest(deployed).ingest(event)
    assert again.file == first.file
    assert [key for key in await plant.keys() if key.startswith("data/")] == [first.file.key if first.file else ""]


async def test_what_another_stack_with_the_same_bucket_has_registered_stays(plant: Plant, aws: Aws) -> None:
    event = event_of(S, {"S": "n" * 21})
    await plant.ingest().ingest(event)
    # A second stack, whose files have another compression; then the first one gets its configuration, and the event.
    deployed = make_pipeline(file=FileFormat(compression="zstd"))
    ledger = await aws.new_ledger()
    await create_head(plant.deployment(ledger=ledger))
    theirs = (await plant.ingest(deployed, ledger=ledger).ingest(event)).file
    await plant.ingest(deployed).ingest(event)
    assert theirs is not None
    assert {theirs.key, theirs.rejects_key} <= set(await plant.keys())


async def test_rejects_are_kept_with_reason_and_record(plant: Plant) -> None:
    outcome = await plant.ingest().ingest(event_of(S, {"S": "n" * 21}, {"N": "\u0661"}))
    assert outcome.rejects == {("note", "too_long"): 1, ("note", "malformed"): 1}
    assert outcome.file is not None
    assert (outcome.file.rows, outcome.file.rejects) == (1, 2)
    lines = gzip.decompress(await plant.bucket.get(outcome.file.rejects_key)).splitlines()
    kept = [json.loads(line) for line in lines]
    assert [(reject["event_id"], reject["column"], reject["reason"]) for reject in kept] == [
        ("e1", "note", "too_long"), ("e2", "note", "malformed"),
    ]  # fmt: skip
    assert json.loads(kept[0]["record"])["dynamodb"]["NewImage"]["note"] == {"S": "n" * 21}


async def test_nothing_but_rejects_is_registered_without_an_object(plant: Plant) -> None:
    event = event_of({"L": []})
    for _ in range(2):
        outcome = await plant.ingest().ingest(event)
        assert outcome.file is not None
        assert (outcome.file.state, outcome.file.key, outcome.file.rows, outcome.file.rejects) == ("REJECTED", "", 0, 1)
    assert await plant.files() == []
    assert [key.split("/")[0] for key in await plant.keys()] == ["rejects"]


async def test_a_file_of_several_parts(plant: Plant) -> None:
    file = FileFormat(part_size_bytes=5 * 1024 * 1024, compression="none")
    columns = (Column("note", ("note",), RedshiftType.parse("VARCHAR(65535)")),)
    note = {"S": "0123456789" * 6_000}
    outcome = await plant.ingest(make_pipeline(file=file, columns=columns)).ingest(event_of(*[note] * 200))
    assert outcome.file is not None
    assert outcome.file.bytes > 12_000_000
    head = await plant.s3.head_object(Bucket=plant.name, Key=outcome.file.key)
    assert head["ETag"].strip('"').endswith("-3")
    assert (await plant.bucket.get(outcome.file.key)).count(note["S"].encode()) == 200


async def test_an_epoch_that_has_begun_is_in_the_version(plant: Plant) -> None:
    head = await plant.ledger.batches.head("orders")
    await plant.ledger.batches.change_head(head, epochs=(EpochStart(7, int(NOW) + 1),))
    outcome = await plant.ingest().ingest(event_of(S, S, S))
    assert outcome.file is not None
    assert outcome.file.version_min.startswith("0000#")
    assert outcome.file.version_max.startswith("0007#")


@pytest.mark.parametrize("by", ["wall", "monotonic", "wall backwards"])
async def test_epochs_are_read_again_when_either_clock_says_so(plant: Plant, by: str) -> None:
    """The time of day may step back, and the other clock may stand still while the process is frozen."""
    wall, monotonic = [NOW], [0.0]
    deployment = make_deployment(
        Config(plant.name, plant.ledger.table.name, (make_pipeline(),)),
        make_pipeline(), plant.bucket, plant.ledger, clock=lambda: wall[0],
    )  # fmt: skip
    ingest = Ingest(deployment, Unchanged(), lambda: monotonic[0])
    head = await plant.ledger.batches.head("orders")
    await ingest.ingest(event_of(S))
    await plant.ledger.batches.change_head(head, epochs=(EpochStart(7, int(NOW)),))
    fresh = await ingest.ingest(event_of(S, S))
    assert fresh.file is not None
    assert fresh.file.version_max.startswith("0000#")
    wall[0] += {"wall": 30, "monotonic": 0, "wall backwards": -20}[by]
    monotonic[0] += 30 if by == "monotonic" else 0
    again = await ingest.ingest(event_of(S, S, S))
    assert again.file is not None
    assert again.file.version_min.startswith("0007#")


@pytest.mark.parametrize(("broken", "error"), [("put_object", StorageError), ("put_item", LedgerError)])
async def test_what_is_not_there_is_never_a_success(plant: Plant, broken: str, error: type[FastetlError]) -> None:
    class Broken:
        def __init__(self, client: Any) -> None:
            self.client = client

        def __getattr__(self, operation: str) -> Any:
            if operation == broken:
                raise OSError("unreachable")
            return getattr(self.client, operation)

    ledger = Ledger(Broken(plant.ledger.table._client), plant.ledger.table.name)
    with pytest.raises(error):
        await plant.ingest(ledger=ledger, bucket=Bucket(Broken(plant.s3), plant.name)).ingest(event_of(S))
    assert await plant.files() == []


async def test_an_event_of_another_shape_is_not_acknowledged(plant: Plant) -> None:
    with pytest.raises(EventError):
        await plant.ingest().ingest(b'{"Records": []}')
    assert await plant.keys() == []


async def test_what_does_not_fit_is_kept_with_the_file_whatever_its_name(plant: Plant) -> None:
    event = orjson.loads(event_of(S, S, {"S": "n" * 21}))
    event["Records"][0]["dynamodb"]["NewImage"] |= {"colour": S, "x" * 300: S, "lone \ud800": S}
    event["Records"][1]["dynamodb"]["NewImage"] |= {"colour": S}
    outcome = await plant.ingest().ingest(json.dumps(event).encode())
    assert outcome.file is not None
    assert outcome.file.drift == {
        "ignored/colour": 2, "ignored/" + "x" * 255: 1, "ignored/lone ?": 1, "reject/note/too_long": 1
    }  # fmt: skip
    (kept,) = (await plant.ledger.files.read([outcome.file_id])).values()
    assert kept.drift == outcome.file.drift
