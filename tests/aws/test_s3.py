"""Uploads against moto's server; faults come from a proxy in between, so that the SDK's own retries are part of it."""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiobotocore.config import AioConfig
from aiohttp import web

from fastetl.aws import calls
from fastetl.aws.bodies import prepare_uploads
from fastetl.aws.s3 import Bucket
from fastetl.aws.stored_object import StoredObject
from fastetl.aws.upload import check_part
from fastetl.errors import StorageError
from fastetl.limits import MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES

# The proxy hands bodies on whole.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

METADATA = {"file-id": "f1", "rows": "3"}
PART = bytes(range(256)) * (MIN_PART_BYTES // 256)
Fault = Callable[[web.Request], web.Response | None]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(calls, "FIRST_DELAY_SECONDS", 0.0)


def crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def error(status: int, code: str) -> web.Response:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    return web.Response(status=status, text=body, content_type="application/xml")


@asynccontextmanager
async def proxy(target: str, fault: Fault) -> AsyncIterator[str]:
    """Pass requests on; `fault` may answer instead (before the effect) or, with `after`, spoil the answer."""
    after: Fault = getattr(fault, "after", lambda _: None)

    async def forward(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if answer := fault(request):
            return answer
        async with session.request(
            request.method, target + request.raw_path, data=body, headers=request.headers, skip_auto_headers=["Accept"]
        ) as upstream:
            content = await upstream.read()
            if answer := after(request):
                return answer
            hop = {"transfer-encoding", "content-encoding", "connection", "date", "server"}
            kept = {k: v for k, v in upstream.headers.items() if k.lower() not in hop}
            if request.method != "HEAD":
                kept.pop("Content-Length", None)
            return web.Response(status=upstream.status, body=content, headers=kept)

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def client_of(aws: Any, **changes: Any) -> Any:
    config = AioConfig(
        retries={"mode": "standard", "total_max_attempts": 2},
        s3={"payload_signing_enabled": False, "addressing_style": "path"},
    )
    client = await aws.client("s3", config=config, **changes)
    prepare_uploads(client)
    return client


async def open_uploads(client: Any, name: str) -> list[str]:
    return [upload["Key"] for upload in (await client.list_multipart_uploads(Bucket=name)).get("Uploads", [])]


async def body_of(client: Any, name: str, key: str) -> bytes:
    answer = await client.get_object(Bucket=name, Key=key)
    async with answer["Body"] as body:
        return await body.read()


async def test_one_piece_is_one_put(aws):
    client, name = await client_of(aws), await aws.new_bucket()
    stored = await Bucket(client, name).put("k", iter([b"abc"]), METADATA)
    assert stored == StoredObject("k", 3, crc32(b"abc"), METADATA, created=True)
    assert await body_of(client, name, "k") == b"abc"
    assert (await Bucket(client, name).head("k")).metadata == METADATA


async def test_no_piece_is_an_empty_object(aws):
    bucket = Bucket(await client_of(aws), await aws.new_bucket())
    assert (await bucket.put("k", iter([]), {})).bytes == 0
    assert await bucket.get("k") == b""


@pytest.mark.parametrize("pieces", [[b"second"], [PART, b"second"]], ids=["one", "parts"])
async def test_what_is_there_already_is_told_and_kept(aws, pieces):
    client, name = await client_of(aws), await aws.new_bucket()
    bucket = Bucket(client, name)
    await bucket.put("k", iter([b"first"]), METADATA)
    stored = await bucket.put("k", iter(pieces), {"file-id": "other"})
    assert (stored.created, stored.bytes, stored.metadata) == (False, 5, METADATA)
    assert await bucket.get("k") == b"first"
    assert await open_uploads(client, name) == []


async def test_parts_become_one_object_with_its_own_checksum(aws):
    client, name = await client_of(aws), await aws.new_bucket()
    pieces = [PART, PART[::-1], PART, b"end"]
    stored = await Bucket(client, name).put("k", iter(pieces), METADATA, max_parts_in_flight=2)
    whole = b"".join(pieces)
    assert (stored.created, stored.bytes, stored.checksum) == (True, len(whole), crc32(whole))
    assert await body_of(client, name, "k") == whole
    assert (await Bucket(client, name).head("k")).metadata == METADATA


async def test_complete_says_what_the_whole_object_must_be(aws):
    """moto looks at neither size nor checksums, so what is asked of S3 is read off the requests."""
    seen: dict[str, dict[str, str]] = {}

    def watch(request: web.Request) -> None:
        for header, value in request.headers.items():
            seen.setdefault(f"{request.method} {','.join(sorted(request.query))}", {})[header.lower()] = value

    async with proxy(aws.endpoint_url, watch) as url:
        client, name = await client_of(aws, endpoint_url=url), await aws.new_bucket()
        await Bucket(client, name).put("k", iter([PART, b"end"]), METADATA)
    begin, part, complete = seen["POST uploads"], seen["PUT partNumber,uploadId"], seen["POST uploadId"]
    assert (begin["x-amz-checksum-type"], begin["x-amz-checksum-algorithm"]) == ("FULL_OBJECT", "CRC32")
    assert part["x-amz-checksum-crc32"] in {crc32(PART), crc32(b"end")}
    assert part["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert "x-amz-trailer" not in part
    assert complete["x-amz-checksum-crc32"] == crc32(PART + b"end")
    assert complete["x-amz-checksum-type"] == "FULL_OBJECT"
    assert complete["x-amz-mp-object-size"] == str(len(PART) + 3)
    assert complete["if-none-match"] == "*"


async def test_no_more_parts_in_flight_than_allowed_and_they_do_overlap(aws):
    client, name = await client_of(aws), await aws.new_bucket()
    flying, most = 0, 0
    send = client.upload_part

    class Watched:
        def __getattr__(self, operation: str) -> Any:
            return getattr(client, operation)

        async def upload_part(self, **arguments: Any) -> Any:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            try:
                await asyncio.sleep(0.05)
                return await send(**arguments)
            finally:
                flying -= 1

    await Bucket(Watched(), name).put("k", iter([PART] * 6 + [b"end"]), {}, max_parts_in_flight=3)
    assert most == 3


async def test_pieces_are_made_only_as_they_are_needed(aws):
    client, name = await client_of(aws), await aws.new_bucket()
    made = 0
    made_when_first_sent: list[int] = []

    def pieces() -> Iterator[bytes]:
        nonlocal made
        for _ in range(12):
            made += 1
            yield PART

    def watch(request: web.Request) -> None:
        if request.query.get("partNumber") == "1":
            made_when_first_sent.append(made)

    async with proxy(aws.endpoint_url, watch) as url:
        await Bucket(await client_of(aws, endpoint_url=url), name).put("k", pieces(), {}, max_parts_in_flight=2)
    assert made_when_first_sent[0] <= 5  # two in flight, one that waits, one to know whether it is the last, one spare
    assert (await Bucket(client, name).head("k")).bytes == 12 * len(PART)


class FailPart:
    """Answer for part 2 with an error `times` times; after its effect where `after` says so."""

    def __init__(self, times: int, code: str = "InternalError", status: int = 500) -> None:
        self.times, self.code, self.status, self.seen = times, code, status, 0

    def __call__(self, request: web.Request) -> web.Response | None:
        if request.query.get("partNumber") != "2":
            return None
        self.seen += 1
        return error(self.status, self.code) if self.seen <= self.times else None


async def test_a_part_that_fails_twice_is_sent_again(aws):
    fault = FailPart(2)
    async with proxy(aws.endpoint_url, fault) as url:
        client, name = await client_of(aws, endpoint_url=url), await aws.new_bucket()
        stored = await Bucket(client, name).put("k", iter([PART, PART, b"end"]), {})
        assert await body_of(client, name, "k") == PART + PART + b"end"
    assert (fault.seen, stored.created) == (3, True)


@pytest.mark.parametrize(("code", "status"), [("InternalError", 500), ("AccessDenied", 403)])
async def test_a_part_that_fails_for_good_leaves_nothing(aws, code, status):
    async with proxy(aws.endpoint_url, FailPart(10**6, code, status)) as url:
        client, name = await client_of(aws, endpoint_url=url), await aws.new_bucket()
        with pytest.raises(StorageError, match=f"upload_part.*{code}"):
            await Bucket(client, name).put("k", iter([PART, PART, b"end"]), {})
    direct = await client_of(aws)
    assert await open_uploads(direct, name) == []
    assert await Bucket(direct, name).head("k") is None


async def test_cancellation_aborts_the_upload(aws):
    reached = asyncio.Event()

    class Stuck:
        def __init__(self, client: Any) -> None:
            self.client = client

        def __getattr__(self, operation: str) -> Any:
            return getattr(self.client, operation)

        async def upload_part(self, **_: Any) -> Any:
            reached.set()
            await asyncio.Event().wait()

    client, name = await client_of(aws), await aws.new_bucket()
    task = asyncio.create_task(Bucket(Stuck(client), name).put("k", iter([PART, b"end"]), {}))
    await reached.wait()
    assert await open_uploads(client, name) == ["k"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await open_uploads(client, name) == []


async def test_an_encoder_that_fails_aborts_the_upload(aws):
    def pieces() -> Iterator[bytes]:
        yield PART
        yield PART
        raise ValueError("the encoder's own")

    client, name = await client_of(aws), await aws.new_bucket()
    with pytest.raises(ValueError, match="the encoder's own"):
        await Bucket(client, name).put("k", pieces(), {})
    assert await open_uploads(client, name) == []


class LoseAnswer:
    """Let the write happen, and lose its answer, once."""

    def __init__(self, matches: Callable[[web.Request], bool]) -> None:
        self.matches, self.lost = matches, 0

    def __call__(self, _request: web.Request) -> None:
        return None

    def after(self, request: web.Request) -> web.Response | None:
        if self.lost or not self.matches(request):
            return None
        self.lost += 1
        return error(500, "InternalError")


@pytest.mark.parametrize("pieces", [[b"whole"], [PART, b"end"]], ids=["one", "parts"])
async def test_an_answer_that_was_lost_is_found_out(aws, pieces):
    def writes_object(request: web.Request) -> bool:
        whole = request.method == "PUT" and "partNumber" not in request.query
        return whole or (request.method == "POST" and "uploadId" in request.query)

    fault = LoseAnswer(writes_object)
    name = await aws.new_bucket()
    async with proxy(aws.endpoint_url, fault) as url:
        client = await client_of(aws, endpoint_url=url)
        stored = await Bucket(client, name).put("k", iter(pieces), METADATA)
    assert fault.lost == 1
    assert (stored.bytes, stored.metadata) == (sum(map(len, pieces)), METADATA)
    assert await open_uploads(await client_of(aws), name) == []


@pytest.mark.parametrize("effect", ["before", "after"])
async def test_a_200_that_holds_an_error_is_no_success(aws, effect):
    """Of CompleteMultipartUpload, which sends its status before it knows the outcome (Amazon S3 API reference)."""
    fault = LoseAnswer(lambda request: request.method == "POST" and "uploadId" in request.query)

    def spoil(request: web.Request) -> web.Response | None:
        return error(200, "InternalError") if LoseAnswer.after(fault, request) else None

    class Spoil:
        def __call__(self, request: web.Request) -> web.Response | None:
            return spoil(request) if effect == "before" else None

        def after(self, request: web.Request) -> web.Response | None:
            return spoil(request) if effect == "after" else None

    name = await aws.new_bucket()
    async with proxy(aws.endpoint_url, Spoil()) as url:
        stored = await Bucket(await client_of(aws, endpoint_url=url), name).put("k", iter([PART, b"end"]), METADATA)
    assert fault.lost == 1
    assert (stored.bytes, stored.metadata) == (len(PART) + 3, METADATA)
    direct = await client_of(aws)
    assert await body_of(direct, name, "k") == PART + b"end"
    assert await open_uploads(direct, name) == []


async def test_a_200_that_goes_on_holding_an_error_is_an_error(aws):
    def fault(request: web.Request) -> web.Response | None:
        completes = request.method == "POST" and "uploadId" in request.query
        return error(200, "InternalError") if completes else None

    name = await aws.new_bucket()
    async with proxy(aws.endpoint_url, fault) as url:
        with pytest.raises(StorageError, match=r"complete_multipart_upload.*InternalError"):
            await Bucket(await client_of(aws, endpoint_url=url), name).put("k", iter([PART, b"end"]), METADATA)
    direct = await client_of(aws)
    assert await Bucket(direct, name).head("k") is None
    assert await open_uploads(direct, name) == []


async def test_a_conflict_is_tried_again(aws):
    conflicts = iter([409, 409])

    def fault(request: web.Request) -> web.Response | None:
        status = next(conflicts, None) if request.method == "PUT" else None
        return error(status, "ConditionalRequestConflict") if status else None

    async with proxy(aws.endpoint_url, fault) as url:
        client, name = await client_of(aws, endpoint_url=url), await aws.new_bucket()
        assert (await Bucket(client, name).put("k", iter([b"abc"]), {})).created


async def test_a_conflict_that_stays_is_an_error_and_leaves_nothing(aws):
    def fault(request: web.Request) -> web.Response | None:
        completes = request.method == "POST" and "uploadId" in request.query
        return error(409, "ConditionalRequestConflict") if completes else None

    async with proxy(aws.endpoint_url, fault) as url:
        client, name = await client_of(aws, endpoint_url=url), await aws.new_bucket()
        with pytest.raises(StorageError, match="ConditionalRequestConflict"):
            await Bucket(client, name).put("k", iter([PART, b"end"]), {})
    assert await open_uploads(await client_of(aws), name) == []


async def test_a_body_cut_short_is_an_error(aws):
    name = await aws.new_bucket()
    await Bucket(await client_of(aws), name).replace("k", b"x" * 1000)

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        client = await client_of(aws, endpoint_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(StorageError, match=r"get_object s3://.*ClientPayloadError"):
            await Bucket(client, name).get("k")


async def test_nobody_there_is_a_storage_error(aws):
    client = await client_of(aws, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(StorageError, match="put_object s3://b/k: EndpointConnectionError"):
        await Bucket(client, "b").put("k", iter([b"abc"]), {})


async def test_keys_are_listed_over_pages_and_objects_deleted_and_replaced(aws):
    client, name = await client_of(aws), await aws.new_bucket()

    class SmallPages:
        def __getattr__(self, operation: str) -> Any:
            return getattr(client, operation)

        async def list_objects_v2(self, **arguments: Any) -> Any:
            return await client.list_objects_v2(**arguments, MaxKeys=2)

    bucket = Bucket(SmallPages(), name)
    for n in range(5):
        await bucket.replace(f"a/{n}", b"old")
    await bucket.replace("b/0", b"old")
    await bucket.replace("a/0", b"new")
    await bucket.delete("a/1")
    await bucket.delete("a/1")
    assert [key async for key in bucket.list_keys("a/")] == ["a/0", "a/2", "a/3", "a/4"]
    assert await bucket.get("a/0") == b"new"
    assert await bucket.head("a/1") is None


@pytest.mark.parametrize(
    ("part_number", "size_bytes", "last", "problem"),
    [
        (1, MIN_PART_BYTES, False, ""),
        (1, MIN_PART_BYTES - 1, False, "at least"),
        (1, 1, True, ""),
        (1, 0, True, ""),
        (7, MAX_PART_BYTES, False, ""),
        (7, MAX_PART_BYTES + 1, False, "at most"),
        (7, MAX_PART_BYTES + 1, True, "at most"),
        (MAX_PARTS, MIN_PART_BYTES, True, ""),
        (MAX_PARTS + 1, MIN_PART_BYTES, True, "at most 10000 parts"),
    ],
)
def test_parts_are_held_to_the_limits(part_number, size_bytes, last, problem):
    if not problem:
        check_part(part_number, size_bytes, last=last)
        return
    with pytest.raises(StorageError, match=problem):
        check_part(part_number, size_bytes, last=last)


@pytest.mark.parametrize("prepared", [True, False])
async def test_a_body_is_sent_without_waiting_until_s3_asks_for_it(aws: Any, prepared: bool) -> None:
    client = await aws.client("s3")
    if prepared:
        prepare_uploads(client)
    sent: list[Any] = []
    client.meta.events.register_last("before-send.s3", lambda request, **_: sent.append(request.headers.get("Expect")))
    await client.put_object(Bucket=await aws.new_bucket(), Key="k", Body=b"body")
    # The SDK asks by itself: without `prepare_uploads` this test sees it.
    assert [bool(each) for each in sent] == [not prepared]
