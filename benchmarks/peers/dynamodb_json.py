"""(d) dynamodb-json, which turns whole documents, then `csv` and `gzip`."""

from __future__ import annotations

import csv
import gzip
import io
from typing import TYPE_CHECKING

import simplejson
from dynamodb_json import json_util

from benchmarks.peers import Peer
from benchmarks.peers.stdlib_csv import write

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastetl.config.model import Pipeline


def build(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Prepare one pipeline."""
    columns = [(column.name, column.type.kind) for column in pipeline.columns]

    def transform(event: bytes) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        for record in simplejson.loads(event)["Records"]:
            change = record["dynamodb"]
            item = json_util.loads(change.get("NewImage") or change["Keys"])
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


PEER = Peer("(d) dynamodb-json, csv, gzip", build)
