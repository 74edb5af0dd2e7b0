"""`fastetl tune` and `fastetl cost`, with what an earlier run has measured."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import msgspec
import pytest

from fastetl.cli.tune import BATCH_SIZE, MEMORY_MB, PARALLELIZATION, WINDOW_SECONDS
from tests.cli.in_process import Done, call
from tests.local.warehouse_client import CREDENTIALS
from tests.template import read_template
from tests.tune.test_calibrate import ingested, json_report
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


def run(*arguments: object, **variables: str) -> Done:
    return call(*arguments, "--config", ROOT / "examples/orders.toml", **variables)


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
    running = run(*options, "--memory", 512, "--batch-size", 100, "--window", 0, "--parallelization", 10, "--json")
    current = json.loads(running.stdout)["current"]["settings"]
    names = ("memory_mb", "batch_size", "window_seconds", "parallelization")
    assert [current[name] for name in names] == [512, 100, 0, 10]


def write_two_pipelines(tmp_path: Path) -> Path:
    text = (ROOT / "examples/orders.toml").read_text()
    at = text.index("[[pipelines]]")
    other = re.sub(r'(?m)^(name|target|table) = "([a-z.]*)orders"', r'\1 = "\2others"', text[at:], count=3)
    config = tmp_path / "two.toml"
    config.write_text(text + "\n" + other)
    return config


def test_the_warehouse_of_two_pipelines_is_awake_less_than_twice_as_long(measured: Path, tmp_path: Path) -> None:
    config, page = write_two_pipelines(tmp_path), tmp_path / "report.html"
    options = ("cost", "--rate", "10/s", "--measured", measured, "-p", "orders", "--config", config)
    alone = json.loads(call(*options, "--json").stdout)["warehouse"]
    both = json.loads(call(*options, "--beside", "others=1/s", "--json").stdout)["warehouse"]
    assert both["pipelines"] == ["orders", "others"]
    assert sum(both["minutes_by_hour"]) < 1.1 * sum(alone["minutes_by_hour"])
    shown = call(*options, "--beside", "others=1/s").stdout
    assert re.search(r"for 2 pipelines: awake \d+ minutes a day .* \|[▁▂▃▄▅▆▇█ ]{24}\|", shown)
    tuned = ("tune", *options[1:], "--beside", "others=1/s", "--html", page)
    assert call(*tuned).returncode == 0
    assert "With the current settings, for orders, others:" in page.read_text()


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        ("nobody=1/s", "--beside: 'nobody' loads into no warehouse of orders. Write it like orders=10/s"),
        ("orders=1/s", "--beside: 'orders' loads into no warehouse of orders"),
        ("others", "--beside: '' is not a rate"),
        ("others=many", "--beside: 'many' is not a rate"),
    ],
)
def test_what_is_beside_is_a_pipeline_of_the_warehouse_with_its_rate(
    measured: Path, tmp_path: Path, beside: str, told: str
) -> None:
    config = write_two_pipelines(tmp_path)
    done = call("cost", "--measured", measured, "-p", "orders", "--config", config, "--rate", "1/s", "--beside", beside)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.fixture
def log_group(moto_url: str) -> Iterator[str]:
    """A function's log on CloudWatch, with JSON reports as `template.yaml` asks for: slow ones of days ago first."""
    client = boto3.client("logs", endpoint_url=moto_url, **CREDENTIALS)
    group, now = "/aws/lambda/ingest-of-orders", int(time.time() * 1000)
    client.create_log_group(logGroupName=group)
    client.create_log_stream(logGroupName=group, logStreamName="one")
    events = []
    for number in range(120):
        lately = number >= 10
        request, at = f"request-{number:03}", now - (60_000 if lately else 3 * 86_400_000)
        init = 1700.0 if number == 50 else None
        lines = [ingested(request, 1000), json_report(request, 0.25 if lately else 9.0, 1769, init)]
        events += [{"timestamp": at + number, "message": line} for line in lines]
    client.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)
    yield group
    client.delete_log_group(logGroupName=group)
    client.close()


