"""No log of the functions holds what an item holds, whatever happens to the item."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import orjson
import polars as pl

from fastetl.local.stack import Embedded
from tests.local.test_stack import ARN, make_record

PLANTED = "planted7f3a9c"

CONFIG = """
[[pipelines]]
name = "after"
table = "after"
keys = ["id"]
target = "public.after"
outputs = ["mirror", "log"]
columns = [{ name = "id", type = "BIGINT" }, { name = "note", type = "VARCHAR(20)" }]
[pipelines.load]
max_age = "1s"
post_sql = ['SELECT CAST("note" AS BIGINT) FROM fastetl_staged']

[[pipelines]]
name = "spoilt"
table = "spoilt"
keys = ["id"]
target = "public.spoilt"
columns = [{ name = "id", type = "BIGINT" }, { name = "note", type = "VARCHAR(20)" }]
[pipelines.load]
max_age = "1s"

[[pipelines]]
name = "strict"
table = "strict"
keys = ["id"]
target = "public.strict"
columns = [{ name = "id", type = "BIGINT" }, { name = "note", type = "VARCHAR(20)", on_misfit = "fail" }]
[[pipelines.enrichments]]
kind = "function"
function = "tests.local.functions.test_logs:explode"
inputs = ["note"]
outputs = [{ name = "none", type = "VARCHAR(20)" }]
"""


def explode(frame: pl.DataFrame) -> pl.DataFrame:
    """Somebody's function, with an error that quotes what it was given."""
    raise ValueError(f"cannot work on {frame['note'].to_list()}")


def make_event(table: str, *notes: str) -> bytes:
    records = [make_record(number, number, note) for number, note in enumerate(notes)]
    return orjson.dumps({"Records": records}).replace(ARN.encode(), ARN.replace("/orders/", f"/{table}/").encode())


def lines(stack: Embedded, **values: Any) -> list[dict[str, Any]]:
    """The structured lines of the log that say so."""
    found = [orjson.loads(line) for line in stack.log if line.startswith("{")]
    return [line for line in found if all(line.get(name) == value for name, value in values.items())]


async def test_no_log_holds_what_items_hold() -> None:
    async with Embedded(CONFIG) as stack:
        await stack.create_tables()
        # A value that fits, one that is rejected, one that a function stumbles over, one that must not be there.
        assert not (await stack.invoke_ingest(make_event("after", PLANTED, PLANTED * 2))).error
        answers = [await stack.invoke_ingest(make_event("strict", note)) for note in (PLANTED, PLANTED * 2)]
        # An event that is cut off, and records of which nothing can be made.
        answers.append(await stack.invoke_ingest(make_event("after", PLANTED)[:-9]))
        answers.append(await stack.invoke_ingest(make_event("nowhere", PLANTED)))
        assert [answer.error for answer in answers] == ["EnrichmentError", "MisfitError", "EventError", "EventError"]
        # A file that the warehouse cannot read, because of what is in it.
        assert not (await stack.invoke_ingest(make_event("spoilt", PLANTED))).error
        (key,) = [key async for key in stack.bucket.list_keys("data/spoilt/")]
        body = gzip.decompress(await stack.bucket.get(key)).decode()
        await stack.bucket.replace(key, gzip.compress(body.replace(f",0,{PLANTED}", f",{PLANTED},x").encode()))
        await stack.connect()
        async with asyncio.timeout(200):
            while not all(lines(stack, pipeline=name, message="retry") for name in ("after", "spoilt")):
                await asyncio.sleep(0.2)

        # The warehouse's own words quote it; the ledger keeps them.
        head = await stack.ledger.batches.head("after")
        assert head
        assert PLANTED in (await stack.ledger.batches.read(head.open[0])).error
        assert {line["error"] for line in lines(stack, pipeline="after", message="retry")} == {"post_sql"}
        assert {line["error"] for line in lines(stack, pipeline="spoilt", message="retry")} == {"copy"}
        (ingested,) = lines(stack, pipeline="after", message="ingested")
        assert ingested["rejects_by_reason"] == {"note/too_long": 1}
    told = [*stack.log, *(answer.payload.decode() for answer in answers), *(str(answer.log) for answer in answers)]
    assert [line for line in told if PLANTED in line] == []
