"""`template.yaml` as a test reads it."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """CloudFormation's short forms as plain values: `!Ref X` is `{"Ref": "X"}`."""


def _short_form(loader: Any, suffix: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: node.value}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)

NO_VALUE = {"Ref": "AWS::NoValue"}


@functools.cache
def _read() -> Any:
    return parse_template((ROOT / "template.yaml").read_text())


def parse_template(text: str) -> Any:
    """Parse a template's text."""
    return yaml.load(text, _Loader)


def read_template() -> Any:
    """Give a copy of its own, which may be changed."""
    return copy.deepcopy(_read())


def alternatives(value: Any, conditions: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that a list or a choice can come to, with the conditions for it; `!X` says that X does not hold."""
    if isinstance(value, list):
        for each in value:
            yield from alternatives(each, conditions)
    elif isinstance(value, dict) and "If" in value:
        condition, holds, else_ = value["If"]
        yield from alternatives(holds, (*conditions, condition))
        yield from alternatives(else_, (*conditions, f"!{condition}"))
    elif value != NO_VALUE:
        yield conditions, value


def render(value: Any) -> str:
    """A resource's name as a text: `${X}` for what is known when the stack is made."""
    match value:
        case {"Ref": name} | {"GetAtt": name}:
            return f"${{{name}}}"
        case {"Sub": str(text)}:
            return str(text)
    return str(value)


def roles(template: Any) -> dict[str, Any]:
    """The properties of every role, with the policies that are attached to it from outside among its own."""
    resources = template["Resources"]
    found = {name: each["Properties"] for name, each in resources.items() if each["Type"] == "AWS::IAM::Role"}
    for policy in (each["Properties"] for each in resources.values() if each["Type"] == "AWS::IAM::Policy"):
        for role in policy["Roles"]:
            if policy not in found[role["Ref"]]["Policies"]:
                found[role["Ref"]]["Policies"].append(policy)
    return found


def statements(role: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every statement of a role's policies, with the conditions under which it is there."""
    for policy in role["Policies"]:
        yield from alternatives(policy["PolicyDocument"]["Statement"])


def grants(role: Any) -> set[tuple[str, str, str]]:
    """What a role may do: conditions, action, resource; an IAM condition follows the resource."""
    found = set()
    for conditions, statement in statements(role):
        assert statement["Effect"] == "Allow"
        only = "".join(f" if {each}" for each in statement.get("Condition", {}).values())
        for of_action, action in alternatives(statement["Action"], conditions):
            for of_resource, resource in alternatives(statement["Resource"], of_action):
                found.add((" ".join(of_resource), action, render(resource) + only))
    return found


def watched_metrics(template: Any) -> set[str]:
    """Those of fastetl's own metrics that an alarm watches or the dashboard shows."""
    resources = template["Resources"]
    alarms = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    queries = [metric["Expression"]["Sub"] for alarm in alarms for metric in alarm.get("Metrics", ())]
    dashboard = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    for widget in dashboard["widgets"]:
        metrics = widget["properties"]["metrics"]
        queries += [metric[0]["expression"] for metric in metrics if isinstance(metric[0], dict)]
    matches = [re.match(r'SELECT \w+\((\w+)\) FROM "\$\{AWS::StackName\}"', str(query)) for query in queries]
    return {match[1] for match in matches if match}


def resolve(template: Any, **parameters: Any) -> Any:
    """The template with its choices made, as CloudFormation makes them for these parameters."""
    values = {name: each.get("Default", "") for name, each in template["Parameters"].items()} | parameters
    return _choose(template, {name: _holds(each, template, values) for name, each in template["Conditions"].items()})


def _holds(condition: Any, template: Any, values: dict[str, Any]) -> bool:
    match condition:
        case {"Equals": [one, other]}:
            return _text(one, values) == _text(other, values)
        case {"Not": [inner]}:
            return not _holds(inner, template, values)
        case {"And": inner}:
            return all(_holds(each, template, values) for each in inner)
        case {"Or": inner}:
            return any(_holds(each, template, values) for each in inner)
        case {"Condition": name}:
            return _holds(template["Conditions"][name], template, values)
    raise NotImplementedError(condition)


def _text(value: Any, values: dict[str, Any]) -> str:
    match value:
        case {"Ref": name}:
            return str(values[name])
        case {"Join": ["", inner]}:
            return _text(inner, values)
    return str(value)


def _choose(value: Any, holding: dict[str, bool]) -> Any:
    match value:
        case {"If": [condition, holds, else_]}:
            return _choose(holds if holding[condition] else else_, holding)
        case dict():
            chosen = {name: _choose(each, holding) for name, each in value.items()}
            return {name: each for name, each in chosen.items() if each != NO_VALUE}
        case list():
            return [chosen for each in value if (chosen := _choose(each, holding)) != NO_VALUE]
    return value
