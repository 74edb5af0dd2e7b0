"""The first story: what one invocation receives becomes one file on S3 and one FILE item in the ledger."""

from __future__ import annotations

from fastetl.ingest.encode import encode_frames
from fastetl.ingest.ingester import EPOCHS_KEPT_SECONDS, Ingest, Outcome, describe_unknown_epochs
from fastetl.ingest.records import Enricher, Refined, refine
from fastetl.ingest.store import Contents, FileStore, build_file, find_epochs

__all__ = [
    "EPOCHS_KEPT_SECONDS",
    "Contents",
    "Enricher",
    "FileStore",
    "Ingest",
    "Outcome",
    "Refined",
    "build_file",
    "describe_unknown_epochs",
    "encode_frames",
    "find_epochs",
    "refine",
]
