"""How the functions set up their process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFIG = """
[[pipelines]]
name = "orders"
table = "orders"
keys = ["id"]
target = "public.orders"
columns = [{ name = "id", type = "VARCHAR(36)" }]
"""
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1",
    "FASTETL_BUCKET": "bucket", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "workgroup",
}  # fmt: skip
STARTED = """
import gc, fastetl.lambdas.ingest as ingest
started = gc.isenabled(), gc.get_freeze_count() > 10_000, gc.get_stats()[2]
ingest._report(ingest.Outcome("orders", "", 0), as_dict=False)
print(*started)
"""


def test_the_collector_does_not_walk_through_imports_and_runs_afterwards(tmp_path: Path) -> None:
    (tmp_path / "fastetl.toml").write_text(CONFIG)
    environment = {**os.environ, **VARIABLES, "LAMBDA_TASK_ROOT": str(tmp_path)}
    command = [sys.executable, "-c", STARTED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    *_, told, line = done.stdout.splitlines()
    # An event of which nothing was to be written is reported as any other: 0 files, 0 rows.
    assert '"Rows":[0.0]' in told.replace(" ", "")
    assert '"PossibleGap":[0.0]' in told.replace(" ", "")
    assert line.startswith("True True {'collections': 0,")
