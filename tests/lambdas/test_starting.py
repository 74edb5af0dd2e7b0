"""What a function does while it starts, for which Lambda gives it ten seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
bucket = "lake-of-somebody"
ledger_table = "ledger"
redshift = { workgroup = "main" }

[[pipelines]]
name = "orders"
table = "orders"
keys = ["id"]
target = "public.orders"
columns = [{ name = "id", type = "BIGINT" }]
[[pipelines.enrichments]]
kind = "lookup"
source = "s3://lake-of-somebody/references/large.csv"
inputs = ["id"]
outputs = [{ name = "name", type = "VARCHAR(20)" }]
"""


def test_functions_start_without_asking_aws_for_anything(tmp_path: Path) -> None:
    path = tmp_path / "fastetl.toml"
    path.write_text(CONFIG)
    with socket.create_server(("127.0.0.1", 0)) as server:
        # It would take a connection and leave it without an answer.
        server.setblocking(False)
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.getsockname()[1]}", "FASTETL_CONFIG": str(path),
        }  # fmt: skip
        command = [sys.executable, "-c", "from fastetl.lambdas import backfill, coordinator, ingest"]
        subprocess.run(command, env=environment, capture_output=True, check=True, timeout=250)
        with pytest.raises(BlockingIOError):
            server.accept()
