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
        head = await self.plant.ledger.batches.head(pipeline.name)
        done = []
        for file in await self.backfiller.left(backfill, files):
            path = self.root / "data.json.gz"
            await folder.fetch(file, path)
            done.append(await converter.convert(export, file, path, head.epochs, backfill.split_bytes))
            await self.plant.ledger.backfills.put_converted(backfill, done[-1])
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
    await flow.change(("INSERT", 6, "made again after T1"))
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
    expected = {2: "changed", 3: "after T0", 5: "old", 6: "made again after T1", 7: "made", 8: "after T0"}
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


WRITTEN = 1_767_225_600_000_000


def written(number: int, note: str, micros: int) -> dict[str, Any]:
    """A line of an incremental export; without a note the item was deleted."""
    line: dict[str, Any] = {
        "Metadata": {"WriteTimestampMicros": {"N": str(WRITTEN + micros)}}, "Keys": {"id": {"N": str(number)}},
    }  # fmt: skip
    return line | ({"NewImage": item(number, note)} if note else {"OldImage": item(number, "gone")})


@pytest.mark.parametrize(
    ("order", "together"),
    [
        ((0, 1, 2, 3), False), ((3, 2, 1, 0), False), ((1, 2, 0, 3), False), ((2, 0, 3, 1), False),
        ((0, 1, 2, 3), True), ((2, 3, 1, 0), True),
    ],
)  # fmt: skip
async def test_exports_of_one_epoch_are_counted_each_for_itself(flow: Flow, order: Any, together: bool) -> None:
    """Two full and two incremental ones, in any order, at once or one after the other."""
    await flow.change(("INSERT", 1, "old"), ("INSERT", 2, "old"), ("INSERT", 3, "old"), ("INSERT", 9, "of the stream"))
    await flow.epoch()
    everything = [item(1, "old"), item(2, "second"), item(4, "made"), item(9, "of the stream")]
    folders = [
        flow.export(lines(*everything[:2]), lines(*everything[2:])),
        flow.export([written(2, "first", 1), written(3, "x", 2)], kind="INCREMENTAL_EXPORT"),
        flow.export([written(2, "second", 3), written(3, "", 4), written(4, "made", 5)], kind="INCREMENTAL_EXPORT"),
        flow.export(lines(*everything)),
    ]
    await flow.change(("MODIFY", 1, "after"), at=flow.plant.now)
    opened = {}
    for number in order:
        opened[number] = await flow.open(folders[number])
        if not together:
            await flow.convert(opened[number])
            await flow.plant.run()
            assert not await flow.backfiller.finish(opened[number])
    for number in order if together else ():
        assert (await flow.backfiller.unfinished(opened[number])).data_files == opened[number].files
        await flow.convert(opened[number])
        assert (await flow.backfiller.unfinished(opened[number])).data_files == 0
    await flow.plant.run()
    for number in order:
        assert not await flow.backfiller.finish(opened[number])
    assert await flow.notes() == {1: "after", 2: "second", 4: "made", 9: "of the stream"}
    assert await flow.backfiller.under_way() == []
    assert [each.state for each in await flow.plant.ledger.backfills.read_all("orders")] == ["FINISHED"] * 4
    # The last word on what is opened again is what was written first.
    assert (await flow.open(folders[0])).state == "FINISHED"


async def test_a_resync_counts_its_own_export_alone(flow: Flow) -> None:
    await flow.change(("INSERT", 1, "old"), ("INSERT", 2, "old"))
    await flow.plant.run()
    await flow.epoch()
    other = await flow.open(flow.export([written(1, "newer", 1)], [written(7, "x", 2)], kind="INCREMENTAL_EXPORT"))
    resync = await flow.open(flow.export(lines(item(1, "newer"))), resync=True)
    await flow.convert(resync)
    await flow.plant.run()
    assert not await flow.backfiller.finish(resync)
    assert await flow.notes() == {1: "newer"}
    assert (await flow.backfiller.under_way()) == [other]


async def test_a_backfill_may_become_a_resync(flow: Flow) -> None:
    await flow.change(("INSERT", 1, "old"), ("INSERT", 2, "old"))
    await flow.epoch()
    folder = flow.export(lines(item(1, "old")))
    backfill = await flow.open(folder)
    await flow.convert(backfill)
    await flow.plant.run()
    assert not await flow.backfiller.finish(backfill)
    assert await flow.notes() == {1: "old", 2: "old"}
    again = await flow.open(folder, resync=True)
    assert (again.resync, again.state, await flow.convert(again)) == (True, "CONVERTING", [])
    assert not await flow.backfiller.finish(again)
    assert await flow.notes() == {1: "old"}
    assert await flow.open(folder) == msgspec.structs.replace(again, state="FINISHED")


async def test_a_broken_export_can_be_given_up(flow: Flow) -> None:
    await flow.epoch()
    epoch = (await flow.plant.ledger.batches.head("orders")).epochs[-1].epoch
    assert not await flow.backfiller.is_epoch_used(epoch)
    folder = flow.export(lines(item(1, "x")), lines(item(2, "y")))
    broken = await flow.open(folder)
    next((folder / "data").iterdir()).write_bytes(b"")
    with pytest.raises(ExportError, match="--give-up"):
        await flow.convert(broken)
    assert not await flow.backfiller.is_epoch_used(epoch)
    with pytest.raises(ExportError, match="from elsewhere is under way"):
        await flow.backfiller.give_up("elsewhere")
    (ended,) = await flow.backfiller.give_up()
    assert (ended.state, ended.location) == ("GIVEN_UP", str(folder))
    assert await flow.backfiller.is_epoch_used(epoch)
    assert await flow.backfiller.under_way() == []
    with pytest.raises(ExportError, match="no backfill of orders is under way"):
        await flow.backfiller.give_up()
    # Another one of the same epoch is taken, and so is the first when it is named again.
    another = await flow.open(flow.export(lines(item(1, "x"), item(2, "y"))))
    await flow.convert(another)
    await flow.plant.run()
    assert not await flow.backfiller.finish(another)
    assert await flow.notes() == {1: "x", 2: "y"}
    assert (await flow.open(folder)).state == "CONVERTING"


async def test_an_export_that_never_came_about_can_be_given_up(flow: Flow) -> None:
    with pytest.raises(ExportError, match="no backfill"):
        await flow.backfiller.give_up()
    await flow.epoch()
    (ended,) = await flow.backfiller.give_up()
    assert (ended.epoch, ended.location) == (1, "")
    assert await flow.backfiller.is_epoch_used(1)


async def test_an_export_of_another_table_is_refused(flow: Flow) -> None:
    await flow.epoch()
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
    (file, *_) = [file async for file in flow.plant.ledger.files.scan("orders") if file.rejects]
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
