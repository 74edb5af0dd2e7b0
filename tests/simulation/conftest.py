"""The same client twice: of a fake, and of a real server that speaks AWS's protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aioboto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from tests.simulation.fake_dynamodb import FakeDynamoDB
from tests.simulation.fake_s3 import FakeS3

BUCKET, TABLE = "bucket", "ledger"


class DirectClient:
    """A client of a fake service without a network between."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, operation: str) -> Any:
        async def call(**arguments: Any) -> Any:
            return getattr(self._service, operation)(**arguments)

        return call


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def _real(service: str, endpoint: str) -> Any:
    session = aioboto3.Session("testing", "testing", region_name="us-east-1")
    return session.client(service, endpoint_url=endpoint, config=Config(retries={"max_attempts": 1}))


@pytest.fixture(params=["fake", "moto"])
async def s3(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield DirectClient(FakeS3())
        return
    async with _real("s3", request.getfixturevalue("moto_endpoint")) as client:
        await client.create_bucket(Bucket=BUCKET)
        yield client
        listed = await client.list_objects_v2(Bucket=BUCKET)
        for entry in listed.get("Contents", []):
            await client.delete_object(Bucket=BUCKET, Key=entry["Key"])


@pytest.fixture(params=["fake", "moto"])
async def dynamodb(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield DirectClient(FakeDynamoDB())
        return
    async with _real("dynamodb", request.getfixturevalue("moto_endpoint")) as client:
        texts = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "q", "qk")]
        await client.create_table(
            TableName=TABLE,
            AttributeDefinitions=texts,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "pending",
                    "KeySchema": [
                        {"AttributeName": "q", "KeyType": "HASH"},
                        {"AttributeName": "qk", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["bytes", "layout_id"]},
                }
            ],
        )
        yield client
        await client.delete_table(TableName=TABLE)
