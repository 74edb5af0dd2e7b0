"""Real clients against moto's server: S3 and DynamoDB over HTTP on 127.0.0.1."""

from __future__ import annotations

import functools
import itertools
import logging
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aioboto3
import botocore.session
import pytest
from aiobotocore import httpsession
from hypothesis import settings
from moto.server import ThreadedMotoServer

from fastetl.aws import redshift
from fastetl.aws.ledger import TABLE_SCHEMA, Ledger
from fastetl.local.moto_server import take_turns, write_quickly
from fastetl.local.warehouse.postgres_engine import find_binaries

# How long an example takes depends on what else the machine does.
settings.register_profile("any speed", settings.default, deadline=None)
settings.load_profile("any speed")

pytest_plugins = ["tests.edge_calls", "tests.plant"]

CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
_numbers = itertools.count()


class Aws:
    """Clients of one test, and names that no other test uses."""

    def __init__(self, endpoint_url: str, stack: AsyncExitStack) -> None:
        self.endpoint_url = endpoint_url
        self._stack = stack
        self._session = aioboto3.Session()

    async def client(self, service: str, **changes: Any) -> Any:
        return await self._stack.enter_async_context(
            self._session.client(service, **({"endpoint_url": self.endpoint_url} | CREDENTIALS | changes))
        )

    async def new_bucket(self) -> str:
        name = f"bucket-{next(_numbers)}"
        await (await self.client("s3")).create_bucket(Bucket=name)
        return name

    async def new_ledger(self) -> Ledger:
        client, name = await self.client("dynamodb"), f"ledger-{next(_numbers)}"
        await client.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **TABLE_SCHEMA)
        return Ledger(client, name)


logging.getLogger("werkzeug").setLevel(logging.ERROR)
# What each client would do again: parse the services' models (0.1 s), and load the public certificates (0.02 s), which
# no server here has.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)
os.environ.pop("AWS_CA_BUNDLE", None)
httpsession.get_cert_path = lambda verify: None if verify is True else verify
# The warehouse is in this process, and answers in milliseconds.
redshift.POLL_SECONDS = 0.02


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    write_quickly()
    take_turns()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
async def aws(moto_url: str) -> AsyncIterator[Aws]:
    async with AsyncExitStack() as stack:
        yield Aws(moto_url, stack)


BUDGETS = {
    "tests/simulation": 400, "tests/decode": 60, "tests/cli": 400, "tests/test_wheel.py": 80, "tests/test_site.py": 60,
    "tests/tune": 100, "tests/local": 450, "tests/test_end_to_end.py": 100, "": 1200,
}  # fmt: skip
"""Seconds that each part of `make test` may take on two cores, summed over its tests; "" is everything else. The whole
stays under sixteen minutes."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what each part took, beside its budget; on a busy machine a part may pass it."""
    taken: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if duration := getattr(report, "duration", 0.0):
                taken[next(part for part in BUDGETS if report.nodeid.startswith(part))] += duration
    if not taken["tests/simulation"]:  # a part of the tests was asked for
        return
    terminalreporter.section("budgets")
    for part, budget in BUDGETS.items():
        over = "  OVER" if taken[part] > budget else ""
        terminalreporter.line(f"{part or 'everything else':<26}{taken[part]:6.0f} s of {budget:4} s{over}")


LONG = (
    "simulation/test_simulation", "local/test_stack", "cli/test_local", "local/test_backfill_crashes",
    "load/test_loader", "local/test_crashes", "local/test_kept", "cli/test_refusals", "simulation/test_mutations",
    "test_end_to_end", "local/functions/test_event_source", "load/test_epochs", "cli/test_cli", "cli/test_readme",
    "cli/test_backfill_ends", "backfill/test_backfiller", "operate/test_rehearsal", "test_wheel", "tune/test_measure",
)  # fmt: skip
"""The files that take longest, which begin: a long one at the end would leave the other processor idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; leave out what needs PostgreSQL where its server is not installed."""
    places = {f"tests/{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))
    for item in items:
        if "moto_url" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)
    try:
        find_binaries()
    except RuntimeError as error:
        for item in items:
            if "postgres" in item.nodeid or "test_crashes" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=str(error)))
