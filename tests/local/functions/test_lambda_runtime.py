"""The stand-in for Lambda, with the real awslambdaric and a small real handler."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fastetl.local.functions.lambda_runtime import (
    Function,
    FunctionSettings,
    InvokeResult,
    Report,
    RequestTooLargeError,
)

MakeFunction = Callable[..., Function]


@pytest.fixture
async def make_function(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeFunction]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "handlers"))
    async with AsyncExitStack() as stack:
        functions: list[Function] = []

        def make(handler: str = "sample_function.handler", **settings: Any) -> Function:
            function = Function(FunctionSettings("sample", handler, **settings))
            functions.append(function)
            stack.push_async_callback(function.close)
            return function

        yield make


async def call(function: Function, **event: Any) -> InvokeResult:
    return await function.invoke(json.dumps(event).encode())


async def describe(function: Function, **event: Any) -> dict[str, Any]:
    result = await call(function, **event)
    assert result.error == "", result
    return json.loads(result.payload)


async def test_a_handler_gets_event_context_and_environment(make_function: MakeFunction) -> None:
    function = make_function(environment={"SAMPLE": "ä"}, memory_mb=512, timeout_seconds=30)

    result = await call(function)

    seen = json.loads(result.payload)
    assert seen["variable"] == "ä"
    assert seen["memory_mb"] == "512"
    assert seen["name"] == "sample"
    assert seen["arn"].endswith(":function:sample")
    assert seen["request_id"] == result.report.request_id
    assert 0 < seen["remaining_ms"] <= 30_000


async def test_environments_are_kept_between_invocations(make_function: MakeFunction) -> None:
    function = make_function()

    first, second = await call(function), await call(function)

    assert json.loads(second.payload)["invocations"] == 2
    assert first.report.init_duration_ms is not None
    assert first.log[0] == "importing"
    assert second.report.init_duration_ms is None
    assert "importing" not in second.log


async def test_a_deployment_replaces_environments_once_they_are_free(make_function: MakeFunction) -> None:
    function = make_function()
    before = (await describe(function))["pid"]
    running = asyncio.create_task(call(function, do="sleep", seconds=0.3))
    await asyncio.sleep(0.1)

    function.renew()

    assert json.loads((await running).payload)["pid"] == before
    assert (await describe(function))["pid"] != before


async def test_invocations_at_once_have_environments_of_their_own_up_to_the_limit(make_function: MakeFunction) -> None:
    function = make_function(concurrency=2)

    answers = await asyncio.gather(*(describe(function, do="sleep", seconds=0.2) for _ in range(5)))

    assert len({answer["pid"] for answer in answers}) == 2
    assert sorted(function.pids) == sorted({answer["pid"] for answer in answers})


async def test_an_exception_is_an_error_and_the_environment_lives_on(make_function: MakeFunction) -> None:
    function = make_function()
    before = await describe(function)

    failed = await call(function, do="raise")

    assert failed.error == "ValueError"
    assert json.loads(failed.payload)["errorMessage"] == "as the test has it"
    assert any("[ERROR] ValueError: as the test has it" in line for line in failed.log)
    assert failed.report.error_type == ""
    assert (await describe(function))["pid"] == before["pid"]


@pytest.mark.parametrize(("how", "said"), [("exit", "exit status 3"), ("die", "signal: killed")])
async def test_a_crash_is_an_error_and_a_new_environment_follows(
    make_function: MakeFunction, how: str, said: str
) -> None:
    function = make_function()
    before = await describe(function)

    crashed = await call(function, do=how, print=["last words"])

    assert crashed.error == "Runtime.ExitError"
    assert said in json.loads(crashed.payload)["errorMessage"]
    assert "last words" in crashed.log
    after = await describe(function)
    assert after["pid"] != before["pid"]
    assert after["invocations"] == 1


async def test_an_environment_killed_from_outside_fails_its_invocation(make_function: MakeFunction) -> None:
    function = make_function()
    pid = (await describe(function))["pid"]

    running = asyncio.create_task(call(function, do="sleep", seconds=60))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)

    assert (await running).error == "Runtime.ExitError"


async def test_an_environment_that_dies_while_idle_is_replaced_unseen(make_function: MakeFunction) -> None:
    function = make_function()
    pid = (await describe(function))["pid"]
    os.kill(pid, signal.SIGKILL)
    while function.pids:
        await asyncio.sleep(0.01)

    assert (await describe(function))["invocations"] == 1


async def test_the_deadline_kills_the_process(make_function: MakeFunction) -> None:
    function = make_function(timeout_seconds=2)
    pid = (await describe(function))["pid"]

    late = await call(function, do="sleep", seconds=60)

    assert late.error == "Sandbox.Timedout"
    assert "Task timed out after 2.00 seconds" in json.loads(late.payload)["errorMessage"]
    assert str(late.report).endswith("\tStatus: timeout\t")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (await describe(function))["invocations"] == 1


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        ("sample_broken_import.handler", "RuntimeError"),
        ("no_such_module.handler", "Runtime.ImportModuleError"),
        ("sample_function.no_such_handler", "Runtime.HandlerNotFound"),
    ],
)
async def test_a_handler_that_cannot_be_imported_fails_each_invocation(
    make_function: MakeFunction, handler: str, error: str
) -> None:
    function = make_function(handler)

    first, second = await call(function), await call(function)

    assert (first.error, second.error) == (error, error)
    assert "errorMessage" in json.loads(first.payload)
    assert function.pids == ()


def kill_and_wait(pid: int) -> None:
    """End a process; meanwhile the loop stands still, and does not hear of it."""
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)


async def test_a_process_that_has_just_ended_is_stopped(make_function: MakeFunction) -> None:
    function = make_function()
    await call(function)
    (pid,) = function.pids
    kill_and_wait(pid)
    await function.close()
    assert function.pids == ()


async def test_standard_output_error_and_metrics_are_captured_line_by_line(make_function: MakeFunction) -> None:
    function = make_function()
    await call(function)

    result = await call(function, do="log", print=["x" * 300_000])

    assert result.log[0] == f"START RequestId: {result.report.request_id} Version: $LATEST"
    assert result.log[1] == "x" * 300_000
    assert result.log[2].startswith("[INFO]\t")
    assert result.log[2].endswith(f"Z\t{result.report.request_id}\tan ordinary line")
    assert "on standard error" in result.log
    assert result.metrics == [{"_aws": {"Timestamp": 1}, "files": 3}]
    assert result.log[-2] == f"END RequestId: {result.report.request_id}"
    assert result.log[-1] == str(result.report)


async def test_every_line_is_there_when_the_answer_is(make_function: MakeFunction) -> None:
    function = make_function()
    lines = [f"line {number}" for number in range(2000)]

    result = await call(function, print=lines)

    assert [line for line in result.log if line.startswith("line ")] == lines


def test_a_report_reads_as_in_cloudwatch() -> None:
    plain = Report("8f5", 12.344, 1769, 163)
    first = Report("8f5", 12.344, 1769, 163, init_duration_ms=400.0)
    crashed = Report("8f5", 5.0, 128, 20, error_type="Runtime.ExitError")

    assert str(plain) == (
        "REPORT RequestId: 8f5\tDuration: 12.34 ms\tBilled Duration: 13 ms\t"
        "Memory Size: 1769 MB\tMax Memory Used: 163 MB\t"
    )
    assert "\tBilled Duration: 413 ms\t" in str(first)
    assert str(first).endswith("\tMax Memory Used: 163 MB\tInit Duration: 400.00 ms\t")
    assert str(crashed).endswith("\tStatus: error\tError Type: Runtime.ExitError\t")


async def test_memory_and_duration_are_measured(make_function: MakeFunction) -> None:
    function = make_function()
    small = await call(function)

    large = await call(function, do="allocate", bytes=200_000_000)
    slow = await call(function, do="sleep", seconds=0.25)

    assert large.report.max_memory_used_mb - small.report.max_memory_used_mb >= 180
    assert slow.report.duration_ms >= 250
    assert re.fullmatch(r"REPORT RequestId: [0-9a-f-]{36}\tDuration: .*\t", slow.log[-1])


async def test_payloads_of_six_megabytes_pass_and_larger_ones_do_not(make_function: MakeFunction) -> None:
    function = make_function()
    limit = 6 * 1024 * 1024
    frame = len(json.dumps({"ballast": ""}))

    assert (await describe(function, ballast="y" * (limit - frame)))["size"] == limit - frame
    with pytest.raises(RequestTooLargeError):
        await call(function, ballast="y" * limit)

    assert (await call(function, do="fill", bytes=limit - 2)).error == ""
    assert (await call(function, do="fill", bytes=limit)).error == "Function.ResponseSizeTooLarge"
    assert (await describe(function))["invocations"] == 1


@pytest.mark.parametrize("value", [None, {"batchItemFailures": []}, [1, "ö"], ""])
async def test_what_the_handler_returns_arrives(make_function: MakeFunction, value: object) -> None:
    assert json.loads((await call(make_function(), do="return", value=value)).payload) == value


async def test_a_wrapper_runs_the_interpreter(make_function: MakeFunction) -> None:
    function = make_function(wrapper=("/usr/bin/env", "SAMPLE=wrapped"))

    assert (await describe(function))["variable"] == "wrapped"


async def test_close_ends_every_process(make_function: MakeFunction) -> None:
    function = make_function()
    pid = (await describe(function))["pid"]

    await function.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
