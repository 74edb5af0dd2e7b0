"""(b) AWS Lambda Powertools' `DynamoDBStreamEvent` and Polars."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

import polars as pl
import simplejson
from aws_lambda_powertools.utilities.data_classes import DynamoDBStreamEvent

from benchmarks.peers import META, NULL, Peer
from benchmarks.peers.stdlib_csv import write

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastetl.config.model import Pipeline


def build(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Prepare one pipeline."""
    columns = [(column.name, column.type.kind) for column in pipeline.columns]
    schema = dict.fromkeys([*META, *(name for name, _ in columns)], pl.String)

    def transform(event: bytes) -> bytes:
        rows = []
        for record in DynamoDBStreamEvent(simplejson.loads(event)).records:
            change = record.dynamodb
            item = change.new_image or change.keys
            head = [record.event_id, record.event_name.name, change.sequence_number]
            head.append(str(change.approximate_creation_date_time))
            values = [(item.get(name), kind) for name, kind in columns]
            rows.append(head + [None if value is None else str(write(value, kind)) for value, kind in values])
        csv = io.BytesIO()
        pl.DataFrame(rows, schema=schema, orient="row").write_csv(csv, include_header=False, null_value=NULL)
        return gzip.compress(csv.getvalue(), compresslevel=6, mtime=0)

    return transform


PEER = Peer("(b) Powertools DynamoDBStreamEvent, Polars, gzip", build)
