"""The template against the code: settings, handlers, the ledger's schema, and what the roles may do."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from fastetl.cli.distribute import build_input
from fastetl.config_reading import ENVIRONMENT
from fastetl.export import DataFile, Export, write_files
from fastetl.ledger import TABLE_SCHEMA
from fastetl.model import Backfill

ROOT = Path(__file__).parent.parent


class Loader(yaml.SafeLoader):
    """CloudFormation's short forms as plain values."""


def _short_form(loader: Any, suffix: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: node.value}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    return {suffix: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _short_form)


@pytest.fixture(scope="module")
def template() -> Any:
    return yaml.load((ROOT / "template.yaml").read_text(), Loader)


def test_every_setting_that_the_code_reads_is_set_or_left_to_the_configuration(template: Any) -> None:
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    beside = {"FASTETL_TRACING", "POWERTOOLS_METRICS_NAMESPACE"}
    assert set(variables) == set(ENVIRONMENT.values()) - {"FASTETL_PREFIX"} | beside


def test_handlers_exist(template: Any) -> None:
    handlers = [
        resource["Properties"]["Handler"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Serverless::Function"
    ]
    assert len(handlers) == 3
    for handler in handlers:
        module, _, name = handler.rpartition(".")
        source = Path(str(importlib.util.find_spec(module).origin)).read_text()  # type: ignore[union-attr]
        assert name in {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


def test_the_ledger_is_the_codes(template: Any) -> None:
    properties = template["Resources"]["Ledger"]["Properties"]
    assert {name: properties[name] for name in TABLE_SCHEMA} == TABLE_SCHEMA


# --- permissions ------------------------------------------------------------------------------------------------------

ACTIONS = {
    "put_object": {"s3:PutObject"},
    "create_multipart_upload": {"s3:PutObject"},
    "upload_part": {"s3:PutObject"},
    "complete_multipart_upload": {"s3:PutObject"},
    "abort_multipart_upload": {"s3:AbortMultipartUpload"},
    "head_object": {"s3:GetObject", "s3:ListBucket"},
    "get_object": {"s3:GetObject"},
    "delete_object": {"s3:DeleteObject"},
    "restore_object": {"s3:RestoreObject"},
    "put_item": {"dynamodb:PutItem"},
    "get_item": {"dynamodb:GetItem"},
    "batch_get_item": {"dynamodb:BatchGetItem"},
    "update_item": {"dynamodb:UpdateItem"},
    "query": {"dynamodb:Query"},
    "scan": {"dynamodb:Scan"},
    "list_objects_v2": {"s3:ListBucket"},
    "Put": {"dynamodb:PutItem"},
    "Update": {"dynamodb:UpdateItem"},
    "ConditionCheck": {"dynamodb:ConditionCheckItem"},
    "Delete": {"dynamodb:DeleteItem"},
    "batch_execute_statement": {"redshift-data:BatchExecuteStatement"},
    "describe_statement": {"redshift-data:DescribeStatement"},
    "list_statements": {"redshift-data:ListStatements"},
    "get_statement_result": {"redshift-data:GetStatementResult"},
    "cancel_statement": {"redshift-data:CancelStatement"},
}
"""What each operation of the SDK, and each member of a transaction, needs (Service Authorization Reference)."""

BESIDE_THE_CODE = {
    "logs:CreateLogStream", "logs:PutLogEvents",
    # The event source mapping acts as the function.
    "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams",
    "kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator",
    "kinesis:ListShards", "kinesis:ListStreams",
    # The Data API asks for the database's credentials as its caller.
    "redshift-serverless:GetCredentials", "redshift:GetClusterCredentials", "secretsmanager:GetSecretValue",
    # Of the user's own key, if there is one.
    "kms:Decrypt", "kms:GenerateDataKey",
}  # fmt: skip

CALLS = {
    # The methods of the edges that each function's story uses.
    "IngestRole": {
        "s3": {"put", "_put_whole", "head", "delete", "run", "_send_part", "_complete", "_abort"},
        "ledger": {"register", "_file", "head", "_get"},
    },
    "BackfillRole": {
        "s3": {"put", "_put_whole", "head", "get", "download", "delete", "run", "_send_part", "_complete", "_abort"},
        "ledger": {"register", "_file", "head", "_get", "backfill", "put_converted"},
    },
    "CoordinatorRole": {"s3": {"replace", "get"}, "ledger": None, "redshift": None},
}


def granted(template: Any, role: str) -> set[str]:
    actions: set[str] = set()
    for policy in template["Resources"][role]["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            for plain in statement["If"][1:] if "If" in statement else [statement]:
                found = plain.get("Action", ()) if isinstance(plain, dict) else ()
                alternatives = found["If"][1:] if isinstance(found, dict) else [found]
                for each in alternatives:
                    actions |= {each} if isinstance(each, str) else set(each)
    return actions


def called(module: str, methods: set[str] | None) -> set[str]:
    """The operations that methods of a module name, as texts."""
    tree = ast.parse((ROOT / f"src/fastetl/{module}.py").read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if methods is not None:
        assert methods <= {function.name for function in functions}
    return {
        node.value
        for function in functions
        if methods is None or function.name in methods
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and node.value in ACTIONS
    }


@pytest.mark.parametrize("role", CALLS)
def test_a_role_may_do_what_the_code_calls_and_nothing_besides(template: Any, role: str) -> None:
    operations = set().union(*(called(module, methods) for module, methods in CALLS[role].items()))  # type: ignore[attr-defined]
    needed = set().union(*(ACTIONS[operation] for operation in operations))
    assert granted(template, role) - BESIDE_THE_CODE == needed


@pytest.mark.parametrize("module", ["s3", "ledger", "redshift"])
def test_every_operation_that_the_code_calls_is_known_here(module: str) -> None:
    tree = ast.parse((ROOT / f"src/fastetl/{module}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    named = {
        call.args[0].value
        for call in calls
        if call.func.attr in {"call", "_call"} and call.args and isinstance(call.args[0], ast.Constant)  # type: ignore[attr-defined]
    }
    assert named
    # A transaction needs what its members need.
    assert named - {"transact_write_items"} <= set(ACTIONS)


def test_nothing_may_be_reached_without_tls_nor_from_outside(template: Any) -> None:
    bucket = template["Resources"]["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    (statement,) = template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_every_metric_that_is_watched_or_shown_is_written(template: Any) -> None:
    resources = template["Resources"]
    expressions = [
        metric["Expression"]["Sub"]
        for resource in resources.values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
        for metric in resource["Properties"].get("Metrics", ())
    ]
    dashboard = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    for widget in dashboard["widgets"]:
        for metric in widget["properties"]["metrics"]:
            expressions += [metric[0]["expression"]] if isinstance(metric[0], dict) else []
    watched = {re.match(r"SELECT \w+\((\w+)\) FROM", expression)[1] for expression in expressions}  # type: ignore[index]
    written = set()
    for root in ("ingest", "coordinator"):
        tree = ast.parse((ROOT / f"src/fastetl/lambdas/{root}.py").read_text())
        written |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert watched
    assert watched <= written


# --- the state machine ------------------------------------------------------------------------------------------------


def test_the_state_machine_hands_every_data_file_to_the_function(template: Any) -> None:
    """Run the definition, as far as it goes, on what `fastetl backfill --distributed` starts it with."""
    definition = template["Resources"]["BackfillMap"]["Properties"]["Definition"]
    state = definition["States"][definition["StartAt"]]
    file = DataFile("AWSDynamoDB/1/data/a.json.gz", 3, "md5")
    export = Export("1", "arn:aws:dynamodb:us-east-1:1:table/t", "full", 0, 3, "AWSDynamoDB/1/manifest-files.json")
    backfill = Backfill("orders", 1, "s3://lake/AWSDynamoDB/1", "1", 0, 1, 3, 1)
    given = build_input(backfill, export)
    read = {name: given[path[2:]] for name, path in state["ItemReader"]["Parameters"].items()}
    assert read == {"Bucket.$": "lake", "Key.$": "AWSDynamoDB/1/manifest-files.json"}
    assert state["ItemReader"]["ReaderConfig"] == {"InputType": "JSONL"}
    (line,) = write_files([file]).splitlines()
    context = {"$$.Map.Item.Value": json.loads(line), "$.pipeline": given["pipeline"], "$.epoch": given["epoch"]}
    event = {name.removesuffix(".$"): context[path] for name, path in state["ItemSelector"].items()}
    converter = state["ItemProcessor"]["States"][state["ItemProcessor"]["StartAt"]]
    assert (converter["Resource"], converter["End"]) == ("${Function}", True)
    assert event == {"pipeline": "orders", "epoch": 1, "file": msgspec.to_builtins(file)}
