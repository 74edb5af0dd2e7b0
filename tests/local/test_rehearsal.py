"""Steps of a rehearsal that the coordinator function itself takes, in Lambda's runtime client, on test events."""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson

from fastetl.aws import build_deployment
from fastetl.errors import StackError
from fastetl.local.stack import Embedded
from fastetl.operate import Rehearsal
from tests.local.test_several_pipelines import one
from tests.operate.test_rehearsal import StubAlarm


async def test_the_coordinator_takes_the_steps_that_an_event_names_and_no_others() -> None:
    async with Embedded(one("orders")) as stack:
        clients = {"s3": stack.s3, "dynamodb": stack.dynamodb, "redshift-data": stack.redshift}
        pipeline = stack.config.pipeline("orders")
        deployment = build_deployment(
            stack.config, pipeline, clients, clock=time.time, new_name=lambda: uuid.uuid4().hex
        )

        async def invoke(event: dict[str, Any]) -> Any:
            result = await stack.coordinator.invoke(orjson.dumps(event))
            answer = orjson.loads(result.payload)
            if result.error:
                raise StackError(answer["errorMessage"])
            return answer

        alarm: Any = StubAlarm()
        rehearsal = Rehearsal(deployment, invoke, alarm, words=("needs, and no more", "column type"))
        verdicts = await rehearsal.rehearse()
        assert [each.as_expected for each in verdicts] == [True] * 3, verdicts
        refused = await stack.coordinator.invoke(orjson.dumps({"rehearse": {"sql": "DROP TABLE orders"}}))
        assert refused.error == "EventError"
        assert b"no step of a rehearsal" in refused.payload
