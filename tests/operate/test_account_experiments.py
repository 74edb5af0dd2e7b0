"""`fastetl verify-account` on the embedded services: its answers, and that nothing of it is left."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import boto3
import msgspec
import pytest

from fastetl.aws.ledger import Ledger
from fastetl.aws.redshift import Warehouse
from fastetl.aws.s3 import Bucket
from fastetl.aws.source import SourceTable
from fastetl.config.model import Config
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.postgres_engine import PostgresEngine
from fastetl.model import FileItem
from fastetl.operate.account_experiments import Verifier
from fastetl.sql.text import Statement
from tests.conftest import CREDENTIALS, Aws
from tests.deployments import make_deployment
from tests.plant import make_pipeline

ENGINES = {"duckdb": DuckDBEngine, "postgres": PostgresEngine}


class Account:
    """A table with a stream, a bucket and a warehouse."""

    def __init__(
        self, bucket: Bucket, bucket_name: str, warehouse: Warehouse, source: SourceTable, ledger: Ledger
    ) -> None:
        self.bucket, self.bucket_name, self.warehouse, self.source = bucket, bucket_name, warehouse, source
        self.ledger = ledger

    def verifier(self, copy_from: str = "") -> Verifier:
        """Give one; COPY reads another bucket if told to."""
        pipeline = make_pipeline(table=self.source.name)
        config = Config(copy_from or self.bucket_name, "ledger", (pipeline,), "some/prefix/")
        return Verifier(
            make_deployment(
                config,
                pipeline,
                self.bucket,
                self.ledger,
                self.warehouse,
                self.source,
                clock=time.time,
                new_name=lambda: uuid.uuid4().hex,
            )
        )

    async def everything(self) -> tuple[set[str], set[str]]:
        """The warehouse's tables and the bucket's keys."""
        sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        rows = await self.warehouse.rows(await self.run(sql), 0)
        return {name for (name,) in rows}, {key async for key in self.bucket.list_keys("")}

    async def run(self, sql: str) -> str:
        statement = Statement("test", sql)
        return await self.warehouse.run([statement], name="test", token=(time.time_ns(),))


@pytest.fixture(params=ENGINES)
async def account(request: pytest.FixtureRequest, aws: Aws) -> AsyncIterator[Account]:
    blocking = boto3.client("s3", endpoint_url=aws.endpoint_url, **CREDENTIALS)
    dynamodb, table = await aws.client("dynamodb"), f"verified-{request.param}"
    await dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    async with WarehouseServer(ENGINES[request.param](), blocking, time.time) as server:
        client = await aws.client("redshift-data", endpoint_url=server.endpoint_url)
        name = await aws.new_bucket()
        warehouse = Warehouse(client, make_pipeline().redshift)
        source = SourceTable(dynamodb, table, await aws.client("dynamodbstreams"))
        account = Account(Bucket(await aws.client("s3"), name), name, warehouse, source, await aws.new_ledger())
        await account.run('CREATE TABLE "public"."fastetl_verify_of_somebody_else" ("n" BIGINT)')
        await account.bucket.replace("some/prefix/check/of-somebody-else", b"")
        yield account
    await dynamodb.delete_table(TableName=table)
    blocking.close()


async def test_everything_is_answered_and_nothing_is_left(account: Account) -> None:
    before = await account.everything()
    assert before == ({"fastetl_verify_of_somebody_else"}, {"some/prefix/check/of-somebody-else"})
    verdicts = await account.verifier().verify()
    answers = [each.answer for each in verdicts]
    assert answers[0].startswith("yes, 5 of 5 times")
    assert answers[1] == r'NULL are: \N, "\N"'
    assert answers[2].startswith("COPY refuses it") or answers[2].startswith("2 of 2 members")
    assert answers[3] == "no, it gives the first statement's id"
    assert answers[4].startswith("no shard has a parent that has ended")
    assert answers[5].startswith("no event has come for a day")
    assert all(each.as_expected for each in verdicts)
    assert await account.everything() == before


async def test_nothing_is_left_of_what_cannot_be_asked(account: Account) -> None:
    before = await account.everything()
    verdicts = await account.verifier(copy_from="no-such-bucket").verify()
    asked = ["could not be asked" not in each.answer for each in verdicts]
    assert asked == [True, False, True, True, True, True]
    assert await account.everything() == before


async def test_files_that_know_no_shard_of_the_stream_are_told(account: Account) -> None:
    label, (shard_id,) = await account.source.shard_ids()
    now = int(time.time() * 1000)
    for name, named, at in (("a", shard_id, now), ("b", "another", now), ("c", "", now), ("d", "", now - 90_000_000)):
        file = FileItem(name, "orders", f"data/orders/{label}/{name}", "l", "", 1, 1, 0, "", "", "", "", "", at)
        await account.ledger.files.register(msgspec.structs.replace(file, shard_id=named))
    (verdict,) = [each for each in await account.verifier().verify() if "name their shard" in each.question]
    assert (verdict.answer, verdict.as_expected) == ("1 of 3 events of a day do", False)
