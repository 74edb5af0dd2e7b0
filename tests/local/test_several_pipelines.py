"""Pipelines beside each other in one function: what is wrong with one is no matter to the others."""

from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest

from fastetl.config.reading import parse_config, parse_usable_config
from fastetl.errors import ConfigError
from fastetl.local.functions.kinesis_records import build_kinesis_event
from fastetl.local.stack import Embedded
from fastetl.sql.text import Statement
from tests.decode.test_kinesis import change_in, of_table, replaced
from tests.local.test_stack import make_record

KINESIS = "arn:aws:kinesis:us-east-1:123456789012:stream/shared"


def one(name: str, *lines: str, columns: str = '{ name = "note", type = "VARCHAR(20)" }') -> str:
    said = "\n".join(lines)
    return f"""
[[pipelines]]
name = "{name}"
table = "{name}"
keys = ["id"]
target = "public.{name}"
{said}
columns = [{{ name = "id", type = "BIGINT" }}, {columns}]
"""


def with_step(text: str, kind: str, **settings: str) -> str:
    lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
    return f'{text}\n[[pipelines.enrichments]]\nkind = "{kind}"\n{lines}\n'


def event_of(table: str, *records: dict[str, Any]) -> bytes:
    return orjson.dumps({"Records": records}).replace(b"table/orders/", f"table/{table}/".encode())


async def rows_of(stack: Embedded, name: str) -> list[list[Any]]:
    sql = f'SELECT "id", "note" FROM public.{name}_current ORDER BY 1'
    rows = await stack.run_sql(stack.config.pipeline(name), (Statement("test", sql),))
    return [[next(iter(field.values())) for field in row] for row in rows]


BROKEN = {
    "no_module": with_step(
        one("no_module"), "function", function='"no_such_module:f"', inputs='["note"]',
        outputs='[{ name = "a", type = "INT" }]',
    ),
    "no_file": with_step(
        one("no_file"), "lookup", source='"s3://fastetl-local/nothing.csv"', inputs='["note"]',
        outputs='[{ name = "a", type = "INT" }]',
    ),
    "no_such_type": with_step(
        one("no_such_type"), "expression", sql='"note"', outputs='[{ name = "a", type = "VARBYTE" }]'
    ),
}  # fmt: skip


async def test_pipelines_that_cannot_be_set_up_keep_no_other_from_working() -> None:
    async with Embedded("".join(BROKEN.values()) + one("orders")) as stack:
        await stack.create_tables()
        for number, broken in enumerate(BROKEN, 1):
            refused = await stack.invoke_ingest(event_of(broken, make_record(1, 1, "x")))
            assert "ConfigError" in str(refused.payload), refused
            taken = await stack.invoke_ingest(event_of("orders", make_record(number, number, "x")))
            assert not taken.error, taken
            # Not for ever: setting it up is tried with each of its events.
            again = await stack.invoke_ingest(event_of(broken, make_record(2, 2, "y")))
            assert "ConfigError" in str(again.payload), again
            files = [file async for file in stack.ledger.files.scan("orders")]
            assert [file.rows for file in files] == [1] * number
            assert sum("cannot be set up" in line and broken in line for line in stack.log) >= 1


async def test_a_file_of_an_enrichment_is_fetched_with_an_event_and_as_soon_as_it_is_there() -> None:
    lookup = with_step(
        one("orders"), "lookup", source='"s3://fastetl-local/references/words.csv"', inputs='["note"]',
        outputs='[{ name = "word", type = "VARCHAR(20)" }]',
    )  # fmt: skip
    async with Embedded(lookup) as stack:
        await stack.create_tables()
        event = event_of("orders", make_record(1, 1, "x"))
        assert "ConfigError" in str((await stack.invoke_ingest(event)).payload)
        s3 = await stack.client("s3")
        await s3.put_object(Bucket=stack.config.bucket, Key="references/words.csv", Body=b"note,word\nx,cross\n")
        assert not (await stack.invoke_ingest(event)).error
        (file,) = [file async for file in stack.ledger.files.scan("orders")]
        body = await (await s3.get_object(Bucket=stack.config.bucket, Key=file.key))["Body"].read()
        assert gzip.decompress(body).endswith(b",cross\n") or b"\tcross\n" in gzip.decompress(body)


