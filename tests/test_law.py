"""The law: no record, name or value may stop or change another one.

Whatever an event holds, each record ends as a row or a reject, which are its own: they depend neither on the events
before, nor on the other records, nor on the way of decoding. The events go through the real ingest, with enrichments.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from fastetl.aws import Bucket, Ledger
from fastetl.backfill.export_format import Export, ExportReader
from fastetl.config import Config, Pipeline, parse_config
from fastetl.decode import Decoder
from fastetl.enrich import Enricher
from fastetl.ingest import Ingest, Outcome, refine
from tests.decode.test_decoder import ARN, VALUE, make_record, make_remove
from tests.deployments import create_head, make_deployment
from tests.simulation.fake_dynamodb import FakeDynamoDB
from tests.simulation.fake_s3 import FakeS3

CONFIG = """
bucket = "the-bucket"
ledger_table = "ledger"
[redshift]
workgroup = "w"
[[pipelines]]
name = "orders"
table = "orders"
keys = ["id"]
target = "public.orders"
outputs = ["mirror", "log"]
undeclared = "{undeclared}"
columns = [
  {{ name = "id", type = "BIGINT" }},
  {{ name = "text", type = "VARCHAR(40)" }},
  {{ name = "cut", path = "text", type = "VARCHAR(5)", on_misfit = "truncate" }},
  {{ name = "amount", type = "DECIMAL(38,2)", on_misfit = "null" }},
  {{ name = "whole", type = "BIGINT", on_misfit = "null" }},
  {{ name = "at", type = "TIMESTAMP", on_misfit = "truncate" }},
  {{ name = "day", type = "DATE" }},
  {{ name = "blob", type = "VARBYTE(8)" }},
  {{ name = "document", type = "SUPER" }},
  {{ name = "inside", path = ["document", "a", 0], type = "VARCHAR(9)", on_misfit = "null" }},
  {{ name = "quoted", path = ['q"uo\\te'], type = "VARCHAR(20)" }},
  {{ name = "control", path = ["\\u0001\\n"], type = "VARCHAR(20)" }},
  {{ name = "face", path = ["\\U0001F600"], type = "VARCHAR(20)" }},
  {{ name = "dotted", path = ["a.b"], type = "VARCHAR(20)" }},
  {{ name = "upper", path = "TEXT", type = "VARCHAR(20)" }},
]
[[pipelines.enrichments]]
kind = "function"
function = "tests.test_law:measure"
inputs = ["text"]
outputs = [{{ name = "length", type = "SMALLINT" }}]
on_error = "{on_error}"
[[pipelines.enrichments]]
kind = "expression"
sql = "amount * 100"
outputs = [{{ name = "cents", type = "DECIMAL(38,2)" }}]
on_error = "{on_error}"
[[pipelines.enrichments]]
kind = "expression"
sql = "whole * 1000"
outputs = [{{ name = "thousandths", type = "BIGINT" }}]
on_error = "null"
[[pipelines.enrichments]]
kind = "lookup"
source = "names.csv"
inputs = ["text"]
on = ["key"]
outputs = [{{ name = "name", type = "VARCHAR(20)" }}]
[[pipelines.enrichments]]
kind = "mask"
method = "hash"
key_variable = "KEY"
outputs = [{{ name = "face", type = "VARCHAR(64)" }}]
[[pipelines.enrichments]]
kind = "filter"
sql = "whole <> 13 OR whole IS NULL"
"""
POLICIES = [("ignore", "reject"), ("extra", "reject"), ("extra", "null"), ("reject", "null")]


def measure(frame: pl.DataFrame) -> pl.DataFrame:
    """Somebody's function, that raises on some texts and gives what does not fit for others."""
    if frame["text"].str.contains("boom").fill_null(value=False).any():
        raise ValueError("boom")
    lengths = frame["text"].str.len_bytes().cast(pl.Int64)
    return pl.DataFrame({"length": lengths * 10_000})


