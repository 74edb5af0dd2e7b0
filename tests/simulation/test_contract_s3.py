"""What fastetl expects of S3, of the fake and of moto alike."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.simulation.conftest import BUCKET, DirectClient

MIB5 = 5 * 1024 * 1024


def crc32(content: bytes) -> str:
    return base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()


async def read(s3: Any, key: str) -> bytes:
    answer = await s3.get_object(Bucket=BUCKET, Key=key)
    async with answer["Body"] as body:
        content: bytes = await body.read()
        return content


def code_of(raised: pytest.ExceptionInfo[ClientError]) -> str:
    return raised.value.response["Error"]["Code"]


async def test_an_object_comes_back_with_its_metadata_and_checksum(s3: Any) -> None:
    # moto keeps a checksum only where the algorithm is named as well.
    checksum = {"ChecksumCRC32": crc32(b"hello"), "ChecksumAlgorithm": "CRC32"}
    await s3.put_object(Bucket=BUCKET, Key="a", Body=b"hello", Metadata={"file-id": "f"}, IfNoneMatch="*", **checksum)
    head = await s3.head_object(Bucket=BUCKET, Key="a", ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["Metadata"], head["ChecksumCRC32"]) == (5, {"file-id": "f"}, crc32(b"hello"))
    assert await read(s3, "a") == b"hello"


async def test_a_conditional_put_leaves_what_is_there(s3: Any) -> None:
    await s3.put_object(Bucket=BUCKET, Key="a", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as raised:
        await s3.put_object(Bucket=BUCKET, Key="a", Body=b"second", IfNoneMatch="*")
    assert code_of(raised) == "PreconditionFailed"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert await read(s3, "a") == b"first"
    await s3.put_object(Bucket=BUCKET, Key="a", Body=b"third")
    assert await read(s3, "a") == b"third"


async def test_a_missing_object_is_named_differently_by_head_and_get(s3: Any) -> None:
    with pytest.raises(ClientError) as raised:
        await s3.head_object(Bucket=BUCKET, Key="none")
    assert code_of(raised) == "404"
    with pytest.raises(ClientError) as raised:
        await s3.get_object(Bucket=BUCKET, Key="none")
    assert code_of(raised) == "NoSuchKey"
    await s3.delete_object(Bucket=BUCKET, Key="none")


async def upload(s3: Any, key: str, pieces: list[bytes], **how: Any) -> Any:
    begun = await s3.create_multipart_upload(Bucket=BUCKET, Key=key, Metadata={"file-id": "f"})
    where = {"Bucket": BUCKET, "Key": key, "UploadId": begun["UploadId"]}
    parts = []
    for number, piece in enumerate(pieces, 1):
        answer = await s3.upload_part(**where, PartNumber=number, Body=piece)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    return await s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, **how)


async def test_parts_become_one_object(s3: Any) -> None:
    await upload(s3, "big", [b"a" * MIB5, b"tail"], IfNoneMatch="*")
    head = await s3.head_object(Bucket=BUCKET, Key="big")
    assert (head["ContentLength"], head["Metadata"]) == (MIB5 + 4, {"file-id": "f"})


async def test_a_part_that_is_too_small_is_found_at_the_end(s3: Any) -> None:
    with pytest.raises(ClientError) as raised:
        await upload(s3, "small", [b"a", b"b"])
    assert code_of(raised) == "EntityTooSmall"


async def test_a_conditional_complete_leaves_what_is_there(s3: Any) -> None:
    await s3.put_object(Bucket=BUCKET, Key="a", Body=b"first")
    with pytest.raises(ClientError) as raised:
        await upload(s3, "a", [b"b"], IfNoneMatch="*")
    assert code_of(raised) == "PreconditionFailed"
    assert await read(s3, "a") == b"first"


async def test_an_upload_that_was_aborted_is_unknown(s3: Any) -> None:
    begun = await s3.create_multipart_upload(Bucket=BUCKET, Key="a")
    where = {"Bucket": BUCKET, "Key": "a", "UploadId": begun["UploadId"]}
    await s3.upload_part(**where, PartNumber=1, Body=b"a")
    await s3.abort_multipart_upload(**where)
    with pytest.raises(ClientError) as raised:
        await s3.abort_multipart_upload(**where)
    assert code_of(raised) == "NoSuchUpload"
    with pytest.raises(ClientError) as raised:
        await s3.head_object(Bucket=BUCKET, Key="a")
    assert code_of(raised) == "404"


async def test_keys_are_listed_in_order_page_by_page(s3: Any) -> None:
    for n in range(5):
        await s3.put_object(Bucket=BUCKET, Key=f"p/{n}", Body=b"x" * n)
    await s3.put_object(Bucket=BUCKET, Key="q/0", Body=b"")
    found: list[str] = []
    page: dict[str, Any] = {}
    while True:
        answer = await s3.list_objects_v2(Bucket=BUCKET, Prefix="p/", MaxKeys=2, **page)
        found += [entry["Key"] for entry in answer["Contents"]]
        if not answer["IsTruncated"]:
            break
        page = {"ContinuationToken": answer["NextContinuationToken"]}
    assert found == [f"p/{n}" for n in range(5)]
    empty = await s3.list_objects_v2(Bucket=BUCKET, Prefix="none/")
    assert "Contents" not in empty


async def test_an_archived_object_is_there_and_cannot_be_read_until_it_is_asked_for(s3: Any) -> None:
    await s3.put_object(Bucket=BUCKET, Key="data/a", Body=b"x", StorageClass="GLACIER")
    if isinstance(s3, DirectClient):
        s3._service.archive(0.0)
    assert (await s3.head_object(Bucket=BUCKET, Key="data/a"))["StorageClass"] == "GLACIER"
    with pytest.raises(ClientError) as raised:
        await s3.get_object(Bucket=BUCKET, Key="data/a")
    assert code_of(raised) == "InvalidObjectState"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    request = {"Days": 7, "GlacierJobParameters": {"Tier": "Standard"}}
    await s3.restore_object(Bucket=BUCKET, Key="data/a", RestoreRequest=request)
    assert "ongoing-request" in (await s3.head_object(Bucket=BUCKET, Key="data/a"))["Restore"]
