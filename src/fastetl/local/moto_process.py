"""moto's server in a process of its own, so that it does not share an interpreter with those who wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aioboto3

from fastetl.aws import TABLE_SCHEMA, build_deployment

if TYPE_CHECKING:
    from fastetl.config import Config

START_LIMIT_SECONDS = 60.0


class MotoProcess:
    """DynamoDB with Streams, Kinesis and S3, on 127.0.0.1 alone."""

    def __init__(self, port: int = 0, state: Path | None = None) -> None:
        """Describe a server.

        Args:
            port: that it listens on; 0 takes a free one.
            state: a file with what it holds from the start, if it is there, and which `save` writes.
        """
        self._port = port or _find_free_port()
        self._state = state
        self._process: asyncio.subprocess.Process | None = None

    @property
    def endpoint_url(self) -> str:
        """The value of `AWS_ENDPOINT_URL` that reaches it."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start the server and wait until it listens.

        Raises:
            RuntimeError: it ends at once, or takes too long.
        """
        state = ("--state", str(self._state)) if self._state else ()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fastetl.local.moto_server", "-H", "127.0.0.1", "-p", str(self._port), *state,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while time.monotonic() < deadline and self._process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.close()
                return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"moto does not listen on port {self._port}; is something else there?")

    async def create_bucket_and_ledger(self, config: Config) -> None:
        """Create what the ingest function works with: bucket, ledger, and the HEAD of each pipeline, without epochs.

        Args:
            config: names them.
        """
        keys: Any = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}
        session: Any = aioboto3.Session(**keys)
        async with (
            session.client("s3", endpoint_url=self.endpoint_url) as s3,
            session.client("dynamodb", endpoint_url=self.endpoint_url) as dynamodb,
        ):
            await s3.create_bucket(Bucket=config.bucket)
            await dynamodb.create_table(TableName=config.ledger_table, BillingMode="PAY_PER_REQUEST", **TABLE_SCHEMA)
            clients = {"s3": s3, "dynamodb": dynamodb}
            for pipeline in config.pipelines:
                made = build_deployment(config, pipeline, clients, clock=time.time, new_name=lambda: "local")
                await made.ledger.batches.create_head(pipeline.name, "local", stack=made.owner)

    async def save(self) -> None:
        """Have the server write what it holds to its file, and end.

        Raises:
            RuntimeError: it could not, or has ended before.
        """
        if self._process is None or self._process.returncode is not None:
            raise RuntimeError("moto has ended before")
        self._process.send_signal(signal.SIGUSR1)
        if await self._process.wait() != 0:
            raise RuntimeError(f"moto could not write {self._state}")

    async def stop(self) -> None:
        """End the server; what it held and did not save is gone."""
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
