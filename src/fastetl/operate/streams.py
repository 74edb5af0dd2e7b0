"""Tell whether the stream that ingest has read last is still the table's.

A table that was created again under its old name, or whose stream was enabled again, has another stream. The mapping of
the old one brings nothing any more, and nothing fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastetl.versions import EXPORT_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastetl.aws import Described
    from fastetl.model import FileItem

REMEDY = "map the table's stream to the ingest function, then run `fastetl resync`"


def find_last_label(files: Iterable[FileItem]) -> str:
    """Find the label of the DynamoDB stream that the latest file came from; empty where none did.

    Args:
        files: of one pipeline.
    """
    labels = ((file.created, file.version_max[5:].partition("#")[0]) for file in files)
    # A time: neither an export nor a Kinesis stream is meant.
    ours = [(created, label) for created, label in labels if label[:2] == "20" and label != EXPORT_LABEL]
    return max(ours, default=(0, ""))[1]


def describe_other_stream(table: Described, label: str) -> str:
    """Say what is odd about the table's stream; empty where it is the one that was read last.

    Args:
        table: as it is now.
        label: of the stream that was read last, as `find_last_label` gives it.
    """
    if not label:
        return ""
    if not table.stream_arn:
        return f"its stream is disabled; the latest file is of the one that was enabled at {label}"
    now = table.stream_arn.rpartition("/")[2]
    if now == label:
        return ""
    return (
        f"its stream was enabled at {now}, and the latest file is of one that was enabled at {label}:"
        " the table was created again, or its stream enabled again"
    )
