"""Deployments put together by hand, of whatever edges a test has."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from fastetl.aws.deployment import Deployment
from fastetl.config.model import Config, Pipeline
from fastetl.model import Head
from fastetl.versions import EpochStart

_numbers = itertools.count()


def make_deployment(
    config: Config,
    pipeline: Pipeline,
    bucket: Any,
    ledger: Any,
    warehouse: Any = None,
    source: Any = None,
    *,
    clock: Callable[[], float] = time.time,
    new_name: Callable[[], str] = lambda: f"name{next(_numbers)}",
) -> Deployment:
    return Deployment(config, pipeline, bucket, ledger, warehouse, source, clock, new_name)


async def create_head(deployment: Deployment, *epochs: EpochStart) -> Head:
    """Make HEAD as a coordinator does, which knows of these epochs."""
    ledger, name = deployment.ledger, deployment.pipeline.name
    return await ledger.batches.create_head(name, "installation", stack=deployment.owner, epochs=epochs)
