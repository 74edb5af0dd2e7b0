"""An alarm and whom it tells, and a function that is invoked, against moto and against the SDK's own models."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from fastetl.aws import Alarm, Function
from fastetl.errors import StackError


class Modelled:
    """A client of one operation that moto does not have: the SDK's model checks what it is asked, a test answers."""

    def __init__(self, service: str, operation: str, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        client = boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
        (name,) = [name for method, name in client.meta.method_to_api_mapping.items() if method == operation]
        self._shape = client.meta.service_model.operation_model(name).input_shape
        self.asked: list[dict[str, Any]] = []

        async def call(**arguments: Any) -> dict[str, Any]:
            assert ParamValidator().validate(arguments, self._shape).generate_report() == ""
            self.asked.append(arguments)
            return answer(arguments)

        setattr(self, operation, call)


async def test_an_alarm_is_set_by_hand_and_its_confirmed_listeners_are_counted(aws: Any) -> None:
    cloudwatch, sns = await aws.client("cloudwatch"), await aws.client("sns")
    topic = (await sns.create_topic(Name="alarms"))["TopicArn"]
    alarm = Alarm(cloudwatch, sns, "paused", topic)
    assert await alarm.count_listeners() == 0
    for number in range(3):
        await sns.subscribe(TopicArn=topic, Protocol="email", Endpoint=f"somebody{number}@example.com")
    assert await alarm.count_listeners() == 3
    await cloudwatch.put_metric_alarm(
        AlarmName="paused", MetricName="Paused", Namespace="stack", Period=300, EvaluationPeriods=1, Threshold=0,
        ComparisonOperator="GreaterThanThreshold", Statistic="Sum",
    )  # fmt: skip
    before = await alarm.read_state()
    await alarm.set_state("ALARM", "by hand")
    assert (before != "ALARM", await alarm.read_state()) == (True, "ALARM")
    with pytest.raises(StackError, match="describe_alarms nothing: there is none"):
        await Alarm(cloudwatch, sns, "nothing", topic).read_state()
    with pytest.raises(StackError, match="list_subscriptions_by_topic paused: NotFound"):
        await Alarm(cloudwatch, sns, "paused", topic + "x").count_listeners()


async def test_a_subscription_that_nobody_has_confirmed_does_not_count() -> None:
    pages = {"": ["PendingConfirmation", "arn:aws:sns:::a:1"], "2": ["arn:aws:sns:::a:2"]}

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        page = asked.get("NextToken", "")
        found: dict[str, Any] = {"Subscriptions": [{"SubscriptionArn": arn} for arn in pages[page]]}
        found |= {} if page else {"NextToken": "2"}
        return found

    client = Modelled("sns", "list_subscriptions_by_topic", answer)
    assert await Alarm(None, client, "paused", "arn:aws:sns:us-east-1:1:a").count_listeners() == 2


async def test_what_came_of_an_alarms_actions() -> None:
    pages = {"": [f"{Alarm.DONE} arn", "Failed to execute action arn"], "2": [f"{Alarm.DONE} another"]}

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        page = asked.get("NextToken", "")
        history: dict[str, Any] = {"AlarmHistoryItems": [{"HistorySummary": summary} for summary in pages[page]]}
        return history | ({} if page else {"NextToken": "2"})

    client = Modelled("cloudwatch", "describe_alarm_history", answer)
    since = time.time()
    assert await Alarm(client, None, "paused", "arn").find_actions(since) == pages[""] + pages["2"]
    assert len(client.asked) == 2
    for asked in client.asked:
        assert asked["StartDate"] == datetime.fromtimestamp(since, UTC)
        assert asked["HistoryItemType"] == "Action"


class Payload:
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        return self._body


async def test_a_function_gives_its_answer_or_says_what_it_raised() -> None:
    answers: list[dict[str, Any]] = [
        {"Payload": Payload(b'{"state":"FINISHED"}')},
        {"Payload": Payload(b'{"errorType":"EventError","errorMessage":"no step"}'), "FunctionError": "Unhandled"},
        {"Payload": Payload(b""), "FunctionError": "Unhandled"},
    ]
    client = Modelled("lambda", "invoke", lambda _: answers.pop(0))
    function = Function(client, "coordinator")
    assert await function.invoke({"rehearse": {}}) == {"state": "FINISHED"}
    assert client.asked == [{"FunctionName": "coordinator", "Payload": b'{"rehearse":{}}'}]
    with pytest.raises(StackError, match="coordinator: EventError: no step"):
        await function.invoke({})
    with pytest.raises(StackError, match="coordinator: Unhandled: "):
        await function.invoke({})
