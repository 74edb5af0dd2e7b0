"""(e) pandas: the frame and CSV that `awswrangler.s3.to_csv` writes, without its upload."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pandas as pd
import simplejson
from boto3.dynamodb.types import TypeDeserializer

from benchmarks.peers import META, NULL, Peer
from benchmarks.peers.stdlib_csv import write

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastetl.config.model import Pipeline


def build(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Prepare one pipeline."""
    deserialize = TypeDeserializer().deserialize
    columns = [(column.name, column.type.kind) for column in pipeline.columns]
    names = [*META, *(name for name, _ in columns)]

    def transform(event: bytes) -> bytes:
        rows = []
        for record in simplejson.loads(event)["Records"]:
            change = record["dynamodb"]
            image = change.get("NewImage") or change["Keys"]
            item = {name: deserialize(value) for name, value in image.items()}
            head = [record["eventID"], record["eventName"], change["SequenceNumber"]]
            head.append(change["ApproximateCreationDateTime"])
            rows.append(head + [write(item.get(name), kind) for name, kind in columns])
        frame = pd.DataFrame(rows, columns=names, dtype=object)
        file = io.BytesIO()
        frame.to_csv(file, index=False, header=False, na_rep=NULL, compression={"method": "gzip", "compresslevel": 6})
        return file.getvalue()

    return transform


PEER = Peer("(e) boto3 TypeDeserializer, pandas, gzip", build)
