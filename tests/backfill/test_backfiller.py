"""Exports among changes: what is in mirror and log is right whatever comes first, twice, late or never."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastetl.backfill.backfiller import CLOCK_SLACK_SECONDS, Backfiller
from fastetl.backfill.convert import Converter
from fastetl.backfill.export_folder import ExportFolder
from fastetl.config.model import FileFormat, LoadPolicy, Pipeline
from fastetl.errors import ExportError, StorageError
from fastetl.ingest.ingester import EPOCHS_KEPT_SECONDS, Ingest
from fastetl.ingest.store import FileStore
from fastetl.model import Backfill, Converted
from tests.exports import write_export
from tests.ingest.test_ingester import Unchanged
from tests.plant import LABEL, Plant

ARN = f"arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/{LABEL}"


def item(number: int, note: str, amount: str = "1") -> dict[str, Any]:
    return {"id": {"N": str(number)}, "note": {"S": note}, "amount": {"N": amount}}


def lines(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"Item": each} for each in items]


class Flow:
    """A pipeline with both sources: its stream, and exports."""

    def __init__(self, plant: Plant, root: Path) -> None:
        self.plant, self.root = plant, root
        self.sequence = 100
        self.ingest = Ingest(plant.deployment(), Unchanged())
        self.backfiller = Backfiller(plant.deployment(), sleep=self.sleep)
        self.exports = 0

    async def sleep(self, seconds: float) -> None:
        self.plant.now += seconds

    async def change(self, *changes: tuple[str, int, str], at: float | None = None) -> None:
        """Let changes of the stream arrive: what happened, the key, the note."""
        records = []
        for name, number, note in changes:
            self.sequence += 1
            dynamodb = {
                "ApproximateCreationDateTime": self.plant.now if at is None else at,
                "Keys": {"id": {"N": str(number)}},
                "SequenceNumber": str(self.sequence),
            }
            if name != "REMOVE":
                dynamodb["NewImage"] = item(number, note)
            records.append(
                {"eventID": f"e{self.sequence}", "eventName": name, "eventSourceARN": ARN, "dynamodb": dynamodb}
            )
        await self.ingest.ingest({"Records": records})

    async def epoch(self) -> None:
        """Begin an epoch, and wait until an export of it may be taken."""
        await self.backfiller.wait_for(await self.backfiller.begin_epoch())

    def export(self, *data_files: list[dict[str, Any]], at: float | None = None, kind: str = "FULL_EXPORT") -> Path:
        self.exports += 1
        when = self.plant.now if at is None else at
        export_id = f"0{self.exports}-abc"
        return write_export(self.root / export_id, data_files, exported_at=when, export_id=export_id, kind=kind)

    async def open(self, folder: Path, **how: Any) -> Backfill:
        export, files = await ExportFolder(None, str(folder)).read()
        return await self.backfiller.open(str(folder), export, files, **({"resync": False} | how))

    async def convert(self, backfill: Backfill, pipeline: Pipeline | None = None) -> list[Converted]:
        """Convert every data file that is left."""
        pipeline = pipeline or self.plant.pipeline
        folder = ExportFolder(None, backfill.location)
        export, files = await folder.read()
        store = FileStore(msgspec.structs.replace(self.plant.deployment(), pipeline=pipeline))
        converter = Converter(pipeline, store, Unchanged())
        head = await self.plant.ledger.head(pipeline.name)
        done = []
        for file in await self.backfiller.left(backfill, files):
            path = self.root / "data.json.gz"
            await folder.fetch(file, path)
            done.append(await converter.convert(export, file, path, head.epochs, backfill.split_bytes))
            await self.plant.ledger.put_converted(backfill, done[-1])
        return done

    async def notes(self) -> dict[int, str]:
        return {int(number): note for number, _, note in await self.plant.mirror()}


@pytest.fixture
async def flow(make_plant: Any, tmp_path: Path) -> Flow:
    plant = await make_plant(load=LoadPolicy(max_bytes=1), file=FileFormat(split_bytes=1024**2))
    return Flow(plant, tmp_path)


async def test_changes_before_during_and_after_an_export(flow: Flow) -> None:
    await flow.change(("INSERT", 1, "before"), ("INSERT", 2, "before"))
    start = await flow.backfiller.begin_epoch()
    await flow.change(("MODIFY", 2, "between"))  # before T0: an older epoch
    await flow.backfiller.wait_for(start)
    assert flow.plant.now >= start.starts_at + CLOCK_SLACK_SECONDS
    await flow.change(("MODIFY", 3, "in the export too"), ("INSERT", 4, "soon deleted"))
    await flow.change(("REMOVE", 4, ""))
    folder = flow.export(
        lines(item(1, "before"), item(2, "between"), item(3, "in the export too")), lines(item(9, "only there"))
    )
    await flow.change(("MODIFY", 1, "after"), ("REMOVE", 9, ""), ("INSERT", 10, "after"))
    backfill = await flow.open(folder)
    done = await flow.convert(backfill)
    assert [(each.items, each.rows, each.rejects, each.files) for each in done] == [(3, 3, 0, 1), (1, 1, 0, 1)]
    await flow.plant.run()
    expected = {1: "after", 2: "between", 3: "in the export too", 10: "after"}
    assert await flow.notes() == expected
    assert not await flow.backfiller.finish(backfill)
    # Everything again changes nothing.
    again = await flow.open(folder)
    assert (again.state, again.epoch) == ("FINISHED", 1)
    assert await flow.convert(again) == []
    await flow.plant.run()
    assert await flow.notes() == expected


async def test_what_was_deleted_unseen_is_deleted_by_a_resync_and_nothing_else(flow: Flow) -> None:
    await flow.change(*[("INSERT", number, "old") for number in range(1, 7)])
    await flow.plant.run()
    # In the gap, of which nothing is seen: 1 is deleted, 2 changes, 7 is made.
    late = flow.plant.now
    await flow.epoch()
    await flow.change(("INSERT", 8, "after T0"), ("MODIFY", 3, "after T0"))
    await flow.change(("REMOVE", 4, ""))
    folder = flow.export(lines(item(2, "changed"), item(3, "after T0"), item(5, "old")), lines(item(7, "made")))
    await flow.change(("INSERT", 6, "made anew after T1"))
    backfill = await flow.open(folder, resync=True)
    unfinished = await flow.backfiller.finish(backfill)
    assert (unfinished.data_files, bool(unfinished)) == (2, True)
    await flow.convert(backfill)
    await flow.change(("INSERT", 1, "old"), at=late)  # a late file of the older epoch
    assert (await flow.backfiller.finish(backfill)).pending == 3
    await flow.plant.run()
    assert (await flow.notes())[1] == "old"
    await flow.change(("INSERT", 11, "still waits"))
    assert not await flow.backfiller.finish(backfill)
    expected = {2: "changed", 3: "after T0", 5: "old", 6: "made anew after T1", 7: "made", 8: "after T0"}
    assert await flow.notes() == expected
    await flow.backfiller.finish(backfill)
    await flow.plant.run()
    assert await flow.notes() == expected | {11: "still waits"}
    gone = await flow.plant.sql(
        'SELECT "id", "_op", "note" FROM "public"."orders_log" WHERE "_event_id" LIKE \'resync:1:%\''
    )
    assert gone == [("1", "REMOVE", "old")]
    # A file that is even older brings nothing back, whether or not there is a tombstone.
    await flow.change(("MODIFY", 1, "older"), ("INSERT", 12, "never seen before"), at=late - 10)
    await flow.plant.run()
    assert await flow.notes() == expected | {11: "still waits"}


async def test_a_second_resync_of_a_pipeline_with_a_long_name_deletes_as_well(make_plant: Any, tmp_path: Path) -> None:
    """Within the eight hours for which the Data API remembers a client token."""
    flow = Flow(await make_plant(name="p" * 64), tmp_path)
    await flow.change(*[("INSERT", number, "old") for number in range(1, 5)])
    await flow.plant.run()
    for left in ([2, 3, 4], [3, 4]):
        await flow.epoch()
        backfill = await flow.open(flow.export(lines(*[item(number, "old") for number in left])), resync=True)
        await flow.convert(backfill)
        await flow.plant.run()
        assert not await flow.backfiller.finish(backfill)
        assert list(await flow.notes()) == left


async def test_an_incremental_export_has_the_last_word_on_what_it_names(flow: Flow) -> None:
    await flow.change(("INSERT", 1, "a"), ("INSERT", 2, "b"), ("INSERT", 3, "c"))
    await flow.epoch()
    keys = [{"id": {"N": str(number)}} for number in range(4)]
    folder = flow.export(
        [
            {
                "Metadata": {"WriteTimestampMicros": {"N": "1767225600000001"}},
                "Keys": keys[1],
                "NewImage": item(1, "A"),
            },
            {
                "Metadata": {"WriteTimestampMicros": {"N": "1767225600000002"}},
                "Keys": keys[2],
                "OldImage": item(2, "b"),
            },
        ],
        kind="INCREMENTAL_EXPORT",
    )
    backfill = await flow.open(folder)
    await flow.convert(backfill)
    await flow.plant.run()
    assert await flow.notes() == {1: "A", 3: "c"}
    assert not await flow.backfiller.finish(backfill)
    with pytest.raises(ExportError, match="a full export of an epoch"):
        await flow.open(flow.export(lines(item(1, "a")), kind="INCREMENTAL_EXPORT"), resync=True)


async def test_an_export_from_before_the_epoch_is_refused_unless_somebody_vouches_for_the_stream(flow: Flow) -> None:
    folder = flow.export(lines(item(1, "old"), item(2, "old")))
    with pytest.raises(ExportError, match="before an epoch began"):
        await flow.open(folder)
    await flow.change(("MODIFY", 2, "of the stream"))
    backfill = await flow.open(folder, read_since_export=True)
    assert backfill.epoch == 0
    await flow.convert(backfill)
    await flow.plant.run()
    assert await flow.notes() == {1: "old", 2: "of the stream"}
    start = await flow.backfiller.begin_epoch()
    with pytest.raises(ExportError, match="before an epoch began"):  # the clocks' slack
        await flow.open(flow.export(lines(), at=start.starts_at + 1), read_since_export=True)


async def test_a_second_export_waits_for_the_first(flow: Flow) -> None:
    await flow.epoch()
    first = await flow.open(flow.export(lines(item(1, "x"))))
    with pytest.raises(ExportError, match="finish that first"):
        await flow.open(flow.export(lines(item(1, "y"))))
    assert await flow.open(Path(first.location)) == first
    other = write_export(
        flow.root / "other", [], exported_at=flow.plant.now, table_arn="arn:aws:dynamodb:::table/other"
    )
    with pytest.raises(ExportError, match="the pipeline reads orders"):
        await flow.open(other)


async def test_a_file_is_cut_where_its_size_says_and_rejects_are_kept(flow: Flow) -> None:
    await flow.epoch()
    many = [{"Item": item(number, "n" * 20)} for number in range(20_000)]
    many[7]["Item"]["note"] = {"S": "n" * 21}
    folder = flow.export(many)
    path = next((folder / "data").iterdir())
    broken = gzip.decompress(path.read_bytes()).replace(b'{"Item":{"id":{"N":"9"}', b'{"Item":{"id":{"N":"9"', 1)
    rewrite(folder, broken)
    backfill = await flow.open(folder)
    (converted,) = await flow.convert(backfill)
    assert (converted.items, converted.rows, converted.rejects, converted.files) == (20_000, 19_998, 2, 2)
    await flow.plant.run()
    assert len(await flow.notes()) == 19_998
    (file, *_) = [file async for file in flow.plant.ledger.all_files("orders") if file.rejects]
    rejects = [json.loads(line) for line in gzip.decompress(await flow.plant.bucket.get(file.rejects_key)).splitlines()]
    assert [(each["column"], each["reason"]) for each in rejects] == [("note", "too_long"), ("", "malformed")]
    assert file.drift == {"reject//malformed": 1, "reject/note/too_long": 1}
    assert (await flow.backfiller.unfinished(msgspec.structs.replace(backfill, resync=True))).rejected == 2


def rewrite(folder: Path, content: bytes) -> None:
    """Change the first data file, and its line of the manifest."""
    replace(folder, gzip.compress(content, 1))


def replace(folder: Path, body: bytes) -> None:
    manifest = folder / "manifest-files.json"
    first, *others = map(json.loads, manifest.read_text().splitlines())
    (folder / "data" / Path(first["dataFileS3Key"]).name).write_bytes(body)
    first["md5Checksum"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    manifest.write_text("".join(json.dumps(each) + "\n" for each in [first, *others]))


async def test_damage_is_told_and_the_rest_goes_on(flow: Flow) -> None:
    await flow.epoch()
    folder = flow.export(lines(item(1, "x")), lines(item(2, "y")))
    backfill = await flow.open(folder)
    first, second = sorted((folder / "data").iterdir())
    content = first.read_bytes()

    first.write_bytes(content[:-5])
    with pytest.raises(ExportError, match="MD5 differs"):
        await flow.convert(backfill)
    first.unlink()
    with pytest.raises(ExportError, match="is missing"):
        await flow.convert(backfill)
    rewrite(folder, b"")
    with pytest.raises(ExportError, match="0 items, its manifest 1"):
        await flow.convert(backfill)
    replace(folder, gzip.compress(json.dumps({"Item": item(1, "x")}).encode())[:-12])
    with pytest.raises(ExportError, match="gzip is damaged"):
        await flow.convert(backfill)
    assert await flow.backfiller.left(backfill, (await ExportFolder(None, str(folder)).read())[1])
    rewrite(folder, gzip.decompress(content))
    assert len(await flow.convert(backfill)) == 2
    assert second.exists()


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("manifest-summary.json", "{", "no manifest of an export"),
        ("manifest-summary.json", '{"tableArn":"a","manifestFilesS3Key":"k","outputFormat":"ION"}', "cannot be read"),
        ("manifest-summary.json", '{"tableArn":"a","manifestFilesS3Key":"k","exportTime":"soon"}', "no time"),
        ("manifest-files.json", '{"itemCount":"many"}', "no list of data files"),
        ("manifest-files.json", "", "count 1 items and 0"),
    ],
)
async def test_manifests_that_are_none(tmp_path: Path, name: str, body: str, message: str) -> None:
    folder = write_export(tmp_path, [lines(item(1, "x"))], exported_at=1_767_225_600)
    (folder / name).write_text(body)
    with pytest.raises(ExportError, match=message):
        await ExportFolder(None, str(folder)).read()
    with pytest.raises(ExportError, match="name the folder"):
        await ExportFolder(None, str(tmp_path)).read()


async def test_an_export_in_a_bucket(flow: Flow) -> None:
    await flow.epoch()
    folder = flow.export(lines(item(1, "x")))
    root = folder.parents[1]
    for path in root.rglob("*"):
        if path.is_file():
            await flow.plant.bucket.replace(str(path.relative_to(root)), path.read_bytes())
    client, name = flow.plant.bucket._client, flow.plant.bucket._name
    there = ExportFolder(client, f"s3://{name}/{folder.relative_to(root)}/")
    export, (file,) = await there.read()
    await there.fetch(file, flow.root / "copy")
    assert (export.items, (flow.root / "copy").read_bytes()) == (1, next((folder / "data").iterdir()).read_bytes())
    await flow.plant.bucket.delete(file.key)
    with pytest.raises(StorageError, match="NoSuchKey"):
        await there.fetch(file, flow.root / "copy")


async def test_an_ingest_that_has_not_heard_of_an_epoch_stamps_none_of_it(flow: Flow) -> None:
    await flow.change(("INSERT", 1, "x"))  # reads HEAD
    start = await flow.backfiller.begin_epoch()
    assert start.starts_at >= flow.plant.now + EPOCHS_KEPT_SECONDS
