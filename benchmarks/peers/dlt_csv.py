"""(f) dlt: its own extraction and normalisation, to the gzipped CSV that its load step would send."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import simplejson
from boto3.dynamodb.types import TypeDeserializer

from benchmarks.peers import META, Peer
from benchmarks.peers.stdlib_csv import write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastetl.config.model import Pipeline

_SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "NORMALIZE__DATA_WRITER__INCLUDE_HEADER": "false",
    "NORMALIZE__DATA_WRITER__QUOTING": "quote_minimal",
}


def build(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Prepare one pipeline."""
    os.environ.update(_SETTINGS)
    import dlt  # noqa: PLC0415 - reads its settings, and takes a second

    deserialize = TypeDeserializer().deserialize
    columns = [(column.name, column.type.kind) for column in pipeline.columns]
    hints: Any = {name: {"data_type": "text"} for name in (*META, *(name for name, _ in columns))}
    folder = tempfile.mkdtemp(prefix="dlt-")
    flow = dlt.pipeline("bench", pipelines_dir=folder, destination=dlt.destinations.filesystem(f"file://{folder}/out"))

    def rows(event: bytes) -> Iterator[dict[str, Any]]:
        for record in simplejson.loads(event)["Records"]:
            change = record["dynamodb"]
            image = change.get("NewImage") or change["Keys"]
            item = {name: deserialize(value) for name, value in image.items()}
            row = {
                "_event_id": record["eventID"],
                "_op": record["eventName"],
                "_sequence_number": change["SequenceNumber"],
                "_changed_at": str(change["ApproximateCreationDateTime"]),
            }
            yield row | {name: str(write(item.get(name), kind)) for name, kind in columns}

    def transform(event: bytes) -> bytes:
        changes = dlt.resource(rows(event), name="changes", columns=hints, max_table_nesting=0)
        flow.extract(changes, loader_file_format="csv")
        flow.normalize()
        (package,) = flow.list_normalized_load_packages()
        info = flow.get_load_package_info(package)
        jobs = [job for job in info.jobs["new_jobs"] if job.job_file_info.table_name == "changes"]
        file = b"".join(Path(job.file_path).read_bytes() for job in jobs)
        flow.abort_packages()
        return file

    return transform


PEER = Peer("(f) boto3 TypeDeserializer, dlt", build, adds=("_dlt_load_id", "_dlt_id"))
