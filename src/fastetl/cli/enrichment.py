"""Enrichments as the ingest function runs them, with what lies on this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fastetl.aws import References, find_local, open_clients
from fastetl.enrich import Enricher

if TYPE_CHECKING:
    from fastetl.config import Config, Pipeline


async def build_enricher(config: Config, pipeline: Pipeline, config_path: Path) -> Enricher:
    """Build a pipeline's enrichments; objects on S3 that they name are fetched.

    Functions are looked for in the working directory, files beside the configuration.

    Raises:
        ConfigError: enrichments that cannot work.
        StorageError: an object cannot be read.
    """
    if not pipeline.enrichments:
        return Enricher(pipeline)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    root, names = config_path.parent, pipeline.references
    found = find_local(names, root)
    if len(found) < len(names):
        found = await _fetch(config, names, root)
    return Enricher(pipeline, os.environ, found)


async def _fetch(config: Config, names: tuple[str, ...], root: Path) -> dict[str, Path]:
    (s3,) = await open_clients("s3", region=config.region)
    async with s3:
        references = References(s3, names, root=root, folder=Path(tempfile.gettempdir(), "fastetl-references"))
        await references.refresh()
        return references.paths
