"""AWS clients with fastetl's own time-outs, retries and uploads."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig

from fastetl.aws.bodies import prepare_uploads
from fastetl.aws.calls import AT_ONCE
from fastetl.errors import ConfigError, Problem

CONNECT_TIMEOUT_SECONDS = 3

READ_TIMEOUT_SECONDS = 20
"""How long to wait for the next byte; a part of 8 MiB takes well under a second inside a region."""

SDK_ATTEMPTS = 4
"""How often the SDK tries a request, in its standard mode: with exponential backoff and jitter, up to 20 seconds."""


async def open_clients(*services: str, region: str = "") -> tuple[Any, ...]:
    """Open AWS clients that live as long as this process; connections are made when they are first needed.

    Args:
        services: the SDK's names for them.
        region: empty: the one that the environment names.

    Returns:
        A client for each service, in this order.

    Raises:
        ConfigError: a variable of AWS's, or a line of ~/.aws/config, cannot be used.
        BotoCoreError: the region or the profile is missing.
    """
    stack, clients = AsyncExitStack(), {}
    try:
        session: Any = aioboto3.Session(region_name=region or None)
        for service in services:
            clients[service] = await stack.enter_async_context(session.client(service, config=_client_config(service)))
    except ValueError as error:
        remedy = "Look at the AWS_... variables and at ~/.aws/config; an endpoint is written like http://127.0.0.1:4566"
        raise ConfigError((Problem("AWS", str(error), remedy),)) from error
    if "s3" in clients:
        prepare_uploads(clients["s3"])
    return tuple(clients.values())


def _client_config(service: str) -> AioConfig:
    # Bodies carry their CRC32 and travel over TLS: hashing them with SHA-256 as well would cost as much again.
    only_s3: dict[str, Any] = {"s3": {"payload_signing_enabled": False}} if service == "s3" else {}
    return AioConfig(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": SDK_ATTEMPTS},
        tcp_keepalive=True,
        max_pool_connections=AT_ONCE,
        # The SDK builds its own for every request, at a tenth of a small request's cost.
        user_agent="fastetl",
        **only_s3,
    )
