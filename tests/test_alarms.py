"""The alarm that comes before changes are lost."""

from __future__ import annotations

from fastetl.model import STREAM_KEEPS_SECONDS
from tests.template import read_template


def test_an_alarm_comes_long_before_the_stream_forgets() -> None:
    resources = read_template()["Resources"]
    (alarm,) = [
        resource["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::CloudWatch::Alarm" and resource["Properties"].get("MetricName") == "IteratorAge"
    ]
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "Ingest"}}]
    assert (alarm["Statistic"], alarm["ComparisonOperator"]) == ("Maximum", "GreaterThanThreshold")
    told_after = alarm["Threshold"] / 1000 + alarm["Period"] * alarm["EvaluationPeriods"]
    assert told_after < STREAM_KEEPS_SECONDS / 4
    assert alarm["AlarmActions"] == [{"Ref": "Alarms"}]
