"""(a) What most functions do: the event as Lambda's runtime decodes it, boto3's deserializer, `csv`, `gzip`."""

from __future__ import annotations

import csv
import gzip
import io
from typing import TYPE_CHECKING, Any

import simplejson
from boto3.dynamodb.types import TypeDeserializer

from benchmarks.peers import NULL, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastetl.config.model import Pipeline


def build(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Prepare one pipeline."""
    deserialize = TypeDeserializer().deserialize
    columns = [(column.name, column.type.kind) for column in pipeline.columns]

    def transform(event: bytes) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        for record in simplejson.loads(event)["Records"]:
            change = record["dynamodb"]
            image = change.get("NewImage") or change["Keys"]
            item = {name: deserialize(value) for name, value in image.items()}
            row = [
                record["eventID"],
                record["eventName"],
                change["SequenceNumber"],
                change["ApproximateCreationDateTime"],
            ]
            row += [write(item.get(name), kind) for name, kind in columns]
            writer.writerow(row)
        return gzip.compress(text.getvalue().encode(), compresslevel=6, mtime=0)

    return transform


def write(value: Any, kind: str) -> Any:
    """Write one value for its column."""
    if value is None:
        return NULL
    if kind == "SUPER":
        return simplejson.dumps(value, use_decimal=True, iterable_as_array=True, ensure_ascii=False)
    if value is True or value is False:
        return "true" if value else "false"
    return value


PEER = Peer("(a) simplejson, boto3 TypeDeserializer, csv, gzip", build)
