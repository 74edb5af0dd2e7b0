"""`fastetl tune` and `fastetl cost`, with what an earlier run has measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.tune.test_day import MEASURED

ROOT = Path(__file__).parents[2]


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    path = tmp_path / "measured.json"
    path.write_bytes(
        msgspec.json.encode(
            {"pipeline": "orders", "measured_with": "made up", "item_bytes": 700.0, "measured": [MEASURED]}
        )
    )
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    executable = Path(sys.executable).with_name("fastetl")
    command = [executable, *map(str, arguments), "--config", ROOT / "examples/orders.toml"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_tune_answers_in_every_form(measured: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    options = ("tune", "--rate", "500/s", "--freshness", "10m", "--profile", "day", "--measured", measured)
    asked = run(*options, "--html", page, "--json")
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert told["cheapest"]["fresh_p99"] <= 600
    assert f"{told['balanced']['per_million']:,.3f}" in page.read_text()
    shown = run(*options).stdout
    settings = told["balanced"]["settings"]
    assert f"IngestMemory={settings['memory_mb']} BatchSize={settings['batch_size']}" in shown
    assert f'max_age = "{settings["max_age_seconds"]}s"' in shown
    assert told["power_tuning_url"] in shown


def test_cost_explains_a_month(measured: Path) -> None:
    asked = run("cost", "--rate", "1e6/d", "--measured", measured, "--json")
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert told["fastetl"]["per_million"] == pytest.approx(sum(told["fastetl"]["dollars_per_day"].values()))
    assert told["others"][0]["name"] == "Kinesis and Firehose"
    assert "Redshift" in run("cost", "--rate", "1e6/d", "--measured", measured).stdout


def test_mistakes_are_told_at_once(measured: Path) -> None:
    asked = run("tune", "--rate", "quick", "--profile", "moon", "--measured", measured)
    assert asked.returncode == 2
    assert "'quick' is no rate" in asked.stderr
    assert "'moon' is none" in asked.stderr
    too_much = run("tune", "--freshness", "10s", "--measured", measured)
    assert too_much.returncode == 2
    assert "wakes up every 60 s" in too_much.stderr
