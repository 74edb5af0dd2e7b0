"""Events of Kinesis against the same changes from DynamoDB Streams."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import orjson
import pytest

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Pipeline
from fastetl.decode.decoder import Decoder
from fastetl.decode.kinesis import unwrap
from fastetl.errors import EventError
from fastetl.local.functions.kinesis_records import build_kinesis_event
from fastetl.versions import EXPORT_LABEL, EpochStart, build_version, epoch_floor, first_change
from tests.local.test_stack import make_record

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
PIPELINE = Pipeline(
    "orders", "orders", ("id",), "public", "orders",
    (Column("id", ("id",), RedshiftType.parse("BIGINT")), Column("note", ("note",), RedshiftType.parse("VARCHAR(20)"))),
    stream_arn=ARN, source="kinesis",
)  # fmt: skip


def make_event(*records: dict[str, Any]) -> bytes:
    return build_kinesis_event(orjson.dumps({"Records": records}), ARN)


def change_in(event: bytes, number: int = 0) -> dict[str, Any]:
    return orjson.loads(base64.b64decode(orjson.loads(event)["Records"][number]["kinesis"]["data"]))


def replaced(event: bytes, data: bytes, number: int = 0) -> bytes:
    changed = orjson.loads(event)
    changed["Records"][number]["kinesis"]["data"] = base64.b64encode(data).decode()
    return orjson.dumps(changed)


def test_changes_are_the_streams_own_but_for_number_and_id() -> None:
    records = [make_record(1, 1, "a"), make_record(2, 2, None), make_record(1, 3, "b")]
    changes = Decoder(PIPELINE).decode(make_event(*records))
    frame = changes.frame
    assert frame.select("_key", "_op", "_deleted", "id", "note").rows() == [
        ("N=1;", "MODIFY", "false", "1", "a"),
        ("N=2;", "REMOVE", "true", "2", None),
        ("N=1;", "MODIFY", "false", "1", "b"),
    ]
    versions = frame["_version"].to_list()
    assert versions == sorted(versions)
    assert {len(version.rpartition("#")[2]) for version in versions} == {40}
    assert frame["_changed_at"].to_list()[0] == "2026-01-01 00:00:00.000001"
    assert (changes.decoded_native, changes.rejects, changes.ties) == (3, (), 0)


def test_a_change_has_one_version_however_often_and_with_whom_it_comes() -> None:
    one, two = make_record(1, 1, "a"), make_record(2, 2, "b")
    alone = Decoder(PIPELINE).decode(make_event(two)).frame
    again = Decoder(PIPELINE).decode(orjson.loads(make_event(one, two, two))).frame
    assert again["_version"].to_list()[1:] == alone["_version"].to_list() * 2
    assert again["_event_id"].n_unique() == 2


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("names", [("zz", "aa"), ("orders", "0"), ("a", "-"), ("x", "."), ("zz", "A")])
def test_a_change_is_newer_than_an_earlier_one_whatever_its_stream_is_called(
    names: tuple[str, str], *, is_native: bool
) -> None:
    """The table writes to another stream from now on, and its name sorts before the first one's, or an export's."""
    versions = []
    for moment, name in enumerate(names, 1):
        arn = f"{ARN.rpartition('/')[0]}/{name}"
        event = build_kinesis_event(orjson.dumps({"Records": [make_record(1, moment, "a")]}), arn)
        decoder = Decoder(msgspec.structs.replace(PIPELINE, stream_arn=arn), is_native=is_native)
        versions += decoder.decode(event, (EpochStart(1, 0),)).frame["_version"].to_list()
    assert versions == sorted(versions)
    export = build_version(1, EXPORT_LABEL, "0")
    assert all(export < first_change(1) <= version < epoch_floor(2) for version in versions)


def test_ties_are_counted_and_ordered_by_the_event_id() -> None:
    event = make_event(make_record(1, 1, "a"), make_record(1, 1, "b"))
    other = {**change_in(event, 1), "eventID": "another"}
    tied = replaced(event, orjson.dumps(other), 1)
    changes = Decoder(PIPELINE).decode(tied)
    assert changes.ties == 1
    assert changes.frame["_version"].n_unique() == 2
    assert Decoder(PIPELINE).decode(event).ties == 0


@pytest.mark.parametrize("data", [b"no JSON", b"{}", b"[]", b'{"dynamodb":{"Keys":{}},"eventID":"x"}', b"\xff"])
def test_what_is_no_change_is_a_reject_and_the_rest_passes(data: bytes) -> None:
    event = replaced(make_event(make_record(1, 1, "a"), make_record(2, 2, "b")), data)
    changes = Decoder(PIPELINE).decode(event)
    assert changes.frame["id"].to_list() == ["2"]
    assert [reject.reason for reject in changes.rejects] == ["malformed"]


def test_a_reject_can_be_replayed() -> None:
    event = make_event(make_record(1, 1, "x" * 21))
    (reject,) = Decoder(PIPELINE).decode(event).rejects
    again = orjson.dumps({"Records": [orjson.loads(reject.record)]})
    (same,) = Decoder(PIPELINE).decode(again).rejects
    assert (same.event_id, same.reason) == (reject.event_id, "too_long")


def of_table(event: bytes, table: str, number: int = 0) -> bytes:
    """The same event with a record of another table."""
    return replaced(event, orjson.dumps({**change_in(event, number), "tableName": table}), number)


def in_milliseconds(event: bytes, number: int = 0, **precision: str) -> bytes:
    change = change_in(event, number)
    change["dynamodb"]["ApproximateCreationDateTime"] //= 1000
    change["dynamodb"] |= precision
    return replaced(event, orjson.dumps(change), number)


@pytest.mark.parametrize("precision", [{}, {"ApproximateCreationDateTimePrecision": "MILLISECOND"}])
def test_a_change_in_milliseconds_is_a_reject_that_says_the_way_out(precision: dict[str, str]) -> None:
    event = in_milliseconds(make_event(make_record(1, 1, "a"), make_record(2, 2, "b")), **precision)
    changes = Decoder(PIPELINE).decode(event)
    assert changes.frame["id"].to_list() == ["2"]
    (reject,) = changes.rejects
    assert (reject.reason, reject.event_id) == ("milliseconds", change_in(event)["eventID"])
    assert "MICROSECOND" in reject.detail
    assert "fastetl backfill" in reject.detail
    (again,) = Decoder(PIPELINE).decode({"Records": [orjson.loads(reject.record)]}).rejects
    assert (again.reason, again.record) == (reject.reason, reject.record)


def test_a_pipeline_takes_its_own_tables_records() -> None:
    event = make_event(make_record(1, 1, "a"), make_record(1, 2, "archived"), make_record(3, 3, "c"))
    event = of_table(of_table(event, "orders_archive", 1), "orders_archive", 2)
    changes = Decoder(PIPELINE).decode(event)
    assert changes.frame["note"].to_list() == ["a"]
    assert (changes.received, changes.passed_over) == (1, {"orders_archive": 2})
    archive = msgspec.structs.replace(PIPELINE, name="archive", table="orders_archive")
    others = Decoder(archive).decode(event)
    assert others.frame["note"].to_list() == ["archived", "c"]
    assert others.file_id != changes.file_id
    alone = make_event(make_record(1, 1, "a"))
    assert Decoder(PIPELINE).decode(alone).file_id == changes.file_id


def test_an_event_of_other_tables_alone_gives_nothing() -> None:
    event = of_table(make_event(make_record(1, 1, "a")), "customers")
    changes = Decoder(PIPELINE).decode(event)
    assert (changes.frame.height, changes.received, changes.rejects) == (0, 0, ())
    assert changes.frame.columns == [name for name, _ in PIPELINE.layout.columns]
    assert changes.passed_over == {"customers": 1}


@pytest.mark.parametrize("data", [b"no JSON", b"{}", b'{"dynamodb":{}}', b'{"tableName":5}', b"\xff", b"[" * 9999])
def test_data_that_names_no_table_is_rejected_by_one_pipeline(data: bytes) -> None:
    event = replaced(make_event(make_record(1, 1, "a")), data)
    (reject,) = Decoder(PIPELINE).decode(event).rejects
    assert "tableName" in reject.detail
    assert Decoder(PIPELINE, takes_nameless=False).decode(event).received == 0


def test_other_tables_may_have_other_keys_and_odd_content() -> None:
    event = make_event(make_record(1, 1, "a"), make_record(2, 2, "b"))
    other = {"tableName": "devices", "eventID": "x", "dynamodb": {"Keys": {"pk": {"S": "d"}}, "NewImage": 5}}
    changes = Decoder(PIPELINE).decode(replaced(event, orjson.dumps(other), 1))
    assert (changes.frame["id"].to_list(), changes.rejects) == (["1"], ())


def test_text_that_is_no_unicode_costs_what_it_costs_in_a_stream() -> None:
    event = make_event(make_record(1, 1, "a"), make_record(2, 2, "b"))
    for stray, rejects in ((b'"stray":{"S":"\\ud800"},"id"', 0), (b'"note2":{"S":"x"},"id"', 0)):
        data = orjson.dumps(change_in(event)).replace(b'"NewImage":{"id"', b'"NewImage":{' + stray)
        changes = Decoder(PIPELINE).decode(replaced(event, data))
        assert (changes.frame["id"].to_list(), len(changes.rejects)) == (["1", "2"], rejects)


def test_a_streams_own_event_is_refused() -> None:
    with pytest.raises(EventError, match="no record is of Kinesis"):
        unwrap(orjson.dumps({"Records": [make_record(1, 1, "a")]}), "orders")


@pytest.mark.parametrize("odd", [None, 5, [], "x", {}, {"eventSourceARN": 5}, {"kinesis": {}}, {"kinesis": 5}])
def test_a_record_of_another_shape_is_a_reject(odd: Any) -> None:
    event = orjson.loads(make_event(make_record(1, 1, "a")))
    for records in ([*event["Records"], odd], [odd, *event["Records"]]):
        changes = Decoder(PIPELINE).decode({"Records": records})
        assert changes.frame["id"].to_list() == ["1"]
        assert [reject.reason for reject in changes.rejects] == ["malformed"]
