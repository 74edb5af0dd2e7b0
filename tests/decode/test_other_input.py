"""What somebody may hand over in place of an event is named, and its content is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastetl.decode.decoder import Decoder
from fastetl.decode.other_input import describe_other_input
from fastetl.decode.source_arn import parse_source_arn
from fastetl.errors import EventError
from tests.decode.test_decoder import ID, make_pipeline, make_record

ANSWER = {key: value for key, value in make_record(1).items() if key != "eventSourceARN"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("secret", "not JSON: line 1, column 1"),
        ('{"Records": [\n{"a": }]}', "not JSON: line 2, column 7"),
        ('{"Item": {}}\n{"Item": {}}\n', "JSON lines, as exports have them"),
        ("[" * 100_000, "nests too deep"),
        ({"Records": [ANSWER], "NextShardIterator": "secret"}, "GetRecords' answer"),
        ({"Records": [ANSWER]}, "as GetRecords gives them"),
        ({"Records": [{"Data": "secret", "PartitionKey": "secret"}], "MillisBehindLatest": 0}, "GetRecords' answer"),
        ({"Items": [], "Count": 0}, "the answer of Scan or Query"),
        ({"Item": {"id": {"S": "secret"}}}, "an item, as GetItem and exports give it"),
        ({"id": {"S": "secret"}}, "an item, not an event"),
        ({"DDBStreamBatchInfo": {}, "payload": "secret"}, "`fastetl replay` takes it"),
        ({"Records": []}, "an event without records"),
        ({"Records": {"secret": 1}}, "no list of Records, but a map"),
        ({"Records": [{"eventSource": "aws:s3", "s3": "secret"}]}, "an event of 'aws:s3'"),
        ({"Records": [{"EventSource": "aws:sns"}]}, "an event of 'aws:sns'"),
        ({}, "it has no Records"),
        ({"source": "secret"}, "it has no Records"),
        ("[1]", "a list, and an event is a map"),
        ("null", "null, and an event is a map"),
        ('"secret"', "a text, and an event is a map"),
        ("5", "a number, and an event is a map"),
    ],
)
def test_what_is_no_event_is_named(content: Any, told: str) -> None:
    texts = [content.encode()] if isinstance(content, str) else [json.dumps(content).encode(), content]
    for event in texts:
        message = describe_other_input(event)
        assert told in message
        assert "secret" not in message
        with pytest.raises(EventError) as raised:
            parse_source_arn(event)
        assert told in str(raised.value)
        with pytest.raises(EventError):
            Decoder(make_pipeline(ID)).decode(event)
