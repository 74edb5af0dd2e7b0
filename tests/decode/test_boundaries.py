"""Where a record's own fields end: each limit from both sides, by both ways of decoding."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastetl.decode.decoder import Decoder
from fastetl.decode.event import (
    LONGEST_NAME,
    MAX_DEPTH,
    cut_name,
    escape_key,
    format_time,
    has_label,
    is_event_id,
    is_sequence_number,
    is_time_to_live,
    name_record,
    nests_too_deep,
    parse_records,
    split_records,
    write_record,
)
from fastetl.decode.kinesis import is_milliseconds, unwrap
from fastetl.errors import EventError
from tests.decode.test_decoder import ARN, as_bytes, as_dict, column, make_pipeline, make_record, make_remove

ID = column("id", "BIGINT")


def decode(record: Any, **changes: Any) -> list[Any]:
    """Decode one record both ways; give the reasons of rejects, and the rows."""
    pipeline = make_pipeline(ID, **changes)
    found = [Decoder(pipeline).decode(event) for event in (as_bytes(record), as_dict(record))]
    assert found[0].frame.equals(found[1].frame)
    assert found[0].rejects == found[1].rejects
    assert found[0].ignored == found[1].ignored
    return [reject.reason for reject in found[0].rejects] + found[0].frame.rows(named=True)


@pytest.mark.parametrize("undeclared", ["ignore", "reject"])
def test_a_delete_is_never_rejected_for_what_its_old_image_holds(undeclared: str) -> None:
    for outputs in ({"mirror"}, {"mirror", "log"}):
        for deletes in ("forget", "keep"):
            removed = make_remove(1, old={"more": {"S": "x"}})
            (row,) = decode(removed, undeclared=undeclared, outputs=frozenset(outputs), deletes=deletes)
            assert (row["_deleted"], row["_op"], row["id"]) == ("true", "REMOVE", "1")
    (there,) = decode(make_record(1, {"more": {"S": "x"}}), undeclared=undeclared)
    assert (there == "undeclared") is (undeclared == "reject")


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"eventID": "e" * 128}, True), ({"eventID": "e" * 129}, False), ({"eventID": ""}, False),
        ({"eventID": "é"}, False), ({"eventID": "a\n"}, False), ({"eventID": 5}, False),
        ({"dynamodb": {"SequenceNumber": "9" * 40}}, True), ({"dynamodb": {"SequenceNumber": "9" * 41}}, False),
        ({"dynamodb": {"SequenceNumber": ""}}, False), ({"dynamodb": {"SequenceNumber": "-1"}}, False),
        ({"dynamodb": {"SequenceNumber": "\u0661"}}, False), ({"dynamodb": {"SequenceNumber": 5}}, False),
        ({"dynamodb": {"ApproximateCreationDateTime": 0}}, True),
        ({"dynamodb": {"ApproximateCreationDateTime": "0"}}, False),
        ({"dynamodb": {"ApproximateCreationDateTime": True}}, False),
        ({"dynamodb": {"ApproximateCreationDateTime": 10**30}}, False),
        ({"eventName": "MODIFY"}, True), ({"eventName": "modify"}, False), ({"eventName": ["INSERT"]}, False),
        ({"eventName": None}, False),
    ],
)  # fmt: skip
def test_a_records_fields_end_where_the_table_ends(changes: dict[str, Any], fits: bool) -> None:
    (found,) = decode(make_record(1, **changes))
    assert (found != "malformed") is fits
    assert fits is not isinstance(found, str)


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(("levels", "too_deep"), [(1, False), (MAX_DEPTH, False), (MAX_DEPTH + 1, True), (5000, True)])
def test_records_nest_so_deep(levels: int, too_deep: bool) -> None:
    assert nests_too_deep(deep(levels)) is too_deep
    assert write_record(deep(levels)) == "[" * levels + "]" * levels


def test_a_deep_record_is_written_as_a_flat_one_is() -> None:
    flat = {"a": [1, {"b": None, "c": [True, "é"]}, []], "d": {}, "e": "\ud800"}
    within: Any = {"x": flat, "deep": deep(3000), "y": [flat, flat]}
    written = write_record(within)
    assert written.startswith(f'{{"x": {json.dumps(flat)}, "deep": [[[')
    assert written.endswith(f'], "y": [{json.dumps(flat)}, {json.dumps(flat)}]}}')
    assert written.count("[") == written.count("]")


@pytest.mark.parametrize(
    ("event", "texts"),
    [
        (b'{"Records":[]}', []), (b'{"Records":[ ]}', []), (b' { "Records" : [ 1 , 2 ] } ', [b"1 ", b" 2 "]),
        (b'{"Records":[{"a":[1,2]},"],["]}', [b'{"a":[1,2]}', b'"],["']), (b'{"Records":["\\"]"]}', [b'"\\"]"']),
        (b'{"Records":[1]', None), (b'{"Records":[1]}x', None), (b'{"Records":{}}', None), (b'{"Other":[1]}', None),
        (b'{"Records":[1],"more":2}', None), (b"", None), (b'{"Records":[[1,2],[3]]}', [b"[1,2]", b"[3]"]),
        (b'{"Records":[1,]}', [b"1", b""]), (b'{"Records":[{"a":1}', None),
    ],
)  # fmt: skip
def test_an_event_is_cut_into_its_records(event: bytes, texts: list[bytes] | None) -> None:
    found = split_records(event)
    assert (found and [text.strip() for text in found]) == (texts and [text.strip() for text in texts])


@pytest.mark.parametrize("event", [b"", b"no", b"[]", b"{}", b'{"Records":{}}', b'{"Records":null}', b"1"])
def test_what_holds_no_records_is_no_event(event: bytes) -> None:
    with pytest.raises(EventError):
        parse_records(event)


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (is_event_id, "~" * 128, True), (is_event_id, "~" * 129, False), (is_event_id, "a\x7f", False),
        (is_event_id, None, False), (is_event_id, " ", True),
        (is_sequence_number, "0" * 40, True), (is_sequence_number, "0" * 41, False), (is_sequence_number, "1 ", False),
        (has_label, "arn/stream/" + "l" * 64, True), (has_label, "arn/stream/" + "l" * 65, False),
        (has_label, "arn/stream/", False), (has_label, "arn/stream/é", False), (has_label, "x:kinesis:y/é", True),
        (is_time_to_live, {"principalId": "dynamodb.amazonaws.com", "type": "Service"}, True),
        (is_time_to_live, {"principalId": "dynamodb.amazonaws.com", "type": "Service", "more": 1}, True),
        (is_time_to_live, {"principalId": "dynamodb.amazonaws.com"}, False),
        (is_time_to_live, {"principalId": "somebody", "type": "Service"}, False), (is_time_to_live, "x", False),
        (escape_key, "a;b", "a\\;b"), (escape_key, "a\\b", "a\\\\b"), (escape_key, "ab", "ab"),
        (escape_key, "\\;", "\\\\\\;"),
        (format_time, 0.0, "1970-01-01 00:00:00.000000"), (format_time, 1.0000004, "1970-01-01 00:00:01.000000"),
        (format_time, 1767225600.123456, "2026-01-01 00:00:00.123456"),
        (cut_name, "é" * LONGEST_NAME, "é" * LONGEST_NAME), (cut_name, "a" * 300, "a" * LONGEST_NAME),
        (cut_name, "\ud800", "?"),
        (is_milliseconds, {"ApproximateCreationDateTime": 1767225600123}, True),
        (is_milliseconds, {"ApproximateCreationDateTime": 1767225600123456}, False),
        (is_milliseconds, {"ApproximateCreationDateTime": 999999999999999}, True),
        (is_milliseconds, {"ApproximateCreationDateTime": 1000000000000000}, False),
        (is_milliseconds, {"ApproximateCreationDateTime": 1767225600123456,
                           "ApproximateCreationDateTimePrecision": "MILLISECOND"}, True),
        (is_milliseconds, {"ApproximateCreationDateTime": 1767225600123, "SequenceNumber": "1"}, False),
        (is_milliseconds, {"ApproximateCreationDateTime": "1767225600123"}, False), (is_milliseconds, {}, False),
    ],
)  # fmt: skip
def test_what_fits_into_a_version_or_a_name(function: Any, value: Any, expected: Any) -> None:
    assert function(value) == expected


def test_a_record_without_an_id_is_named_by_its_content() -> None:
    assert name_record({"eventID": "e1", "x": 1}) == "e1"
    odd: list[Any] = [{"x": 1}, {"x": 2}, {"eventID": "é"}, {"eventID": ""}, [], None, "x", deep(3000)]
    names = [name_record(record) for record in odd]
    assert len(set(names)) == len(names)
    assert all(len(name) == 32 for name in names)
    assert name_record({"a": 1, "b": 2}) == name_record({"b": 2, "a": 1})


def kinesis_record(number: int, table: Any = "orders", micros: Any = 1_767_225_600_000_001, **changes: Any) -> Any:
    return {
        "eventID": f"k{number}", "eventName": "INSERT", "eventSourceARN": "arn:aws:kinesis:eu-west-1:1:stream/s",
        "tableName": table,
        "dynamodb": {
            "Keys": {"id": {"N": str(changes.pop("key", number))}}, "ApproximateCreationDateTime": micros,
            "NewImage": {"id": {"N": "1"}},
        },
        **changes,
    }  # fmt: skip


def test_a_stream_of_several_tables_is_taken_apart() -> None:
    records = [kinesis_record(1), kinesis_record(2, "other"), kinesis_record(3, None), kinesis_record(4, "other"), "x"]
    found = unwrap({"Records": records}, "orders", takes_nameless=True)
    assert found.passed_over == {"other": 2}
    assert [record if record == "x" else record["eventID"] for record in found.event["Records"]] == ["k1", "k3", "x"]
    assert len(unwrap({"Records": records}, "orders", takes_nameless=False).event["Records"]) == 1
    with pytest.raises(EventError, match="Kinesis"):
        unwrap({"Records": [make_record(1)]}, "orders")
    assert ARN


def test_ties_are_changes_of_one_item_in_one_microsecond() -> None:
    def ties(*records: Any) -> int:
        for record in records:
            record["dynamodb"]["SequenceNumber"] = "1"
        return unwrap({"Records": list(records)}, "orders").ties

    assert ties(kinesis_record(1), kinesis_record(2)) == 0
    assert ties(kinesis_record(1, key=7), kinesis_record(2, key=7)) == 1
    assert ties(kinesis_record(1, key=7), kinesis_record(2, key=7), kinesis_record(3, key=7)) == 2
    assert ties(kinesis_record(1, key=7), kinesis_record(2, key=7, micros=1_767_225_600_000_002)) == 0
    assert ties(kinesis_record(1, key=7), kinesis_record(1, key=7)) == 0  # the same change twice