class Direct:
    """A client of a fake service: each operation is an awaitable method."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._service, operation)

        async def call(**arguments: Any) -> Any:
            return method(**arguments)

        return call


class Record(msgspec.Struct, frozen=True):
    """What one record has become."""

    row: tuple[str, ...] = ()
    reject: tuple[str, str, str, str] | None = None


class Environment:
    """One Lambda environment of ingest, with a bucket and a ledger of its own."""

    def __init__(self, config: Config, folder: Path, *, is_native: bool = True) -> None:
        self.pipeline: Pipeline = config.pipelines[0]
        self._s3 = FakeS3()
        edges = (Bucket(Direct(self._s3), config.bucket), Ledger(Direct(FakeDynamoDB()), "ledger"))
        enricher = Enricher(self.pipeline, {"KEY": "k" * 32}, {"names.csv": folder / "names.csv"})
        self._deployment = make_deployment(config, self.pipeline, *edges)
        self._ingest = Ingest(self._deployment, enricher)
        if not is_native:
            self._ingest._decoder = Decoder(self.pipeline, is_native=False)

    async def _invoke(self, event: Any) -> Outcome:
        if await self._deployment.ledger.batches.head(self.pipeline.name) is None:
            await create_head(self._deployment)
        return await self._ingest.ingest(event)

    def run(self, event: Any) -> list[Record]:
        """Ingest an event; give what its records have become, rows first, each by its place in the files."""
        outcome: Outcome = asyncio.run(self._invoke(copy.deepcopy(event)))
        assert outcome.native_error == ""
        if outcome.file is None:
            assert outcome.records == 0
            return []
        found: list[Record] = []
        if outcome.file.key:
            text = io.StringIO(self._read(outcome.file.key), newline="")
            file_column = [name for name, _ in self.pipeline.layout.columns].index("_file")
            # The file's own name is made of all its records.
            rows = [tuple("" if n == file_column else field for n, field in enumerate(row)) for row in csv.reader(text)]
            assert len(rows) == outcome.file.rows
            found += [Record(row=row) for row in rows]
        if outcome.file.rejects_key:
            lines = self._read(outcome.file.rejects_key).splitlines()
            rejects = [json.loads(line) for line in lines]
            found += [
                Record(reject=(each["event_id"], each["reason"], each["column"], each["record"])) for each in rejects
            ]
        assert len(found) == outcome.records == outcome.file.rows + outcome.file.rejects
        return found

    def _read(self, key: str) -> str:
        return gzip.decompress(self._s3.objects["the-bucket", key].content).decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("law")
    (made / "names.csv").write_text('key,name\nx,"a ""name"""\n"q""uo\\te",other\n')
    return made


def configure(undeclared: str, on_error: str) -> Config:
    return parse_config(CONFIG.format(undeclared=undeclared, on_error=on_error), {})


# --- what comes -------------------------------------------------------------------------------------------------------

NAMES = [
    "text", "amount", "whole", "at", "day", "blob", "document", 'q"uo\\te', "\x01\n", "\U0001f600", "a.b", "TEXT", "id",
    'q"uote', "back\\slash", "\x00", "\x7f", "\u2028", "\u202e", "\ufeff", "\ud800", "\udfff x", "Text", "tExT", " ",
    "'", "{}", "[", ',"x":1', "null", "NewImage", "Records", "eventSourceARN", "_key", "_extra",
    "n" * 65_535, "é" * 20_000,
]  # fmt: skip
"""Names of attributes, declared and not; the last two are as long as DynamoDB takes them, or nearly."""

ODD: list[Any] = [
    None, True, 0, 1.5, "", "x", [], {}, ["a"], [None], {"S": None}, {"N": None}, {"N": 1}, {"B": None}, {"B": "*"},
    {"BOOL": "true"}, {"NULL": False}, {"SS": "ab"}, {"NS": ["x"]}, {"BS": [None]}, {"L": {}}, {"L": [None]}, {"M": []},
    {"M": {"a": None}}, {"S": "a", "N": "1"}, {"X": "x"}, {"s": "x"}, {"": ""}, {"N": "NaN"}, {"N": "1E126"},
    {"N": "9" * 36 + ".99"}, {"N": "9" * 39}, {"N": "4611686018427387904"}, {"N": "13"}, {"S": "\x00"}, {"S": "\ud800"},
    {"S": r"\N"}, {"S": "boom"}, {"S": "x" * 70_000}, {"S": "ééé"}, {"S": '","'}, {"S": "\r\n"}, {"S": "\ufffe\uffff"},
    {"S": "2026-02-30"}, {"S": "2026-01-01T00:00:00.123456789"}, {"S": "0000-00-00"}, {"S": "-4713-01-01"},
    {"M": {"a": {"L": [{"S": "in"}]}}}, {"M": {"\ud800": {"S": "x"}}}, {"M": {"n" * 66_000: {"S": "x"}}},
    {"M": {"B": {"B": None}}}, {"L": [{"N": "1E125"}]}, {"L": [{"S": "x" * 70_000}]}, {"S": 'q"uo\\te'}, {"B": "AAEC"},
]  # fmt: skip


