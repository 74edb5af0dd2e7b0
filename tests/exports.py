"""Exports in DynamoDB's own layout, written to a folder."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TABLE_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders"


def write_export(
    root: Path,
    lines: Sequence[Sequence[dict[str, Any]]],
    *,
    exported_at: float,
    export_id: str = "01767225600000-a1b2c3d4",
    table_arn: str = TABLE_ARN,
    kind: str = "FULL_EXPORT",
) -> Path:
    """Write an export under `root` as it would be under a bucket; give its folder. One data file for each list."""
    prefix = f"AWSDynamoDB/{export_id}"
    folder = root / prefix
    (folder / "data").mkdir(parents=True)
    listed = []
    for number, each in enumerate(lines):
        body = gzip.compress("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in each).encode(), 1)
        name = f"file{number:04d}abcdefghijklmnop.json.gz"
        (folder / "data" / name).write_bytes(body)
        listed.append(
            {
                "itemCount": len(each),
                "md5Checksum": base64.b64encode(hashlib.md5(body).digest()).decode(),
                "etag": f"{hashlib.md5(body).hexdigest()}-1",
                "dataFileS3Key": f"{prefix}/data/{name}",
            }
        )
    (folder / "manifest-files.json").write_text("".join(json.dumps(each) + "\n" for each in listed))
    time = datetime.fromtimestamp(exported_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    summary = {
        "version": "2023-08-01", "exportArn": f"{table_arn}/export/{export_id}", "startTime": time, "endTime": time,
        "tableArn": table_arn, "tableId": "4b1c", "exportTime": time, "s3Bucket": "lake", "s3Prefix": None,
        "s3SseAlgorithm": "AES256", "s3SseKmsKeyId": None, "manifestFilesS3Key": f"{prefix}/manifest-files.json",
        "billedSizeBytes": 0, "itemCount": sum(map(len, lines)), "outputFormat": "DYNAMODB_JSON", "exportType": kind,
    }  # fmt: skip
    if kind == "INCREMENTAL_EXPORT":
        summary |= {"exportFromTime": time, "exportToTime": time, "exportViewType": "NEW_AND_OLD_IMAGES"}
    (folder / "manifest-summary.json").write_text(json.dumps(summary))
    return folder
