"""Build enrichments as the ingest function runs them, with the files of this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fastetl.aws import References, find_local, open_clients
from fastetl.enrich import Enricher, Router, make_enricher
from fastetl.errors import StorageError

if TYPE_CHECKING:
    from fastetl.aws import Deployment
    from fastetl.config import Config, Pipeline
    from fastetl.ingest import Ingest


async def build_enricher(config: Config, pipeline: Pipeline, config_path: Path) -> Enricher | Router:
    """Build a pipeline's enrichments; objects on S3 that they name are fetched.

    Functions are looked for beside the configuration, then in the working directory; files beside the configuration.

    Raises:
        ConfigError: enrichments that cannot work.
        StorageError: an object cannot be read.
    """
    if not any(part.enrichments for part in pipeline.targets):
        return make_enricher(pipeline)
    for folder in (Path.cwd(), config_path.parent.absolute()):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    root, names = config_path.parent, pipeline.references
    found = find_local(names, root)
    if len(found) < len(names):
        found = await _fetch(config, names, root)
    return make_enricher(pipeline, os.environ, found)


async def build_ingest(deployment: Deployment, config_path: Path) -> Ingest:
    """Build what ingests a pipeline's events, as the ingest function does it."""
    from fastetl.ingest import Ingest

    return Ingest(deployment, await build_enricher(deployment.config, deployment.pipeline, config_path))


async def _fetch(config: Config, names: tuple[str, ...], root: Path) -> dict[str, Path]:
    (s3,) = await open_clients("s3", region=config.region)
    async with s3:
        references = References(s3, names, root=root, folder=Path(tempfile.gettempdir(), "fastetl-references"))
        if failures := (await references.refresh(names))[1]:
            raise StorageError("; ".join(failures))
        return references.paths