def nest(levels: int) -> Any:
    value: Any = {"S": "deep"}
    for _ in range(levels):
        value = {"L": [value]}
    return value


TELLING: dict[str, list[Any]] = {
    "text": [{"S": "x"}, {"S": "boom"}, {"S": "xxxx"}, {"S": 'q"uo\\te'}, {"S": "é" * 21}, {"S": "\x00"}, {"N": "1"}],
    "amount": [{"N": "1.5"}, {"N": "9" * 36 + ".99"}, {"N": "9" * 34 + ".01"}, {"N": "1.005"}, {"S": "1"}],
    "whole": [{"N": "1"}, {"N": "13"}, {"N": "4611686018427387904"}, {"N": "9223372036854775808"}, {"NULL": True}],
    "at": [{"S": "2026-01-01T00:00:00.123456789"}, {"S": "2026-02-30"}, {"S": "2026-01-01"}],
    "day": [{"S": "2026-01-01"}, {"S": ""}, {"S": "9999-12-31"}, {"S": "0001-01-01"}],
    "document": [{"M": {"a": {"L": [{"S": "in"}]}}}, {"M": {"a": {"L": {}}}}, {"B": None}, {"S": "x" * 70_000}],
    "\U0001f600": [{"S": "masked"}, {"S": "\ud800"}],
}
"""Attributes of columns, with values on which columns and enrichments differ."""

SENT = st.one_of(VALUE, st.sampled_from(ODD), st.sampled_from([5, 32, 90, 300]).map(nest))
ITEMS = st.one_of(
    st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in TELLING.items()}),
    st.fixed_dictionaries({name: st.sampled_from(TELLING[name]) for name in ("text", "amount")}),
    st.dictionaries(st.sampled_from(NAMES), SENT, max_size=4),
)
FIELDS: dict[tuple[str, ...], list[Any]] = {
    ("eventID",): ["e" * 129, "é", "\n", "e 1", "ab"],
    ("eventName",): ["REMOVE", "MODIFY", "EXPIRE", "remove"],
    ("eventSourceARN",): [
        ARN.replace("orders", "users"), ARN.replace("2026", "2025"), ARN + "x" * 200, ARN + "\u2028",
        "arn:aws:kinesis:us-east-1:123456789012:stream/orders", "orders",
    ],
    ("dynamodb",): [{"Keys": {}}],
    ("userIdentity",): [{"principalId": "dynamodb.amazonaws.com", "type": "Service"}],
    ("dynamodb", "Keys"): [{"id": {"N": "7"}}, {"id": {"S": "\x00"}}, {"id": {"B": "AA=="}}, {"id": {"SS": ["x"]}}],
    ("dynamodb", "NewImage"): [{"text": {"S": "no key"}}],
    ("dynamodb", "OldImage"): [{"text": {"S": "boom"}, "amount": {"N": "9" * 38}}],
    ("dynamodb", "SequenceNumber"): ["9" * 40, "9" * 41, "-1", "1.0", "\u0661"],
    ("dynamodb", "ApproximateCreationDateTime"): [-62_135_596_800, 1e300, 2**70, -1, 1767225600.5, "1767225600"],
    ("dynamodb", "Keys", "id"): [{"S": "x" * 3000}, {"S": ";\\;"}, {"N": "1E5"}, {"N": "-0"}, {"S": "\ud800"}],
    ("dynamodb", "Keys", "more"): [{"S": "x"}],
}  # fmt: skip
"""Fields of a record, with odd values of each beside those that are odd everywhere."""


