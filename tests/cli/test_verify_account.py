"""`fastetl verify-account`: its table, its exit code, and what an interruption leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from fastetl.aws import Alarm, Function, build_deployment, open_clients
from fastetl.cli import verify_account
from fastetl.cli.configuration import read_config
from fastetl.load.rehearsal import take_step
from fastetl.operate import Rehearsal, Verdict, Verifier
from tests.cli.test_refusals import Desk as DeskWithServices
from tests.cli.test_refusals import desk as desk_with_services
from tests.cli.test_refusals import gate
from tests.cli.test_wrong_input import Desk, desk
from tests.conftest import CREDENTIALS
from tests.template import read_template

__all__ = ["desk", "desk_with_services", "gate"]

STACK = {
    # What they are does not matter here, and moto makes no alarms: their names are asked for.
    "Resources": {name: {"Type": "AWS::SNS::Topic"} for name in ("Coordinator", "Paused", "Alarms")},
    "Outputs": {"AlarmTopic": {"Value": {"Ref": "Alarms"}}},
}

RIGHT = Verdict("Is it right?", "yes", "nothing", as_expected=True, matters=True)
OTHER = Verdict("Is it as expected?", "no", "tell the maintainers", as_expected=False, matters=False)
WRONG = Verdict("Does it load?", "no: ERROR", "mend that first", as_expected=False, matters=True)


@pytest.mark.parametrize(("verdicts", "code"), [([RIGHT, OTHER], 0), ([RIGHT, OTHER, WRONG], 1)])
def test_an_answer_that_matters_and_is_wrong_is_exit_code_1(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, verdicts: list[Verdict], code: int
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    async def verify(_deployment: Any, _stack: str) -> list[Verdict]:
        return verdicts

    monkeypatch.setattr(verify_account, "_verify", verify)
    assert desk.run("verify-account")[0] == code
    _, out, _ = desk.run("verify-account", "--load", "--stack", "stack")
    header, *lines = out.splitlines()
    assert header.split() == ["question", "answer", "what", "follows"]
    marks = {"Is it right?": "ok", "Is it as expected?": "other", "Does it load?": "WRONG"}
    assert [line.split("  ")[0].strip() for line in lines] == [marks[each.question] for each in verdicts]
    for line, each in zip(lines, verdicts, strict=True):
        assert all(text in line for text in (each.question, each.answer, each.follows))
    assert json.loads(desk.run("verify-account", "--json")[1])[0]["follows"] == "nothing"


@pytest.mark.parametrize("arguments", [["--load"], ["--stack", "x"]])
def test_loads_need_the_stack_whose_coordinator_makes_them(desk: Desk, arguments: list[str]) -> None:
    code, _, err = desk.run("verify-account", *arguments)
    assert code == 2
    assert "--load and --stack go together" in err


def test_a_process_that_is_told_to_end_removes_what_it_has_made(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    removed = []

    async def verify(_self: Verifier) -> list[Verdict]:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            removed.append(True)
        return []

    monkeypatch.setattr(Verifier, "verify", verify)
    code, _, err = desk.run("verify-account")
    assert (code, removed) == (143, [True])
    assert "interrupted; everything is removed" in err


def test_the_template_has_what_a_rehearsal_asks_for() -> None:
    template = read_template()
    assert template["Resources"][verify_account.COORDINATOR]["Type"] == "AWS::Serverless::Function"
    alarm = template["Resources"][verify_account.ALARM]
    assert alarm["Type"] == "AWS::CloudWatch::Alarm"
    assert alarm["Properties"]["AlarmActions"] == [template["Outputs"][verify_account.TOPIC]["Value"]]


async def invoke(function: Function, event: dict[str, Any]) -> Any:
    """What the coordinator answers."""
    assert "Coordinator" in function.name
    config, services = read_config(Path("fastetl.toml")), ("s3", "dynamodb", "redshift-data")
    opened = await open_clients(*services)
    (pipeline,) = config.pipelines
    clients = dict(zip(services, opened, strict=True))
    one = build_deployment(config, pipeline, clients, clock=time.time, new_name=lambda: uuid.uuid4().hex)
    try:
        return msgspec.to_builtins(await take_step(event["rehearse"], {"orders": one}))
    finally:
        for client in opened:
            await client.close()


async def find_actions(alarm: Alarm, _since: float) -> list[str]:
    return [Alarm.DONE] if await alarm.read_state() == "ALARM" else []


def test_a_stack_is_rehearsed_by_its_name(
    desk_with_services: DeskWithServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_with_services
    sdk: dict[str, Any] = {"endpoint_url": desk.gate.url, **CREDENTIALS}
    stacks = boto3.client("cloudformation", **sdk)
    stacks.create_stack(StackName="stack", TemplateBody=json.dumps(STACK))
    described = stacks.describe_stack_resource(StackName="stack", LogicalResourceId="Paused")
    boto3.client("cloudwatch", **sdk).put_metric_alarm(
        AlarmName=described["StackResourceDetail"]["PhysicalResourceId"], MetricName="Paused", Namespace="stack",
        Period=300, EvaluationPeriods=1, Threshold=0, ComparisonOperator="GreaterThanThreshold", Statistic="Sum",
    )  # fmt: skip
    monkeypatch.setattr(Function, "invoke", invoke)
    monkeypatch.setattr(Alarm, "find_actions", find_actions)
    words = ("every column type", "alarm that is set")
    monkeypatch.setattr(Rehearsal, "_is_wanted", lambda _, question: any(word in question.text for word in words))
    code, printed = desk.run("verify-account", "--load", "--stack", "stack", "--json")
    *_, types, alarm, removed = json.loads(next(line for line in printed.splitlines() if line.startswith("[")))
    assert (types["answer"], removed["as_expected"]) == ("yes, all 16", True)
    assert alarm["answer"] == "no: its topic was told, and nobody has a confirmed subscription"
    assert code == 1
    assert "Ctrl-C removes what it has made" in printed
    code, printed = desk.run("verify-account", "--load", "--stack", "nothing")
    assert (code, "describe_stacks nothing" in printed) == (1, True)
