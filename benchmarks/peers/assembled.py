"""(c) The strongest that is assembled from libraries: orjson, ddbcereal, Polars, igzip."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ddbcereal
import orjson
import polars as pl
from isal import igzip

from benchmarks.peers import META, NULL, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastetl.config.model import Pipeline


def build(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Prepare one pipeline."""
    deserialize = ddbcereal.Deserializer(number_type=ddbcereal.PythonNumber.DECIMAL_ONLY).deserialize
    columns = [(column.name, column.type.kind == "SUPER", column.type.kind == "BOOLEAN") for column in pipeline.columns]
    schema = dict.fromkeys(META, pl.String) | {
        name: pl.Boolean if is_boolean else pl.String for name, _, is_boolean in columns
    }

    def transform(event: bytes) -> bytes:
        rows = []
        for record in orjson.loads(event)["Records"]:
            change = record["dynamodb"]
            image = change.get("NewImage") or change["Keys"]
            item = {name: deserialize(value) for name, value in image.items()}
            row = [record["eventID"], record["eventName"], change["SequenceNumber"]]
            row.append(str(change["ApproximateCreationDateTime"]))
            for name, is_document, is_boolean in columns:
                value = item.get(name)
                if value is None or is_boolean or type(value) is str:
                    row.append(value)
                elif is_document:
                    row.append(orjson.dumps(value, default=_jsonable).decode())
                else:
                    row.append(str(value))
            rows.append(row)
        frame = pl.DataFrame(dict(zip(schema, zip(*rows, strict=True), strict=True)), schema=schema)
        csv = io.BytesIO()
        frame.write_csv(csv, include_header=False, null_value=NULL)
        return igzip.compress(csv.getvalue(), compresslevel=1)

    return transform


def _jsonable(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return sorted(value)


PEER = Peer(
    "(c) orjson, ddbcereal, Polars, igzip",
    build,
    differs={
        "nested": "address, lines: orjson writes a Decimal only as a float; exact digits would need another encoder"
    },
)
