"""What `fastetl local` does beside carrying changes: it keeps its data, deletes expired items, and reads Kinesis."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastetl.errors import ConfigError
from fastetl.local.functions.kinesis_records import build_change
from fastetl.local.kept import KeptFolder
from fastetl.local.stack import Embedded
from tests.local.test_stack import CONFIG, make_record, query

KINESIS = "arn:aws:kinesis:us-east-1:123456789012:stream/shared"
THROUGH_KINESIS = CONFIG.replace('table = "orders"', f'table = "orders"\nsource = "kinesis"\nstream_arn = "{KINESIS}"')
CURRENT = 'SELECT "id", "note" FROM public.orders_current ORDER BY 1'
LOGGED = 'SELECT COUNT(*), COUNT(DISTINCT "_event_id") FROM public.orders_log'


async def put(stack: Embedded, number: int, note: str, **more: Any) -> None:
    item = {"id": {"N": str(number)}, "note": {"S": note}, **more}
    await stack.dynamodb.put_item(TableName="orders", Item=item)


async def open_stack(stack: Embedded) -> None:
    await stack.create_tables()
    await stack.connect()


@pytest.mark.parametrize("config", [CONFIG, THROUGH_KINESIS], ids=["stream", "kinesis"])
async def test_data_are_kept_from_one_run_to_the_next(config: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with Embedded(config, data=folder) as stack:
        await open_stack(stack)
        for number in range(20):
            await put(stack, number, "first")
        await stack.settle()
        await put(stack, 1, "written last")  # nobody has carried it yet, perhaps
    async with Embedded(config, data=folder) as stack:
        await open_stack(stack)
        await put(stack, 2, "second")
        await stack.settle()
        expected = [[number, {1: "written last", 2: "second"}.get(number, "first")] for number in range(20)]
        assert await query(stack, CURRENT) == expected
        assert await query(stack, LOGGED) == [[22, 22]]
        assert stack.sources["orders"].counts.read <= 2, "it goes on where it was"
        await stack.dynamodb.delete_item(TableName="orders", Key={"id": {"N": "3"}})
        await stack.settle()
    async with Embedded(config, data=folder) as stack:
        await open_stack(stack)
        assert [3, "first"] not in await query(stack, CURRENT)
        assert len((await stack.dynamodb.scan(TableName="orders"))["Items"]) == 19
        with pytest.raises(ConfigError, match="in use by another `fastetl local`"):
            KeptFolder(folder).open(tmp_path)


async def test_a_run_that_does_not_start_changes_nothing(tmp_path: Path) -> None:
    async with Embedded(CONFIG, data=tmp_path) as stack:
        await open_stack(stack)
        await put(stack, 1, "kept")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    with pytest.raises(ConfigError):
        async with Embedded("[[pipelines", data=tmp_path):
            pass
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == before
    # It died while it put new content in the place of the old.
    (tmp_path / "kept").rename(tmp_path / "last")
    async with Embedded(CONFIG, data=tmp_path) as stack:
        await open_stack(stack)
        await stack.settle()
        assert await query(stack, CURRENT) == [[1, "kept"]]


def test_a_folder_of_other_versions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/about.json").write_bytes(msgspec.json.encode({"moto": "1.0"}))
    with pytest.raises(ConfigError, match=r"was written with moto 1\.0, and this is fastetl"):
        KeptFolder(tmp_path).open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        KeptFolder(tmp_path / "file").open(tmp_path)


async def test_items_whose_time_is_over_are_deleted_by_dynamodb() -> None:
    async with Embedded(CONFIG) as stack:
        await open_stack(stack)
        now = int(time.time())
        await put(stack, 1, "over", ttl={"N": str(now - 10)})
        await put(stack, 2, "to come", ttl={"N": str(now + 3600)})
        await put(stack, 3, "text", ttl={"S": str(now - 10)})
        await put(stack, 4, "very old", ttl={"N": str(now - 6 * 365 * 86_400)})
        await put(stack, 5, "no time")
        await stack.dynamodb.update_time_to_live(
            TableName="orders", TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"}
        )
        async with asyncio.timeout(200):
            while len((await stack.dynamodb.scan(TableName="orders"))["Items"]) == 5:
                await asyncio.sleep(0.2)
        await stack.settle()
        assert [number for number, _ in await query(stack, CURRENT)] == [2, 3, 4, 5]
        assert await query(stack, """SELECT "id", "note" FROM public.orders_log WHERE "_op" = 'EXPIRE'""") == [
            [1, "over"]
        ]


async def test_whatever_is_written_to_the_kinesis_stream_is_read() -> None:
    async with Embedded(THROUGH_KINESIS) as stack:
        await open_stack(stack)
        await put(stack, 1, "by the table")
        for data in (build_change(make_record(2, 2, "by hand")), b"not a change"):
            await stack.kinesis.put_record(StreamName="shared", Data=data, PartitionKey="p")
        await stack.settle()
        assert await query(stack, CURRENT) == [[1, "by the table"], [2, "by hand"]]
        assert len([key async for key in stack.bucket.list_keys("rejects/orders/")]) == 1
        # A second pipeline begins to read the same stream while it runs, and the first ends.
        people = THROUGH_KINESIS.replace('"orders"', '"people"').replace("public.orders", "public.people")
        await stack.deploy(people)
        assert set(stack.sources) == {"people", KINESIS}
        await stack.dynamodb.put_item(TableName="people", Item={"id": {"N": "7"}, "note": {"S": "new"}})
        await stack.settle()
        assert await query(stack, 'SELECT "id" FROM public.people_current') == [[7]]


START = """
import asyncio, time
from fastetl.local.moto_process import MotoProcess
moto = MotoProcess()
asyncio.run(moto.start())
print(moto.endpoint_url, flush=True)
time.sleep(60)
"""


def test_moto_ends_with_the_process_that_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", START], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        process.kill()
    deadline = time.monotonic() + 200
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.2)
