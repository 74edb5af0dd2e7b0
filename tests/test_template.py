"""The template against the code: settings, handlers, the ledger's schema, metrics, and the state machine."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastetl.aws.ledger import TABLE_SCHEMA
from fastetl.backfill.distribute import build_input
from fastetl.backfill.export_format import DataFile, Export, write_files
from fastetl.model import Backfill
from tests.template import ROOT, read_template, resolve, watched_metrics


@pytest.fixture(scope="module")
def template() -> Any:
    return read_template()


def test_handlers_exist(template: Any) -> None:
    handlers = [
        resource["Properties"]["Handler"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    assert len(handlers) == 4
    for handler in handlers:
        module, _, name = handler.rpartition(".")
        source = Path(str(importlib.util.find_spec(module).origin)).read_text()
        assert name in {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def test_the_ledger_is_the_codes(template: Any) -> None:
    properties = template["Resources"]["Ledger"]["Properties"]
    assert {name: properties[name] for name in TABLE_SCHEMA} == TABLE_SCHEMA


def test_nothing_may_be_reached_without_tls_nor_from_outside(template: Any) -> None:
    bucket = template["Resources"]["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    (statement,) = template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_every_metric_that_is_watched_or_shown_is_written(template: Any) -> None:
    watched = watched_metrics(template)
    written = set()
    for root in ("ingest", "coordinator"):
        tree = ast.parse((ROOT / f"src/fastetl/lambdas/{root}.py").read_text())
        written |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {"EventsAsDict", "Files", "LoadSeconds", "OldestPendingSeconds", "Paused"} <= watched
    assert watched <= written


def test_a_coordinator_that_is_silent_is_an_alarm(template: Any) -> None:
    """Whatever else may be missing when nothing happens, this metric comes with every wake-up.

    Where somebody has asked to be told of incompleteness, silence is no proof either.
    """
    alarms = {name: each for name, each in template["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"}
    breaching = [name for name, each in alarms.items() if each["Properties"]["TreatMissingData"] == "breaching"]
    assert breaching == ["FilesWait", "Incomplete"]
    assert alarms["FilesWait"]["Properties"]["EvaluationPeriods"] >= 3
    assert set(alarms["FilesWait"]["DependsOn"]) == {"EveryMinute", "EveryMinuteMayWake"}


def test_every_alarm_is_explained(template: Any) -> None:
    alarms = {name for name, each in template["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"}
    table = (ROOT / "docs/operations.md").read_text().partition("## Alarms")[2].partition("\n## ")[0]
    explained = {
        name
        for row in re.findall(r"^\| ([\w, ]+) \|", table, re.MULTILINE)
        for name in row.split(", ")
        if name != "alarm"
    }
    assert explained == alarms


# --- what parameters change -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("glacier", [0, 90])
@pytest.mark.parametrize("deleted", [0, 400])
def test_files_are_archived_and_deleted_when_they_are_to_be(template: Any, glacier: int, deleted: int) -> None:
    resolved = resolve(template, DaysUntilGlacier=glacier, DaysUntilDeleted=deleted)
    rules = resolved["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    found = [set(rule) - {"Id", "Status", "Prefix"} for rule in rules if rule["Id"] == "files"]
    expected = {"Transitions"} if glacier else set()
    expected |= {"ExpirationInDays"} if deleted else set()
    assert found == ([expected] if expected else [])


# --- the state machine ------------------------------------------------------------------------------------------------


def test_the_state_machine_hands_every_data_file_to_the_function(template: Any) -> None:
    """Run the definition, as far as it goes, on what `fastetl backfill --distributed` starts it with."""
    definition = template["Resources"]["BackfillMap"]["Properties"]["Definition"]
    state = definition["States"][definition["StartAt"]]
    file = DataFile("AWSDynamoDB/1/data/a.json.gz", 3, "md5")
    export = Export("1", "arn:aws:dynamodb:us-east-1:1:table/t", "full", 0, 3, "AWSDynamoDB/1/manifest-files.json")
    backfill = Backfill("orders", 1, "s3://lake/AWSDynamoDB/1", "1", 0, 1, 3, 1)
    given = build_input(backfill, export)
    read = {name: given[path[2:]] for name, path in state["ItemReader"]["Parameters"].items()}
    assert read == {"Bucket.$": "lake", "Key.$": "AWSDynamoDB/1/manifest-files.json"}
    assert state["ItemReader"]["ReaderConfig"] == {"InputType": "JSONL"}
    (line,) = write_files([file]).splitlines()
    context = {
        "$$.Map.Item.Value": json.loads(line),
        "$.pipeline": given["pipeline"],
        "$.epoch": given["epoch"],
        "$.export": given["export"],
    }
    event = {name.removesuffix(".$"): context[path] for name, path in state["ItemSelector"].items()}
    converter = state["ItemProcessor"]["States"][state["ItemProcessor"]["StartAt"]]
    assert (converter["Resource"], converter["End"]) == ("${Function}", True)
    assert event == {"pipeline": "orders", "epoch": 1, "export": backfill.name, "file": msgspec.to_builtins(file)}
