"""DynamoDB's exports to S3: their manifests, and their items as events of a stream. Pure.

Formats: Amazon DynamoDB Developer Guide, "DynamoDB table export output format".

```
<prefix>/AWSDynamoDB/<export id>/manifest-summary.json
<prefix>/AWSDynamoDB/<export id>/manifest-files.json      a line for each data file
<prefix>/AWSDynamoDB/<export id>/data/<name>.json.gz      {"Item": {...}} a line
```

An export has no sequence numbers. Its rows take a version older than every change of the stream in the same epoch, and
newer than everything of the epochs before: a full export's rows the sequence 0, those of an incremental one the
microsecond in which the item was written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from fastetl.decode import LinesOf, parse_record
from fastetl.errors import EventError, ExportError
from fastetl.model import Reject
from fastetl.versions import EXPORT_LABEL

_MICROS = re.compile(r"[0-9]{1,40}")
_REFUSED = (msgspec.DecodeError, UnicodeDecodeError)
_KINDS: dict[str, Literal["full", "incremental"]] = {"FULL_EXPORT": "full", "INCREMENTAL_EXPORT": "incremental"}


BEGIN_ANOTHER = "copy it again, or end this backfill with `fastetl backfill --give-up` and begin another"
"""What to do about an export that is broken."""


class DataFile(msgspec.Struct, frozen=True):
    """One data file; as JSON, a line of manifest-files.json."""

    key: str = msgspec.field(name="dataFileS3Key")
    items: int = msgspec.field(name="itemCount")
    md5: str = msgspec.field(name="md5Checksum")
    """The MD5 of the compressed file, in base64."""

    @property
    def name(self) -> str:
        """A short name for it."""
        return hashlib.blake2b(self.key.encode(), digest_size=12).hexdigest()


class Export(msgspec.Struct, frozen=True):
    """What the manifests say."""

    export_id: str
    table_arn: str
    kind: Literal["full", "incremental"]
    exported_at: int
    """Unix seconds of the state that it holds; an incremental export's end."""
    items: int
    files_key: str
    """Where manifest-files.json is."""


class _Summary(msgspec.Struct, rename="camel"):
    table_arn: str
    manifest_files_s3_key: str = msgspec.field(name="manifestFilesS3Key")
    export_arn: str = ""
    export_time: str = ""
    export_to_time: str = ""
    item_count: int = 0
    output_format: str = "DYNAMODB_JSON"
    export_type: str = "FULL_EXPORT"


def parse_summary(body: bytes, place: str) -> Export:
    """Read manifest-summary.json.

    Raises:
        ExportError: it is none, or of a format that fastetl does not read.
    """
    try:
        summary = msgspec.json.decode(body, type=_Summary)
    except _REFUSED as error:
        raise ExportError(f"{place}: no manifest of an export ({error}); name the folder that holds it") from error
    if summary.output_format != "DYNAMODB_JSON" or summary.export_type not in _KINDS:
        what = f"{summary.export_type} as {summary.output_format}"
        raise ExportError(f"{place}: {what} cannot be read; export with ExportFormat=DYNAMODB_JSON")
    kind = _KINDS[summary.export_type]
    time = summary.export_to_time if kind == "incremental" else summary.export_time
    try:
        moment = datetime.fromisoformat(time)
    except ValueError as error:
        raise ExportError(f"{place}: {time!r} is no time of an export") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    export_id = summary.export_arn.rpartition("/")[2] or summary.manifest_files_s3_key.rpartition("/")[0]
    return Export(
        export_id, summary.table_arn, kind, int(moment.timestamp()), summary.item_count, summary.manifest_files_s3_key
    )


def parse_files(body: bytes, place: str) -> tuple[DataFile, ...]:
    """Read manifest-files.json, which is JSON lines.

    Raises:
        ExportError: a line is none of it.
    """
    try:
        return tuple(msgspec.json.decode(line, type=DataFile) for line in body.splitlines() if line.strip())
    except _REFUSED as error:
        raise ExportError(f"{place}: no list of data files ({error})") from error


def write_summary(export: Export) -> bytes:
    """Write manifest-summary.json, for an export that fastetl makes itself by reading the table."""
    time = datetime.fromtimestamp(export.exported_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    summary = _Summary(
        table_arn=export.table_arn,
        manifest_files_s3_key=export.files_key,
        export_arn=f"{export.table_arn}/export/{export.export_id}",
        export_time=time,
        item_count=export.items,
    )
    return msgspec.json.encode(summary)


def write_files(files: Sequence[DataFile]) -> bytes:
    """Write manifest-files.json."""
    return b"".join(msgspec.json.encode(each) + b"\n" for each in files)


class ExportReader:
    """Turns the lines of one data file of an export into records of the table's stream; what a `Decoder` needs."""

    def __init__(self, export: Export, keys: tuple[str, ...], data_key: str) -> None:
        name = hashlib.blake2b(f"{export.export_id}\n{data_key}".encode(), digest_size=12).hexdigest()
        arn = f"{export.table_arn}/export/{EXPORT_LABEL}"
        self.export = LinesOf(name, arn, export.exported_at, export.kind == "incremental")
        """What all lines share; a file and a line's number name the line's event."""
        self._keys = keys

    def read(self, line: bytes, number: int) -> dict[str, Any] | Reject:
        """Give the record that the table's stream would have sent; a reject where the line is none of an export.

        Args:
            line: as it is in the file.
            number: the line's in the file, from 0.
        """
        event_id = f"{self.export.id_prefix}:{number}"
        try:
            content = parse_record(line)
            change = self._read_incremental(content) if self.export.incremental else self._read_full(content)
        except (EventError, KeyError, TypeError, ValueError):
            text = msgspec.json.encode(line.decode(errors="replace")).decode()
            return Reject(event_id, "malformed", "", "a line of an export, with the table's keys", text)
        name, body = change
        body["ApproximateCreationDateTime"] = self.export.exported_at
        return {"eventID": event_id, "eventName": name, "dynamodb": body, "eventSourceARN": self.export.stream_arn}

    def _read_full(self, content: Any) -> tuple[str, dict[str, Any]]:
        item = content["Item"]
        keys = {name: item[name] for name in self._keys}
        return "INSERT", {"Keys": keys, "NewImage": item, "SequenceNumber": "0"}

    def _read_incremental(self, content: Any) -> tuple[str, dict[str, Any]]:
        written = content["Metadata"]["WriteTimestampMicros"]["N"]
        if not _MICROS.fullmatch(written):
            raise ValueError("not a time in microseconds")
        images = {name: content[name] for name in ("NewImage", "OldImage") if name in content}
        name = "MODIFY" if "NewImage" in images else "REMOVE"
        return name, {"Keys": content["Keys"], **images, "SequenceNumber": str(int(written))}