@st.composite
def records(draw: Any) -> Any:
    """Draw a record as DynamoDB sends it, or one of which something is odd."""
    item, is_remove = copy.deepcopy(draw(ITEMS)), draw(st.integers(0, 5)) == 0
    number = draw(st.integers(1, 10**6))
    record: Any = make_remove(number, item) if is_remove else make_record(number, item)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        *path, name = draw(st.sampled_from(list(FIELDS)))
        place = record
        for step in path:
            place = place.get(step) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            continue
        if draw(st.booleans()):
            place[name] = copy.deepcopy(draw(st.sampled_from(FIELDS[*path, name]) | st.sampled_from(ODD)))
        else:
            place.pop(name, None)
    return draw(st.sampled_from(ODD)) if draw(st.integers(0, 40)) == 0 else record


# A record without an ARN says of no event where it comes from: one that does is in each.
EVENTS = st.builds(
    lambda first, others, place: [*others[:place], make_record(10**7, first), *others[place:]],
    st.just({"text": {"S": "ordinary"}}), st.lists(records(), max_size=5), st.integers(0, 5),
)  # fmt: skip


def test_the_name_of_a_table_is_no_stream_of_it() -> None:
    config = configure(*POLICIES[0])
    assert config.reads(ARN)
    assert not config.reads("orders")


def as_event(records: list[Any], spelling: str) -> Any:
    if spelling == "dict":
        return {"Records": records}
    separators = (",", ":") if spelling == "compact" else None
    return json.dumps({"Records": records}, separators=separators).encode()


SPELLINGS = st.sampled_from(["compact", "compact", "spaced", "dict"])
LAWFUL = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@LAWFUL
@given(events=st.lists(st.tuples(EVENTS, SPELLINGS), min_size=2, max_size=4), policy=st.sampled_from(POLICIES))
def test_an_events_rows_do_not_depend_on_the_events_before(events: Any, policy: Any, folder: Path) -> None:
    config = configure(*policy)
    busy = Environment(config, folder)
    for number, (parts, spelling) in enumerate(events):
        event = as_event([tell_apart(record, number) for record in parts], spelling)
        assert busy.run(event) == Environment(config, folder).run(event)


def tell_apart(record: Any, number: int) -> Any:
    """Give a record's event the ids that no other event has: a file is named by them."""
    has_id = isinstance(record, dict) and isinstance(record.get("eventID"), str)
    return {**record, "eventID": f"{number}{record['eventID']}"} if has_id else record


@LAWFUL
@given(event=EVENTS, out=st.integers(0, 5), spelling=SPELLINGS, policy=st.sampled_from(POLICIES))
def test_taking_one_record_out_changes_no_other(event: Any, out: int, spelling: str, policy: Any, folder: Path) -> None:
    config = configure(*policy)
    out %= len(event)
    left = Environment(config, folder).run(as_event(event, spelling))
    others = [*event[:out], *event[out + 1 :]]
    if not any(isinstance(record, dict) and record.get("eventSourceARN") == ARN for record in others):
        return  # an event that does not say where it comes from is none
    for each in Environment(config, folder).run(as_event(others, spelling)):
        left.remove(each)
    assert len(left) == 1


@LAWFUL
@given(event=EVENTS, spelling=SPELLINGS, policy=st.sampled_from(POLICIES))
def test_both_ways_of_decoding_agree(event: Any, spelling: str, policy: Any, folder: Path) -> None:
    config = configure(*policy)
    written = as_event(event, spelling)
    assert Environment(config, folder).run(written) == Environment(config, folder, is_native=False).run(written)


# --- records of Kinesis -----------------------------------------------------------------------------------------------

STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/shared"
TABLES = st.sampled_from(["orders", "orders", "orders", "users", "", " ", "\U0001f600", None, 5])
DATA = st.sampled_from(["", "%", "eyJ9", None, 5, "bnVsbA=="])