def test_a_deployed_functions_log_corrects_the_model(measured: Path, moto_url: str, log_group: str) -> None:
    aws = {"AWS_ENDPOINT_URL": moto_url, "AWS_DEFAULT_REGION": "us-east-1"}
    aws |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    asked = run("tune", "--measured", measured, "--calibrate", log_group, "--json", **aws)
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    found = told["calibration"]
    assert (found["invocations"], found["starts"]) == (109, 1), "what is days old is not looked at"
    assert found["duration_seconds"]["real"] == 0.25
    assert found["memory_mb"]["real"] == 150
    assert found["init_seconds"]["real"] == 1.7
    assert found["billed_seconds"]["real"] == pytest.approx(110 * 0.25 + 1.7)
    used = MEASURED.at(1000).memory_mb
    assert found["more_memory_mb"]["real"] == pytest.approx(150 - used)
    plain = json.loads(run("tune", "--measured", measured, "--json").stdout)
    assert told["current"]["memory_mb"] == pytest.approx(plain["current"]["memory_mb"] + 150 - used)
    assert told["current"]["duration_seconds"] > plain["current"]["duration_seconds"]
    shown = run("tune", "--measured", measured, "--calibrate", log_group, **aws).stdout
    assert "109 real invocations, 1 starts of environments" in shown
    assert re.search(r"billed, in all\W+[0-9,]+ ms\W+29,200 ms", shown)
    assert re.search(r"memory used, median\W+126 MB\W+150 MB", shown)


@pytest.mark.parametrize("shape", ["flat", "nested", "tiny"])
def test_a_shape_needs_no_configuration(shape: str, measured: Path, tmp_path: Path) -> None:
    asked = call("tune", "--shape", shape, "--measured", measured, "--json", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["pipeline"] == shape


def test_the_settings_that_can_be_asked_for_are_the_templates() -> None:
    parameters = read_template()["Parameters"]
    for name, limits in (
        ("IngestMemory", MEMORY_MB), ("BatchSize", BATCH_SIZE), ("BatchingWindow", WINDOW_SECONDS),
        ("ParallelizationFactor", PARALLELIZATION),
    ):  # fmt: skip
        assert (parameters[name]["MinValue"], parameters[name]["MaxValue"]) == limits


def test_a_rate_that_is_not_given_is_said_to_be_assumed(measured: Path) -> None:
    done = run("cost", "--measured", measured)
    assert "assuming 100/s, that is 100 changes a second; give --rate for yours" in done.stderr
    assert "At 100 changes a second: " in done.stdout


def test_cost_explains_a_month(measured: Path) -> None:
    asked = run("cost", "--rate", "1e6/d", "--measured", measured, "--json")
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert told["fastetl"]["per_million"] == pytest.approx(sum(told["fastetl"]["dollars_per_day"].values()))
    assert "Redshift" in run("cost", "--rate", "1e6/d", "--measured", measured).stdout


def test_mistakes_are_told_at_once(measured: Path) -> None:
    for option, wrong, said in (
        ("--rate", "quick", "'quick' is not a rate"), ("--rate", "-5/s", "'-5/s' is not a rate"),
        ("--profile", "moon", "'moon' is not one of"), ("--shape", "cube", "'cube' is not one of"),
        ("--memory", "64", "64 is not in the range 256<=x<=10240"), ("--batch-size", "20000", "range 1<=x<=10000"),
        ("--window", "301", "range 0<=x<=300"), ("--parallelization", "11", "range 1<=x<=10"),
        ("--freshness", "soon", "--freshness"), ("--html", "/nowhere/a.html", "/nowhere/a.html cannot be written"),
        ("--save", "/nowhere/saved.json", "/nowhere/saved.json cannot be written"),
    ):  # fmt: skip
        asked = run("tune", option, wrong, "--measured", measured)
        assert (asked.returncode, asked.stdout) == (2, "")
        assert said in asked.stderr
    too_much = run("tune", "--freshness", "10s", "--measured", measured)
    assert too_much.returncode == 2
    assert "wakes up every 60 s" in too_much.stderr
