"""The second story: files that wait on S3 are loaded into the warehouse, each exactly once."""

from __future__ import annotations

from fastetl.load.batches import build_batch, build_batch_id, build_manifest, build_members
from fastetl.load.loader import Loader, Step

__all__ = [
    "Loader",
    "Step",
    "build_batch",
    "build_batch_id",
    "build_manifest",
    "build_members",
]
