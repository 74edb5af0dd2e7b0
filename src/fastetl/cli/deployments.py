"""Open what commands work on: the deployments of a configuration, wherever AWS's variables lead to.

`fastetl local` answers the same calls at other addresses, so that every command works there as well.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fastetl.aws import Bucket, Deployment, build_deployment, open_clients
from fastetl.cli.configuration import choose_pipeline, choose_pipelines, read_config
from fastetl.config import Config

SERVICES = ("s3", "dynamodb", "redshift-data", "dynamodbstreams")

T = TypeVar("T")


class Deployments(msgspec.Struct, frozen=True):
    """The deployments of a configuration's pipelines."""

    config: Config
    clients: Mapping[str, Any]
    """AWS's, open, by the service's name."""

    @property
    def bucket(self) -> Bucket:
        """The bucket, which the pipelines share."""
        return Bucket(self.clients["s3"], self.config.bucket)

    def choose(self, name: str) -> Deployment:
        """Choose the pipeline of this name, or the only one.

        Raises:
            ConfigError: no pipeline has this name, or none is named and there are several.
        """
        pipeline = choose_pipeline(self.config, name)
        return build_deployment(self.config, pipeline, self.clients, clock=time.time, new_name=lambda: uuid.uuid4().hex)

    def choose_each(self, name: str) -> list[Deployment]:
        """Choose the pipeline of this name, or all of them.

        Raises:
            ConfigError: no pipeline has this name.
        """
        return [self.choose(pipeline.name) for pipeline in choose_pipelines(self.config, name)]


def run(path: Path, work: Callable[[Deployments], Awaitable[T]]) -> T:
    """Read the configuration, open the clients, do the work, and close them."""
    config = read_config(path)

    async def run() -> T:
        async with AsyncExitStack() as stack:
            clients = dict(zip(SERVICES, await open_clients(*SERVICES, region=config.region), strict=True))
            for client in clients.values():
                stack.push_async_callback(client.close)
            return await work(Deployments(config, clients))

    return asyncio.run(run())


def run_one(path: Path, name: str, work: Callable[[Deployment], Awaitable[T]]) -> T:
    """Do the work for the pipeline of this name, or for the only one."""
    return run(path, lambda deployments: work(deployments.choose(name)))


def run_each(path: Path, name: str, work: Callable[[Deployment], Awaitable[T]]) -> dict[str, T]:
    """Do the work for the pipeline of this name, or for all where it is empty; give the results by pipeline."""

    async def run_all(deployments: Deployments) -> dict[str, T]:
        return {each.pipeline.name: await work(each) for each in deployments.choose_each(name)}

    return run(path, run_all)
