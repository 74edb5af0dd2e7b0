"""What one pipeline meets in the backfill function stays its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastetl.errors import ExportError
from fastetl.model import Converted, Head
from tests.local.test_stack import CONFIG

TASK = {
    "pipeline": "orders", "epoch": 1, "export": "e",
    "file": {"dataFileS3Key": "AWSDynamoDB/1/data/a.json.gz", "itemCount": 1, "md5Checksum": "m"},
}  # fmt: skip


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    config = tmp_path / "fastetl.toml"
    config.write_text(CONFIG)
    environment = {
        "FASTETL_CONFIG": str(config), "FASTETL_BUCKET": "lake", "FASTETL_LEDGER_TABLE": "ledger",
        "FASTETL_REDSHIFT_WORKGROUP": "main", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "fastetl.lambdas.backfill", raising=False)
    module = importlib.import_module("fastetl.lambdas.backfill")
    yield module
    module.close()
    module._runner.close()
    del sys.modules["fastetl.lambdas.backfill"]


def test_a_defect_shows_its_place_and_no_item(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done, logged = Converted("a", 1, 1, 0, 1), []
    monkeypatch.setattr(function.logger, "error", lambda *message, **fields: logged.append((message, fields)))

    async def convert(task: Any) -> Converted:
        if task.epoch == 1:
            raise ValueError("the secret of an item")
        return done

    monkeypatch.setattr(function, "_convert", convert)
    with pytest.raises(RuntimeError, match="unexpected ValueError; the log says where") as raised:
        function.handler(TASK)
    assert raised.value.__cause__ is None
    assert "test_backfill.py" in str(logged)
    assert "secret" not in f"{logged} {raised.value}"
    # The next task is nobody's trouble.
    assert function.handler({**TASK, "epoch": 2})["rows"] == 1


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({}, "no task of a backfill.*pipeline"), ("x", "no task of a backfill"), ({**TASK, "file": 5}, "no task of"),
        ({**TASK, "pipeline": "another"}, "another is no pipeline here"),
    ],
)  # fmt: skip
def test_what_is_no_task_is_told_with_a_remedy(function: Any, event: Any, told: str) -> None:
    with pytest.raises(ExportError, match=told):
        function.handler(event)


@pytest.mark.parametrize(
    ("opened", "head", "told"),
    [
        (None, None, "no backfill of this export.*begin it"),
        # As after HEAD was lost, or in a ledger that was another stack's: another backfill would be no remedy.
        ("opened", None, "epochs of orders are not known.*goes on where it was"),
        ("opened", Head("orders", 0, (), "", stack="lake/another/orders"), "epochs of orders are not known"),
    ],
)
def test_what_a_conversion_needs_is_told_apart(
    function: Any, monkeypatch: pytest.MonkeyPatch, opened: Any, head: Head | None, told: str
) -> None:
    async def read(*_: object) -> Any:
        return opened

    async def read_head(*_: object) -> Head | None:
        return head

    ledger = function._deployments["orders"].ledger
    monkeypatch.setattr(ledger.backfills, "read", read)
    monkeypatch.setattr(ledger.batches, "head", read_head)
    with pytest.raises(ExportError, match=told):
        function.handler(TASK)
