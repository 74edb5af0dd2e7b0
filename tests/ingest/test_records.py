"""What becomes of each record: a row, or a reject with the record as it came."""

from __future__ import annotations

import json
from typing import Any

import orjson
import polars as pl
import pytest

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.enrichments import Expression
from fastetl.config.model import Enrichment, FileFormat, Pipeline
from fastetl.decode.decoder import Decoder
from fastetl.enrich.enricher import Enricher
from fastetl.ingest.csv import write_csv
from fastetl.ingest.records import Refined, find_too_large, refine
from fastetl.limits import MAX_COPY_ROW_BYTES

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/docs/stream/2026-01-01T00:00:00.000"
HUGE = "9" * 36 + ".99"
CENTS = Enrichment(Expression("amount * 100"), outputs=(("cents", RedshiftType.parse("DECIMAL(38,0)")),))


def make_pipeline(**changes: Any) -> Pipeline:
    columns = [Column("id", ("id",), RedshiftType.parse("BIGINT"))]
    columns += [Column("amount", ("amount",), RedshiftType.parse("DECIMAL(38,2)"))]
    columns += [Column(name, ("doc",), RedshiftType.parse("SUPER")) for name in ("doc", "again")]
    known: dict[str, Any] = {"name": "docs", "table": "docs", "keys": ("id",), "schema": "public", "target": "docs"}
    return Pipeline(columns=tuple(columns), **(known | changes))


def make_record(number: int, **image: Any) -> dict[str, Any]:
    keys = {"id": {"N": str(number)}}
    body = {
        "Keys": keys, "NewImage": keys | image, "SequenceNumber": str(100 + number),
        "ApproximateCreationDateTime": 1767225600,
    }  # fmt: skip
    return {"eventID": f"e{number}", "eventName": "INSERT", "eventSourceARN": ARN, "dynamodb": body}


def settle(pipeline: Pipeline, *records: Any, as_dict: bool = False) -> Refined:
    event: Any = {"Records": list(records)} if as_dict else orjson.dumps({"Records": records})
    decoder = Decoder(pipeline)
    return refine(
        decoder.decode(event), Enricher(pipeline), pipeline.layout,
        lambda positions: decoder.write_records(event, positions),
    )  # fmt: skip


@pytest.mark.parametrize("as_dict", [False, True])
def test_a_row_without_value_is_a_reject_with_its_record(as_dict: bool) -> None:
    records = [
        make_record(1, amount={"N": "x"}), make_record(2, amount={"N": "1"}), make_record(3, amount={"N": HUGE}),
        make_record(4, amount={"N": "y"}), make_record(5), make_record(6, amount={"N": HUGE}),
    ]  # fmt: skip
    refined = settle(make_pipeline(enrichments=(CENTS,)), *records, as_dict=as_dict)
    changes = refined.changes
    assert changes.frame.select("id", "cents").rows() == [("2", "100"), ("5", None)]
    assert [(each.event_id, each.column, each.reason) for each in changes.rejects] == [
        ("e1", "amount", "malformed"), ("e4", "amount", "malformed"),
        ("e3", "cents", "enrichment"), ("e6", "cents", "enrichment"),
    ]  # fmt: skip
    assert [json.loads(each.record) for each in changes.rejects] == [records[n] for n in (0, 3, 2, 5)]
    assert changes.drift == {"reject/amount/malformed": 2, "reject/cents/enrichment": 2}
    assert refined.errors == {"enrichment 0/expression: ComputeError": 2}


def test_nulls_of_enrichments_are_misfits_beside_those_of_decoding() -> None:
    null = Enrichment(CENTS.options, outputs=CENTS.outputs, on_error="null")
    changes = settle(make_pipeline(enrichments=(null,)), make_record(1, amount={"N": HUGE})).changes
    assert (changes.misfits, changes.rejects) == ({("cents", "enrichment"): 1}, ())


BIG = {"M": {f"p{n}": {"S": "\x01" * 62_000} for n in range(6)}}
"""Less than DynamoDB's 400 KB; as JSON each sign takes six bytes, and two columns hold it."""


def test_a_row_that_copy_would_not_read_is_a_reject_and_its_neighbours_are_rows() -> None:
    small = {"M": {"x": {"S": "1"}}}
    records = [make_record(1, doc=small), make_record(2, doc=BIG), make_record(3, doc=small)]
    changes = settle(make_pipeline(), *records).changes
    assert changes.frame["id"].to_list() == ["1", "3"]
    (reject,) = changes.rejects
    assert (reject.event_id, reject.column, reject.reason) == ("e2", "", "row_too_long")
    assert json.loads(reject.record)["dynamodb"]["NewImage"]["doc"] == BIG
    assert len(settle(make_pipeline(), make_record(2, doc={"M": {"p": {"S": "\x01" * 62_000}}})).changes.frame) == 1


def test_rows_too_long_are_found_after_those_that_enrichments_reject() -> None:
    records = [make_record(1, amount={"N": HUGE}), make_record(2, doc=BIG), make_record(3), make_record(4, doc=BIG)]
    changes = settle(make_pipeline(enrichments=(CENTS,)), *records).changes
    assert [(each.event_id, each.reason) for each in changes.rejects] == [
        ("e1", "enrichment"), ("e2", "row_too_long"), ("e4", "row_too_long"),
    ]  # fmt: skip
    assert changes.frame["id"].to_list() == ["3"]


@pytest.mark.parametrize("character", ["a", '"', ",", "ü", "\n"])
@pytest.mark.parametrize("delimiter", [",", "|"])
def test_the_limit_is_on_the_bytes_that_are_written(character: str, delimiter: str) -> None:
    pipeline = make_pipeline(file=FileFormat(delimiter=delimiter))
    layout = pipeline.layout
    names = [name for name, _ in layout.columns]

    def frame_of(length: int) -> pl.DataFrame:
        values: dict[str, list[str | None]] = {name: ["x"] for name in names}
        values |= {"doc": [character * length]}
        return pl.DataFrame(values | {"again": [None]}, schema=dict.fromkeys(names, pl.String))

    def size(frame: pl.DataFrame) -> int:
        return sum(map(len, write_csv(frame, layout)))

    per_character = (size(frame_of(1001)) - size(frame_of(1))) // 1000
    fits = (MAX_COPY_ROW_BYTES - size(frame_of(1))) // per_character + 1
    assert find_too_large(frame_of(fits), layout) == set()
    assert size(frame_of(fits)) <= MAX_COPY_ROW_BYTES < size(frame_of(fits + 1))
    assert find_too_large(frame_of(fits + 1), layout) == {0}
    several = pl.concat([frame_of(1), frame_of(fits + 1), frame_of(1)])
    assert find_too_large(several, layout) == {1}
