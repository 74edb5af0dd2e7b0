"""The edge to one alarm of the stack and to whom it tells (Amazon CloudWatch, Amazon SNS)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastetl.aws.calls import make_call
from fastetl.errors import StackError

UNCONFIRMED = "PendingConfirmation"
"""In place of a subscription's ARN (Amazon SNS API reference, ListSubscriptionsByTopic)."""


class Alarm:
    """One alarm. Every method raises `StackError` when CloudWatch or SNS does not do what was asked."""

    DONE = "Successfully executed action"
    """How the summary of an action begins that was executed (CloudWatch API reference, DescribeAlarmHistory)."""

    def __init__(self, cloudwatch: Any, sns: Any, name: str, topic_arn: str) -> None:
        """Describe an alarm.

        Args:
            cloudwatch: an open CloudWatch client.
            sns: an open SNS client.
            name: the alarm's.
            topic_arn: of the topic that it tells.
        """
        self._cloudwatch = cloudwatch
        self._sns = sns
        self.name = name
        self.topic_arn = topic_arn

    async def count_listeners(self) -> int:
        """Count the confirmed subscriptions of the alarm's topic."""
        found: list[str] = []
        page: dict[str, Any] = {}
        while True:
            answer = await self._call(self._sns, "list_subscriptions_by_topic", TopicArn=self.topic_arn, **page)
            found += [each["SubscriptionArn"] for each in answer["Subscriptions"]]
            if not answer.get("NextToken"):
                return len(found) - found.count(UNCONFIRMED)
            page = {"NextToken": answer["NextToken"]}

    async def read_state(self) -> str:
        """Give its state: OK, ALARM or INSUFFICIENT_DATA."""
        answer = await self._call(self._cloudwatch, "describe_alarms", AlarmNames=[self.name])
        if not answer["MetricAlarms"]:
            raise StackError(f"describe_alarms {self.name}: there is none")
        return str(answer["MetricAlarms"][0]["StateValue"])

    async def set_state(self, state: str, reason: str) -> None:
        """Set it by hand; CloudWatch sets it back when it next looks at the metric.

        Args:
            state: OK, ALARM or INSUFFICIENT_DATA.
            reason: for whoever reads of it.
        """
        await self._call(self._cloudwatch, "set_alarm_state", AlarmName=self.name, StateValue=state, StateReason=reason)

    async def find_actions(self, since: float) -> list[str]:
        """List what came of the actions that were taken, the newest first, in CloudWatch's words.

        Args:
            since: Unix seconds.
        """
        asked = {
            "AlarmName": self.name,
            "HistoryItemType": "Action",
            "StartDate": datetime.fromtimestamp(since, UTC),
        }
        found: list[str] = []
        while True:
            answer = await self._call(self._cloudwatch, "describe_alarm_history", **asked)
            found += [str(item["HistorySummary"]) for item in answer["AlarmHistoryItems"]]
            if not answer.get("NextToken"):
                return found
            asked["NextToken"] = answer["NextToken"]

    async def _call(self, client: Any, operation: str, **arguments: Any) -> Any:
        return await make_call(
            lambda: getattr(client, operation)(**arguments),
            lambda refusal: StackError(f"{operation} {self.name}: {refusal}"),
        )
