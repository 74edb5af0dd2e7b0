"""The stack's edges against moto: CloudFormation, Step Functions and CloudWatch Logs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from fastetl.aws import FunctionLog, Stack, StateMachine
from fastetl.errors import StackError

TEMPLATE = {
    "Parameters": {"Prefix": {"Type": "String"}},
    "Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}},
    "Outputs": {"BucketName": {"Value": {"Ref": "Bucket"}}, "Fixed": {"Value": "x"}},
}
ROLE = "arn:aws:iam::123456789012:role/map"


async def test_a_stack_tells_its_parameters_and_outputs(aws: Any) -> None:
    client = await aws.client("cloudformation")
    given = [{"ParameterKey": "Prefix", "ParameterValue": "etl/"}]
    await client.create_stack(StackName="described", TemplateBody=json.dumps(TEMPLATE), Parameters=given)
    parameters, outputs = await Stack(client, "described").describe()
    assert parameters == {"Prefix": "etl/"}
    assert outputs["Fixed"] == "x"
    with pytest.raises(StackError, match="describe_stacks nowhere: ValidationError"):
        await Stack(client, "nowhere").describe()


async def test_an_execution_is_started_once_by_its_name(aws: Any) -> None:
    client = await aws.client("stepfunctions")
    definition = json.dumps({"StartAt": "a", "States": {"a": {"Type": "Succeed"}}})
    made = await client.create_state_machine(name="convert", definition=definition, roleArn=ROLE)
    machine = StateMachine(client, made["stateMachineArn"])
    execution = await machine.start("orders-1-1000", {"pipeline": "orders"})
    described = await client.describe_execution(executionArn=execution)
    assert (described["name"], json.loads(described["input"])) == ("orders-1-1000", {"pipeline": "orders"})
    assert await machine.status(execution) == described["status"]
    with pytest.raises(StackError, match=r"start_execution arn:aws:states:.*nowhere: StateMachineDoesNotExist"):
        await StateMachine(client, made["stateMachineArn"].replace("convert", "nowhere")).start("a", {})


async def test_a_log_is_read_as_far_back_as_it_takes(aws: Any) -> None:
    client = await aws.client("logs")
    now = int(time.time())  # moto refuses events of other times, as CloudWatch does
    await client.create_log_group(logGroupName="/function")
    await client.create_log_stream(logGroupName="/function", logStreamName="s")
    events = [{"timestamp": (now - age) * 1000, "message": f"REPORT {age}"} for age in (50_000, 2_000, 30)]
    await client.put_log_events(logGroupName="/function", logStreamName="s", logEvents=events)
    lines = await FunctionLog(client, "/function").latest_lines("REPORT", clock=lambda: now)
    assert sorted(lines) == ["REPORT 2000", "REPORT 30", "REPORT 50000"]
    with pytest.raises(StackError, match="filter_log_events /none: ResourceNotFoundException"):
        await FunctionLog(client, "/none").latest_lines("REPORT", clock=lambda: now)
