"""What a data file of an export may hold instead of its items: one record each, and nothing else is touched."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from fastetl.backfill.export_format import Export, ExportReader, parse_summary
from fastetl.errors import ExportError
from fastetl.model import Reject

ITEM = {"id": {"S": "1"}}
METADATA: tuple[Any, ...] = ({}, [], 3, {"WriteTimestampMicros": {"S": "5"}})
SUMMARY = {"tableArn": "arn", "manifestFilesS3Key": "k", "exportTime": "2026-01-01T00:00:00Z"}


def read(line: bytes, kind: Literal["full", "incremental"] = "full") -> dict[str, Any] | Reject:
    return ExportReader(Export("export", "arn", kind, 1, 1, "files"), ("id",), "data").read(line, 7)


def incremental(micros: Any, **changes: Any) -> bytes:
    line = {"Metadata": {"WriteTimestampMicros": {"N": micros}}, "Keys": ITEM, "NewImage": ITEM, **changes}
    return json.dumps({name: value for name, value in line.items() if value is not None}).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b"null", b"7", b'"text"', b'{"Item": 3}', b'{"Item": {}}', b'{"Item": null}', b"\xff\xfe",
        b'{"Item": {"other": {"S": "1"}}}', b'{"Keys": {"id": {"S": "1"}}}',
        b'{"Item": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=range(13),
)  # fmt: skip
def test_a_line_that_is_no_item_is_a_reject(line: bytes) -> None:
    reject = read(line)
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.event_id.rpartition(":")[2]) == ("malformed", "7")


@pytest.mark.parametrize(
    "line",
    [
        *(incremental(micros) for micros in ("soon", "", "1.5", "-1", "1e3", "٣", "1" * 41, 5, None, ["1"])),
        *(incremental("5", Metadata=each) for each in METADATA),
        incremental("5", Keys=None),
    ],
)
def test_a_line_without_the_time_of_its_write_is_a_reject(line: bytes) -> None:
    reject = read(line, "incremental")
    assert isinstance(reject, Reject)
    assert reject.reason == "malformed"


def test_a_line_is_a_record_as_the_stream_has_it() -> None:
    full = read(json.dumps({"Item": ITEM}).encode())
    assert isinstance(full, dict)
    assert (full["eventName"], full["dynamodb"]["SequenceNumber"]) == ("INSERT", "0")
    written, deleted = read(incremental("007"), "incremental"), read(incremental("7", NewImage=None), "incremental")
    assert isinstance(written, dict)
    assert isinstance(deleted, dict)
    assert (written["eventName"], written["dynamodb"]["SequenceNumber"]) == ("MODIFY", "7")
    assert (deleted["eventName"], "NewImage" in deleted["dynamodb"]) == ("REMOVE", False)


@pytest.mark.parametrize("changes", [{"outputFormat": "ION"}, {"exportType": "SOMETHING_NEW"}])
def test_an_export_that_fastetl_does_not_read_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ExportError, match="cannot be read; export with ExportFormat=DYNAMODB_JSON"):
        parse_summary(json.dumps(SUMMARY | changes).encode(), "place")
    assert parse_summary(json.dumps(SUMMARY).encode(), "place").kind == "full"
