"""How benchmarks run: on one core, Polars with one thread, what happened around them in the JSON."""

from __future__ import annotations

import os
from importlib import metadata

os.environ["POLARS_MAX_THREADS"] = "1"
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

PACKAGES = (
    "aioboto3", "awswrangler", "boto3", "ddbcereal", "dlt", "dynamodb-json", "isal", "msgspec", "orjson", "pandas",
    "polars", "aws-lambda-powertools", "simplejson",
)  # fmt: skip


def pytest_benchmark_update_machine_info(machine_info):
    machine_info["node"] = ""
    machine_info["packages"] = {name: metadata.version(name) for name in PACKAGES}
