"""The keys of everything that fastetl puts on S3. Pure.

```
<prefix>data/<pipeline>/<stream label>/<yyyy>/<mm>/<dd>/<hh>/<file_id>.csv[.gz|.zst]
<prefix>rejects/<pipeline>/<yyyy>/<mm>/<dd>/<hh>/<file_id>-<crc32 of the content>.jsonl.gz
<prefix>layouts/<pipeline>/<layout_id>.json
<prefix>manifests/<pipeline>/<batch_id>/{manifest.json,files.csv}
```

Names come from what is stored and never from the clock, so that a repeated step writes the same name.
`prefix` is empty or ends in `/`. Times are text, `YYYY-MM-DD HH:MM:SS…` in UTC, of which the hour is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Compression = Literal["gzip", "zstd", "none"]

FAILURES_PREFIX = "aws/lambda/"
"""Where Lambda puts what it gave up on, in a folder for each mapping (AWS Lambda Developer Guide, "Retaining discarded
batches")."""

_SUFFIXES: dict[Compression, str] = {"gzip": ".csv.gz", "zstd": ".csv.zst", "none": ".csv"}


def data_key(
    prefix: str, pipeline: str, stream_label: str, changed_at: str, file_id: str, compression: Compression
) -> str:
    """Name a file of changes by the hour of its first one. The layout is not in it: a deploy changes no name."""
    return f"{prefix}data/{pipeline}/{stream_label}/{_hour(changed_at)}/{file_id}{_SUFFIXES[compression]}"


def rejects_key(prefix: str, pipeline: str, changed_at: str, file_id: str, crc32: int) -> str:
    """Name a file's rejects; a deploy that changes what is rejected writes a second object beside the first."""
    return f"{prefix}rejects/{pipeline}/{_hour(changed_at)}/{file_id}-{crc32:08x}.jsonl.gz"


def layout_key(prefix: str, pipeline: str, layout_id: str) -> str:
    """Name a layout, as JSON."""
    return f"{prefix}layouts/{pipeline}/{layout_id}.json"


def manifest_key(prefix: str, pipeline: str, batch_id: str) -> str:
    """Name a batch's manifest for COPY."""
    return f"{prefix}manifests/{pipeline}/{batch_id}/manifest.json"


def files_key(prefix: str, pipeline: str, batch_id: str) -> str:
    """Name a batch's list of files and their rows."""
    return f"{prefix}manifests/{pipeline}/{batch_id}/files.csv"


def _hour(changed_at: str) -> str:
    return f"{changed_at[:4]}/{changed_at[5:7]}/{changed_at[8:10]}/{changed_at[11:13]}"


def data_prefix(prefix: str, pipeline: str) -> str:
    """Give the beginning of the keys of a pipeline's files."""
    return f"{prefix}data/{pipeline}/"


def hour_prefixes(folder: str, hours: Iterable[str]) -> list[str]:
    """Give the beginnings of the keys in a folder of files, or of rejects, whose first change is of some hours.

    Args:
        folder: what the keys begin with, up to the hour.
        hours: as `2026/01/31/23`.
    """
    return [f"{folder}{hour}/" for hour in hours]


def layouts_prefix(prefix: str, pipeline: str) -> str:
    """Give the beginning of the keys of a pipeline's layouts."""
    return f"{prefix}layouts/{pipeline}/"


def manifests_prefix(prefix: str, pipeline: str) -> str:
    """Give the beginning of the keys of what a pipeline's loads read beside its files."""
    return f"{prefix}manifests/{pipeline}/"


def rejects_prefix(prefix: str, pipeline: str) -> str:
    """Give the beginning of the keys of a pipeline's rejects."""
    return f"{prefix}rejects/{pipeline}/"


def parse_rejects_key(key: str) -> str:
    """Give the file_id of the file whose rejects an object holds."""
    return key.rpartition("/")[2].partition(".")[0].rpartition("-")[0]


def parse_data_key(key: str) -> tuple[str, str]:
    """Give a file's hour, as `2026/01/31/23`, and its file_id."""
    *_, year, month, day, hour, name = key.split("/")
    return f"{year}/{month}/{day}/{hour}", name.partition(".")[0]
