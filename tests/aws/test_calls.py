"""What every edge does with the SDK's errors, and with many calls at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from fastetl.aws import calls
from fastetl.aws.calls import ATTEMPTS, Refusal, gather, make_call, task_group
from fastetl.errors import FastetlError, StorageError


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(calls, "FIRST_DELAY_SECONDS", 0.0)


def refused(code: str, message: str = "", **more: Any) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, **more}
    return ClientError(response, "AnyOperation")


class Failing:
    """A call that fails so often before it succeeds."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.made = error, times, 0

    async def __call__(self) -> str:
        self.made += 1
        if self.made <= self.times:
            raise self.error
        return "done"


def refuse(refusal: Refusal) -> FastetlError:
    return StorageError(str(refusal))


@pytest.mark.parametrize(
    ("error", "transient", "text"),
    [
        (refused("SlowDown", "reduce"), True, "SlowDown: reduce"),
        (refused("503"), True, "503: "),
        (refused("ValidationException", "Rate exceeded"), True, "ValidationException: Rate exceeded"),
        (refused("AccessDenied", "no"), False, "AccessDenied: no"),
        (EndpointConnectionError(endpoint_url="http://x"), True, "EndpointConnectionError: "),
        (TimeoutError("late"), True, "TimeoutError: late"),
        (NoCredentialsError(), False, "NoCredentialsError: Unable to locate credentials"),
    ],
)
async def test_a_transient_error_is_tried_again_and_any_other_is_told_at_once(
    error: Exception, transient: bool, text: str
) -> None:
    call = Failing(error, times=ATTEMPTS)
    with pytest.raises(StorageError) as raised:
        await make_call(call, refuse)
    assert call.made == (ATTEMPTS if transient else 1)
    assert str(raised.value).startswith(text)
    assert raised.value.__cause__ is error


async def test_what_succeeds_at_last_is_given() -> None:
    call = Failing(refused("InternalError"), times=ATTEMPTS - 1)
    assert await make_call(call, refuse) == "done"
    assert call.made == ATTEMPTS


async def test_a_call_that_its_caller_repeats_is_made_once() -> None:
    call = Failing(refused("SlowDown"), times=1)
    with pytest.raises(StorageError):
        await make_call(call, refuse, attempts=1)
    assert call.made == 1


async def test_a_defect_is_no_refusal() -> None:
    with pytest.raises(KeyError):
        await make_call(Failing(KeyError("defect"), times=1), refuse)


async def test_a_refusal_holds_the_whole_answer() -> None:
    seen: list[Refusal] = []

    def keep(refusal: Refusal) -> FastetlError:
        seen.append(refusal)
        return refuse(refusal)

    with pytest.raises(StorageError):
        await make_call(Failing(refused("Conflict", "m", Item={"a": 1}), times=1), keep)
    assert (seen[0].code, seen[0].message, seen[0].response["Item"]) == ("Conflict", "m", {"a": 1})


async def test_results_come_in_the_order_of_the_things_and_no_more_run_than_were_allowed() -> None:
    running, most = 0, 0

    async def do(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (10 - number))
        running -= 1
        return number * number

    assert await gather(do, iter(range(10)), at_once=3) == [number * number for number in range(10)]
    assert most == 3
    assert await gather(do, []) == []


async def test_the_first_error_ends_the_rest_and_comes_as_itself() -> None:
    ended: list[int] = []
    cause = KeyError("cause")

    async def do(number: int) -> None:
        if number == 2:
            raise StorageError("two") from cause
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    with pytest.raises(StorageError, match="two") as raised:
        await gather(do, range(4), at_once=4)
    assert raised.value.__cause__ is cause
    assert sorted(ended) == [0, 1, 3]


async def test_groups_within_groups_still_raise_one_error() -> None:
    async def fail() -> None:
        raise StorageError("inner")

    async def nested() -> None:
        async with task_group() as group:
            group.create_task(fail())

    with pytest.raises(StorageError, match="inner"):
        async with task_group() as group:
            group.create_task(nested())
