"""`fastetl verify-account`: what this account does where AWS's documents are silent; a rehearsal of the first day."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.options import command, config_option, pipeline_option
from fastetl.cli.output import echo_json, tell, write_table

if TYPE_CHECKING:
    from fastetl.aws import Deployment
    from fastetl.operate import Verdict

COORDINATOR, ALARM, TOPIC = "Coordinator", "Paused", "AlarmTopic"
"""In `template.yaml`: the function that takes the steps, the alarm that is set, and the output with its topic."""


@command("verify-account")
@config_option
@pipeline_option
@click.option("--load", is_flag=True, help="Rehearse loads, failures and an alarm, by the stack's own coordinator.")
@click.option("--stack", default="", metavar="NAME", help="The stack that `make deploy` made; needed with --load.")
def verify_account(config: Path, pipeline: str, *, load: bool, stack: str, as_json: bool) -> None:
    """It creates tables `fastetl_verify_...` in the target's schema and objects under `check/`, and removes them.

    With --load it also creates a schema `fastetl_verify_...`, in which the coordinator loads made-up files, and sets an
    alarm of the stack by hand. All of it is removed, also when it is interrupted.

    Exit code 1 says that an answer matters and is not as expected.
    """
    from fastetl.cli.deployments import run_one

    if load != bool(stack):
        raise click.UsageError("--load and --stack go together: the stack's coordinator takes the steps of the loads")
    try:
        found = run_one(config, pipeline, lambda one: _verify(one, stack))
    except asyncio.CancelledError:
        tell("interrupted; everything is removed")
        raise click.exceptions.Exit(128 + signal.SIGTERM) from None
    if as_json:
        echo_json(found)
    else:
        lines = [(_mark(each), each.question, each.answer, each.follows) for each in found]
        write_table(("", "question", "answer", "what follows"), lines)
    bad = [each for each in found if each.is_bad]
    for each in bad:
        tell(f"{each.question}: {each.answer}", colour="red")
    if bad:
        raise click.exceptions.Exit(1)


async def _verify(deployment: Deployment, stack: str) -> list[Verdict]:
    from fastetl.operate import Verifier

    # Ended like Ctrl-C, so that what was made is removed.
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run has made one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    verdicts = await Verifier(deployment).verify()
    return [*verdicts, *(await _rehearse(deployment, stack) if stack else ())]


async def _rehearse(deployment: Deployment, name: str) -> list[Verdict]:
    from contextlib import AsyncExitStack

    from fastetl.aws import Alarm, Function, Stack, open_clients
    from fastetl.operate import Rehearsal

    async with AsyncExitStack() as exits:
        clients = await open_clients("cloudformation", "lambda", "cloudwatch", "sns", region=deployment.config.region)
        for client in clients:
            exits.push_async_callback(client.close)
        cloudformation, functions, cloudwatch, sns = clients
        stack = Stack(cloudformation, name)
        _, outputs = await stack.describe()
        coordinator = Function(functions, await stack.find_resource(COORDINATOR))
        alarm = Alarm(cloudwatch, sns, await stack.find_resource(ALARM), outputs.get(TOPIC, ""))
        rehearsal = Rehearsal(deployment, coordinator.invoke, alarm)
        tell(f"rehearsal {rehearsal.name}: some minutes; Ctrl-C removes what it has made")
        return await rehearsal.rehearse()


def _mark(verdict: Verdict) -> str:
    if verdict.as_expected:
        return "ok"
    return "WRONG" if verdict.is_bad else "other"