async def test_several_tables_on_one_kinesis_stream() -> None:
    kinesis = ('source = "kinesis"', f'stream_arn = "{KINESIS}"')
    async with Embedded(one("orders", *kinesis) + one("meters", *kinesis)) as stack:
        await stack.create_tables()
        await stack.connect()
        records = [make_record(number, number, f"note {number}") for number in range(1, 7)]
        event = build_kinesis_event(orjson.dumps({"Records": records}), KINESIS)
        event = of_table(of_table(event, "meters", 1), "customers", 2)
        event = replaced(of_table(event, "customers", 3), b"not a change", 4)
        last = change_in(event, 5)
        last["dynamodb"]["ApproximateCreationDateTime"] //= 1000
        event = replaced(event, orjson.dumps({**last, "tableName": "meters"}), 5)
        for _ in range(2):
            result = await stack.invoke_ingest(event)
            assert not result.error, result
        await stack.settle()
        assert await rows_of(stack, "orders") == [[1, "note 1"]]
        assert await rows_of(stack, "meters") == [[2, "note 2"]]
        (orders,) = [file async for file in stack.ledger.files.scan("orders")]
        (meters,) = [file async for file in stack.ledger.files.scan("meters")]
        assert (orders.received, orders.rejects, meters.received, meters.rejects) == (2, 1, 2, 1)
        assert meters.drift == {"reject//milliseconds": 1}
        unread = [line for line in stack.log if "UnreadRecords" in line]
        assert '"table":"customers"' in unread[0]
        assert '"UnreadRecords":[2' in unread[0]
        alone = build_kinesis_event(orjson.dumps({"Records": [make_record(9, 9, "x")]}), KINESIS)
        assert not (await stack.invoke_ingest(of_table(alone, "customers"))).error


async def test_one_pipelines_failure_does_not_keep_the_records_from_another() -> None:
    kinesis = ('source = "kinesis"', f'stream_arn = "{KINESIS}"')
    failing = with_step(
        one("orders", *kinesis), "function", function='"no_such_module:f"', inputs='["note"]',
        outputs='[{ name = "a", type = "INT" }]',
    )  # fmt: skip
    async with Embedded(failing + one("meters", *kinesis)) as stack:
        await stack.create_tables()
        event = build_kinesis_event(orjson.dumps({"Records": [make_record(n, n, "x") for n in (1, 2)]}), KINESIS)
        result = await stack.invoke_ingest(of_table(event, "meters", 1))
        assert "ConfigError" in str(result.payload), "the batch comes again"
        assert [file.rows async for file in stack.ledger.files.scan("meters")] == [1]


HEAD = 'bucket = "bucket"\nledger_table = "ledger"\nredshift = { workgroup = "w" }\n'


def test_a_function_reads_of_a_configuration_what_can_be_used() -> None:
    bad = one("Bad", columns='{ name = "oid", type = "VARCHAR(20)" }')
    text = HEAD + bad + one("orders")
    with pytest.raises(ConfigError):
        parse_config(text, {})
    config, problems = parse_usable_config(text, {})
    assert [pipeline.name for pipeline in config.pipelines] == ["orders"]
    assert [problem.place for problem in problems] == ["pipelines[0].columns[1].name"]
    assert parse_usable_config(HEAD + one("orders"), {}) == (parse_config(HEAD + one("orders"), {}), ())


@pytest.mark.parametrize(
    "text", ["", "bucket = ", HEAD, HEAD + one("orders", "keys2 = 3"), 'prefix = "/"\n' + HEAD + one("orders")]
)
def test_where_nothing_can_be_used_a_function_does_not_start(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_usable_config(text, {})
