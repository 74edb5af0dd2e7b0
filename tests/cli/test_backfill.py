"""`fastetl backfill` with a function of the user's own, in this process; the conversion is in processes of its own."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from fastetl.aws import TABLE_SCHEMA
from fastetl.backfill import backfiller
from fastetl.cli import app
from tests.cli.test_refusals import Gate
from tests.conftest import CREDENTIALS

CONFIG = """
[[pipelines]]
name = "orders"
table = "carried-orders"
keys = ["id"]
target = "public.orders"
columns = [{ name = "id", type = "BIGINT" }, { name = "note", type = "VARCHAR(20)" }]
[[pipelines.enrichments]]
kind = "function"
function = "beside_the_configuration:add"
inputs = ["note"]
outputs = [{ name = "upper", type = "VARCHAR(20)" }]
"""
MODULE = """
import polars as pl

def add(frame):
    return frame.select(pl.col("note").str.to_uppercase().alias("upper"))
"""


class Desk:
    """A configuration with a module beside it, a table with two items, and the tables of the warehouse."""

    def __init__(self, moto_url: str, url: str, folder: Path, patch: pytest.MonkeyPatch, capfd: Any) -> None:
        self.folder, self._patch, self._capfd = folder, patch, capfd
        (folder / "here").mkdir()
        (folder / "here/fastetl.toml").write_text(CONFIG)
        patch.chdir(folder)
        for name, value in {
            "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1", "FASTETL_BUCKET": "carried", "FASTETL_LEDGER_TABLE": "carried-ledger",
            "FASTETL_REDSHIFT_WORKGROUP": "main",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        for name in ("EPOCH_LEAD_SECONDS", "EPOCHS_KEPT_SECONDS", "CLOCK_SLACK_SECONDS"):
            patch.setattr(backfiller, name, 0)
        urllib.request.urlopen(urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST")).close()
        sdk = {"endpoint_url": moto_url, **CREDENTIALS}
        boto3.client("s3", **sdk).create_bucket(Bucket="carried")
        dynamodb: Any = boto3.client("dynamodb", **sdk)
        dynamodb.create_table(TableName="carried-ledger", BillingMode="PAY_PER_REQUEST", **TABLE_SCHEMA)
        dynamodb.create_table(
            TableName="carried-orders", BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )  # fmt: skip
        for number in (1, 2):
            dynamodb.put_item(TableName="carried-orders", Item={"id": {"N": str(number)}, "note": {"S": "a"}})

        assert self._command("ddl", "--apply")[0] == 0

    def run(self) -> tuple[int, str]:
        """Give the exit code, and what this process and the others wrote to standard error."""
        return self._command("backfill", "--scan", "--no-wait", "--workers", "1")

    def _command(self, *arguments: str) -> tuple[int, str]:
        self._patch.setattr(sys, "argv", ["fastetl", *arguments, "--config", "here/fastetl.toml"])
        with pytest.raises(SystemExit) as ended:
            app()
        return int(ended.value.code or 0), self._capfd.readouterr().err


@pytest.fixture
def desk(moto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Iterator[Desk]:
    with Gate(moto_url) as gate:
        yield Desk(moto_url, gate.url, tmp_path, monkeypatch, capfd)


def test_the_users_module_is_found_beside_the_configuration(desk: Desk) -> None:
    (desk.folder / "here/beside_the_configuration.py").write_text(MODULE)
    code, err = desk.run()
    assert code == 0, err
    assert re.search(r"epoch \d: waiting \d+ s until every ingest function stamps changes with it", err)
    assert "orders: 2 items converted" in err
    assert "Unclosed" not in err


def test_what_fails_in_another_process_is_told_in_a_sentence(desk: Desk) -> None:
    (desk.folder / "here/beside_the_configuration.py").write_text("def add(frame):\n    raise ValueError('a secret')\n")
    code, err = desk.run()
    assert code == 1
    assert "enrichment 0/function: ValueError" in err
    assert "1 of 1 data files are not done; mend them, and start again" in err
    assert "Traceback" not in err
    assert "secret" not in err
    (desk.folder / "here/beside_the_configuration.py").unlink()
    assert "No module named 'beside_the_configuration'" in desk.run()[1]
