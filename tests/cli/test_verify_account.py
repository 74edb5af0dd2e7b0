"""`fastetl verify-account`: its table, its exit code, and what an interruption leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from fastetl.cli import verify_account
from fastetl.operate import Verdict, Verifier
from tests.cli.test_wrong_input import Desk, desk
from tests.template import read_template

__all__ = ["desk"]

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
