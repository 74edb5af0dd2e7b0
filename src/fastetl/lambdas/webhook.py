"""The webhook function: hands alarms on to an address outside, in the form that Slack, Mattermost and Teams take.

A topic of SNS can call an HTTPS address itself, but only one that confirms its subscription, which chats do not. This
function may write its own log and nothing else; where the address refuses, Lambda calls it again (twice).
"""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

from aws_lambda_powertools import Logger

from fastetl.lambdas.environment import ENVIRON

if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESS_VARIABLE = "ALARM_WEBHOOK"
TIMEOUT_SECONDS = 10

logger = Logger(service="webhook")


def handler(event: Mapping[str, Any], _context: Any, environ: Mapping[str, str] = ENVIRON) -> None:
    """Send what a topic tells, one message after the other.

    Raises:
        OSError: the address did not take one; the log never names the address, which is a secret.
    """
    for record in event["Records"]:
        text = write_text(record["Sns"])
        request = urllib.request.Request(  # noqa: S310 - the template takes no address but https
            environ[ADDRESS_VARIABLE],
            data=json.dumps({"text": text}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
                logger.info("sent", subject=record["Sns"].get("Subject", ""), status=answer.status)
        except HTTPError as refused:
            refused.close()
            raise OSError(f"the address of the parameter AlarmWebhook answered {refused.code}") from None


def write_text(notification: Mapping[str, Any]) -> str:
    """Write a notification of SNS as one text: an alarm's name, state, meaning and figures; else what it says.

    Args:
        notification: the `Sns` of a record ("Using AWS Lambda with Amazon SNS"); its message is the alarm as JSON
            ("Using Amazon CloudWatch alarms", alarm notifications).
    """
    try:
        alarm = json.loads(notification["Message"])
        head = f"{alarm['NewStateValue']}: {alarm['AlarmName']}"
    except (ValueError, TypeError, KeyError):
        return "\n".join(filter(None, (notification.get("Subject"), notification.get("Message"))))
    lines = (head, alarm.get("AlarmDescription"), alarm.get("NewStateReason"), alarm.get("StateChangeTime"))
    return "\n".join(filter(None, lines))