@st.composite
def kinesis_records(draw: Any) -> Any:
    """Draw a record of a Kinesis stream that several tables write to, or one of which something is odd."""
    change = draw(records())
    if isinstance(change, dict):
        change = {**change, "tableName": draw(TABLES), "eventID": draw(st.uuids().map(str))}
        body = change.get("dynamodb")
        if isinstance(body, dict):
            precision = draw(st.sampled_from(["MICROSECOND", "MICROSECOND", "MILLISECOND", "x", None]))
            body["ApproximateCreationDateTimePrecision"] = precision
            if isinstance(body.get("ApproximateCreationDateTime"), int) and draw(st.integers(0, 4)):
                body["ApproximateCreationDateTime"] = 1_767_225_600_000_001
            body.pop("SequenceNumber", None)
        change.pop("eventSourceARN", None)
    data = base64.b64encode(json.dumps(change).encode()).decode() if draw(st.integers(0, 9)) else draw(DATA)
    record = {"eventSource": "aws:kinesis", "eventSourceARN": STREAM, "kinesis": {"data": data}}
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.sampled_from(["kinesis", "eventSourceARN"]))
        record[place] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return record


@LAWFUL
@given(event=st.lists(kinesis_records(), min_size=1, max_size=5), out=st.integers(0, 4), spelling=SPELLINGS)
def test_records_of_kinesis_are_taken_each_for_itself(event: Any, out: int, spelling: str, folder: Path) -> None:
    config = configure("extra", "reject")
    orders = msgspec.structs.replace(config.pipelines[0], source="kinesis", stream_arn=STREAM)
    config = msgspec.structs.replace(config, pipelines=(orders,))
    anchor = {"eventSource": "aws:kinesis", "eventSourceARN": STREAM, "kinesis": {"data": ""}}
    event = [anchor, *event]
    written = as_event(event, spelling)
    left = Environment(config, folder).run(written)
    assert left == Environment(config, folder, is_native=False).run(written)
    out = 1 + out % (len(event) - 1)
    for each in Environment(config, folder).run(as_event([*event[:out], *event[out + 1 :]], spelling)):
        left.remove(each)
    assert len(left) <= 1


# --- lines of exports -------------------------------------------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        ITEMS.map(lambda item: {"Item": {**item, "id": {"N": "1"}}}),
        ITEMS.map(lambda item: {"Item": item}),
        st.sampled_from(ODD),
    ),
    min_size=1,
    max_size=6,
)


@LAWFUL
@given(lines=LINES, place=st.integers(0, 5), other=LINES, policy=st.sampled_from(POLICIES))
def test_a_line_of_an_export_changes_no_other(lines: Any, place: int, other: Any, policy: Any, folder: Path) -> None:
    pipeline = configure(*policy).pipelines[0]
    found = carry_over(pipeline, lines, folder)
    assert found == carry_over(pipeline, lines, folder, is_native=False)
    place %= len(lines)
    changed = carry_over(pipeline, [*lines[:place], other[0], *lines[place + 1 :]], folder)
    assert found.keys() == changed.keys() == set(range(len(lines)))
    assert {n: one for n, one in found.items() if n != place} == {n: one for n, one in changed.items() if n != place}


def carry_over(pipeline: Pipeline, lines: list[Any], folder: Path, *, is_native: bool = True) -> dict[int, Any]:
    """Convert lines of an export; give what each has become."""
    export = Export("export", ARN.partition("/stream/")[0], "full", 1_767_225_600, len(lines), "")
    reader = ExportReader(export, pipeline.keys, "data")
    decoder = Decoder(pipeline, is_native=is_native)
    text = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
    changes = decoder.decode_lines(text, reader, 0, (), "f" * 32)
    enricher = Enricher(pipeline, {"KEY": "k" * 32}, {"names.csv": folder / "names.csv"})
    refined = refine(
        changes, enricher, pipeline.layout, lambda positions: decoder.write_lines(text, reader, 0, positions)
    ).changes
    assert changes.native_error == ""
    assert refined.frame.height + len(refined.rejects) == len(lines)
    rows = {
        number_of(event_id): row for event_id, row in zip(refined.frame["_event_id"], refined.frame.rows(), strict=True)
    }
    return rows | {number_of(reject.event_id): reject for reject in refined.rejects}


def number_of(event_id: str) -> int:
    return int(event_id.rpartition(":")[2])
