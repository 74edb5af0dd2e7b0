"""One pipeline as it is deployed: its configuration, and the edges that its stories and commands work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fastetl.aws.ledger import Ledger
from fastetl.aws.redshift import Warehouse
from fastetl.aws.s3 import Bucket
from fastetl.aws.source import SourceTable
from fastetl.config import Config, Pipeline


class Deployment(msgspec.Struct, frozen=True):
    """One pipeline of one stack. Whatever works on a pipeline is given this one value."""

    config: Config
    pipeline: Pipeline
    bucket: Bucket
    ledger: Ledger
    warehouse: Warehouse
    source: SourceTable
    clock: Callable[[], float]
    """Gives Unix seconds."""
    new_name: Callable[[], str]
    """Gives a random name, another one each time."""

    @property
    def owner(self) -> str:
        """The name by which the target knows this stack's pipeline: no other has its bucket and its ledger."""
        return f"{self.config.bucket}/{self.config.ledger_table}/{self.pipeline.name}"


def build_deployment(
    config: Config,
    pipeline: Pipeline,
    clients: Mapping[str, Any],
    *,
    clock: Callable[[], float],
    new_name: Callable[[], str],
) -> Deployment:
    """Build the edges of one pipeline from the AWS clients that a root has opened.

    Args:
        config: of the stack.
        pipeline: one of the configuration's.
        clients: by the service's name, as `open_clients` returns them. An edge whose client is missing must not be
            used: ingest, for example, opens none for the warehouse.
        clock: gives Unix seconds.
        new_name: gives a random name, another one each time.

    Returns:
        The deployment of this pipeline.
    """
    dynamodb = clients["dynamodb"]
    return Deployment(
        config=config,
        pipeline=pipeline,
        bucket=Bucket(clients["s3"], config.bucket),
        ledger=Ledger(dynamodb, config.ledger_table),
        warehouse=Warehouse(clients.get("redshift-data"), pipeline.redshift),  # type: ignore[arg-type]
        source=SourceTable(dynamodb, pipeline.table, clients.get("dynamodbstreams")),
        clock=clock,
        new_name=new_name,
    )
