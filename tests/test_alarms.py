"""The alarms: one comes before changes are lost, and each asks what CloudWatch knows and can tell somebody."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from typing import Any

from fastetl.limits import STREAM_KEEPS_SECONDS
from tests.template import ROOT, read_template, render


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


# --- what CloudWatch documents ----------------------------------------------------------------------------------------

QUERY = re.compile(
    r"SELECT (?:AVG|COUNT|MAX|MIN|SUM)\((?P<metric>\w+)\)"
    r' FROM (?:"(?P<namespace>[^"]+)"|SCHEMA\("[^"]+"(?:, \w+)*\))'
    r"(?: WHERE \w+ !?= '[^']*'(?: AND \w+ !?= '[^']*')*)?"
    r"(?: GROUP BY \w+(?:, \w+)*)?(?: ORDER BY (?:AVG|COUNT|MAX|MIN|SUM)\(\)(?: ASC| DESC)?)?(?: LIMIT \d+)?"
)
"""CloudWatch User Guide, "Metrics Insights query components and syntax": conditions are joined by AND alone."""

OF_LAMBDA = {
    "FunctionName": {"Errors", "Throttles", "Duration", "IteratorAge", "DestinationDeliveryFailures"},
    "EventSourceMappingUUID": {"DroppedEventCount", "OnFailureDestinationDeliveredEventCount"},
}
"""Lambda Developer Guide, "Types of metrics for Lambda functions" and "Viewing metrics for Lambda functions"."""


def alarms(template: Any) -> dict[str, Any]:
    resources = template["Resources"].items()
    return {name: each["Properties"] for name, each in resources if each["Type"] == "AWS::CloudWatch::Alarm"}


def queries(alarm: Any) -> list[str]:
    """The queries of an alarm, as texts."""
    expressions = [metric["Expression"] for metric in alarm.get("Metrics", ()) if "Expression" in metric]
    return [render(each) for each in expressions]


def unheard_topics(template: Any) -> set[str]:
    """Alarms' topics whose key CloudWatch may not use: the one that AWS manages has a policy that nobody can change."""
    return {
        name
        for name, each in template["Resources"].items()
        if each["Type"] == "AWS::SNS::Topic" and "alias/aws/" in str(each.get("Properties", {}).get("KmsMasterKeyId"))
    }


def undocumented_queries(template: Any) -> set[str]:
    return {name for name, alarm in alarms(template).items() if not all(map(QUERY.fullmatch, queries(alarm)))}


def unknown_metrics(template: Any) -> set[str]:
    """Alarms on metrics of Lambda's that do not come with the dimensions that the alarm names, and no others."""
    found = set()
    for name, alarm in alarms(template).items():
        if "MetricName" not in alarm:
            continue
        dimensions = [dimension["Name"] for dimension in alarm["Dimensions"]]
        known = OF_LAMBDA.get(dimensions[0], set()) if len(dimensions) == 1 else set()
        if alarm["Namespace"] != "AWS/Lambda" or alarm["MetricName"] not in known:
            found.add(name)
    return found


def test_alarms_ask_only_what_cloudwatch_answers() -> None:
    template = read_template()
    assert undocumented_queries(template) == set()
    assert unknown_metrics(template) == set()
    assert unheard_topics(template) == set()
    assert all(alarm["AlarmActions"] == [{"Ref": "Alarms"}] for alarm in alarms(template).values())


def test_an_alarm_that_cloudwatch_refuses_or_that_nobody_hears_is_noticed() -> None:
    template = read_template()
    alarm = template["Resources"]["Paused"]["Properties"]
    alarm["Metrics"][0]["Expression"] = {"Sub": "SELECT MAX(Paused) FROM \"x\" WHERE a = 'b' OR a = 'c'"}
    template["Resources"]["Alarms"]["Properties"] = {"KmsMasterKeyId": "alias/aws/sns"}
    template["Resources"]["EventsDropped"]["Properties"]["Dimensions"][0]["Name"] = "FunctionName"
    template["Resources"]["IngestFails"]["Properties"]["MetricName"] = "Failures"
    assert undocumented_queries(template) == {"Paused"}
    assert unheard_topics(template) == {"Alarms"}
    assert unknown_metrics(template) == {"EventsDropped", "IngestFails"}


# --- what the functions say -------------------------------------------------------------------------------------------

EMIT = """
import json, sys
root = sys.argv[1]
if root == "ingest":
    from fastetl.lambdas import ingest
    from fastetl.ingest import Outcome
    ingest._report(Outcome("orders", "0" * 32, 0), as_dict=False)
else:
    from aws_lambda_powertools.metrics import MetricUnit
    from fastetl.lambdas import coordinator
    for name in json.loads(sys.argv[2]):
        coordinator._emit("orders", (name, MetricUnit.Count, 0))
"""


def emitted(root: str, *names: str) -> dict[str, set[str]]:
    """The metrics that a function writes, in the format that CloudWatch embeds in logs, each with its dimensions."""
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "AWS_DEFAULT_REGION": "us-east-1", "FASTETL_CONFIG": str(ROOT / "packaging/fastetl.toml"),
        "FASTETL_BUCKET": "bucket", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "local",
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "POWERTOOLS_METRICS_NAMESPACE": "stack",
    }  # fmt: skip
    command = [sys.executable, "-c", EMIT, root, json.dumps(names)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        for directive in json.loads(line).get("_aws", {}).get("CloudWatchMetrics", ()):
            assert directive["Namespace"] == "stack"
            (dimensions,) = directive["Dimensions"]
            found |= {metric["Name"]: set(dimensions) for metric in directive["Metrics"]}
    return found


def test_every_alarm_on_metrics_of_the_functions_hears_them_with_their_dimensions() -> None:
    """A query that names no dimension takes a metric with any; the dashboard groups by the pipeline."""
    template = read_template()
    matches = [QUERY.fullmatch(query) for alarm in alarms(template).values() for query in queries(alarm)]
    watched = {match["metric"]: match["namespace"] for match in matches if match}
    assert set(watched.values()) == {"${AWS::StackName}"}
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_METRICS_NAMESPACE"] == {"Ref": "AWS::StackName"}
    of_ingest = emitted("ingest")
    source = ast.parse((ROOT / "src/fastetl/lambdas/coordinator.py").read_text())
    texts = {node.value for node in ast.walk(source) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    of_coordinator = emitted("coordinator", *sorted((watched.keys() - of_ingest.keys()) & texts))
    assert {
        "NativeErrors",
        "NativeMissing",
        "EventsAsDict",
        "Rejects",
        "PossibleGap",
    } <= watched.keys() & of_ingest.keys()
    assert watched.keys() <= of_ingest.keys() | of_coordinator.keys()
    for name in watched:
        assert (of_ingest | of_coordinator)[name] == {"service", "pipeline"}, name
