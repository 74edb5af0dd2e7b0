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
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from fastetl.errors import ExportError
from fastetl.model import Reject
from fastetl.versions import EXPORT_LABEL

_REFUSED = (msgspec.DecodeError, UnicodeDecodeError)
_KINDS: dict[str, Literal["full", "incremental"]] = {"FULL_EXPORT": "full", "INCREMENTAL_EXPORT": "incremental"}


class DataFile(msgspec.Struct, frozen=True):
    """One data file; as JSON, a line of manifest-files.json."""

    key: str = msgspec.field(name="dataFileS3Key")
    items: int = msgspec.field(name="itemCount")
    md5: str = msgspec.field(name="md5Checksum")
    """Of the compressed file, base64."""

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
    """Of manifest-files.json."""


class _Summary(msgspec.Struct, rename="camel"):
    table_arn: str
    manifest_files_s3_key: str = msgspec.field(name="manifestFilesS3Key")
    export_arn: str = ""
    export_time: str = ""
    export_to_time: str = ""
    item_count: int = 0
    output_format: str = "DYNAMODB_JSON"
    export_type: str = "FULL_EXPORT"


class _Number(msgspec.Struct):
    N: str


class _Metadata(msgspec.Struct):
    WriteTimestampMicros: _Number


class _FullLine(msgspec.Struct):
    Item: msgspec.Raw


class _IncrementalLine(msgspec.Struct):
    Metadata: _Metadata
    Keys: msgspec.Raw
    NewImage: msgspec.Raw = msgspec.Raw()
    OldImage: msgspec.Raw = msgspec.Raw()


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
    """Turns the lines of a table's exports into events that a `Decoder` reads."""

    def __init__(self, export: Export, keys: tuple[str, ...]) -> None:
        self._export = export
        fields = [(f"k{number}", msgspec.Raw, msgspec.field(name=key)) for number, key in enumerate(keys)]
        self._decode_keys = msgspec.json.Decoder(msgspec.defstruct("Keys", fields)).decode
        self._names = [msgspec.json.encode(key) for key in keys]
        self._decode_full = msgspec.json.Decoder(_FullLine).decode
        self._decode_incremental = msgspec.json.Decoder(_IncrementalLine).decode
        arn = f"{export.table_arn}/export/{EXPORT_LABEL}"
        self._tail = b',"eventSourceARN":' + msgspec.json.encode(arn) + b"}"
        self._time = b'"ApproximateCreationDateTime":%d' % export.exported_at

    def build_event(self, lines: Sequence[bytes], data_key: str, first_line: int) -> tuple[bytes, list[Reject]]:
        """Give lines of a data file as one event, and those that are no items as rejects.

        Args:
            lines: as they are in the file.
            data_key: the file, which with the line's number names the event.
            first_line: the first one's number, from 0.
        """
        name = hashlib.blake2b(f"{self._export.export_id}\n{data_key}".encode(), digest_size=12).hexdigest()
        read = self._read_full if self._export.kind == "full" else self._read_incremental
        records: list[bytes] = []
        rejects: list[Reject] = []
        for number, line in enumerate(lines, start=first_line):
            event_id = f"{name}:{number}"
            try:
                record = read(line)
            except _REFUSED:
                text = msgspec.json.encode(line.decode(errors="replace")).decode()
                rejects.append(Reject(event_id, "malformed", "", "a line of an export, with the table's keys", text))
                continue
            records.append(b'{"eventID":"%s",%s%s' % (event_id.encode(), record, self._tail))
        return b'{"Records":[' + b",".join(records) + b"]}", rejects

    def _read_full(self, line: bytes) -> bytes:
        item = self._decode_full(line).Item
        return b'"eventName":"INSERT","dynamodb":{%s,"Keys":%s,"NewImage":%s,"SequenceNumber":"0"}' % (
            self._time, self._build_keys(item), item,
        )  # fmt: skip

    def _read_incremental(self, line: bytes) -> bytes:
        change = self._decode_incremental(line)
        written = b'"%d"' % int(change.Metadata.WriteTimestampMicros.N)
        images = b',"NewImage":%s' % change.NewImage if change.NewImage else b""
        images += b',"OldImage":%s' % change.OldImage if change.OldImage else b""
        return b'"eventName":"%s","dynamodb":{%s,"Keys":%s%s,"SequenceNumber":%s}' % (
            b"MODIFY" if change.NewImage else b"REMOVE", self._time, change.Keys, images, written,
        )  # fmt: skip

    def _build_keys(self, item: Any) -> bytes:
        keys = self._decode_keys(item)
        pairs = [b"%s:%s" % (name, getattr(keys, f"k{number}")) for number, name in enumerate(self._names)]
        return b"{%s}" % b",".join(pairs)
