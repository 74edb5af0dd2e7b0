"""What the template lets each role do, and which settings it hands over, against the code and against a table."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastetl.config.reading import ENVIRONMENT
from fastetl.lambdas.environment import CONFIG_VARIABLE, MAPPINGS_VARIABLE, TRACING_VARIABLE
from fastetl.lambdas.webhook import ADDRESS_VARIABLE
from tests.edge_calls import LEDGER
from tests.template import ROOT, alternatives, grants, read_template, render, resolve, roles, statements

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
    "head_bucket": {"s3:ListBucket"},
    "Put": {"dynamodb:PutItem"},
    "Update": {"dynamodb:UpdateItem"},
    "ConditionCheck": {"dynamodb:ConditionCheckItem"},
    "Delete": {"dynamodb:DeleteItem"},
    "batch_execute_statement": {"redshift-data:BatchExecuteStatement"},
    "execute_statement": {"redshift-data:ExecuteStatement"},
    "describe_statement": {"redshift-data:DescribeStatement"},
    "list_statements": {"redshift-data:ListStatements"},
    "get_statement_result": {"redshift-data:GetStatementResult"},
    "cancel_statement": {"redshift-data:CancelStatement"},
    "describe_stream": {"dynamodb:DescribeStream"},
    "get_event_source_mapping": {"lambda:GetEventSourceMapping"},
}
"""What each operation of the SDK, and each member of a transaction, needs (Service Authorization Reference)."""

CALLS: dict[str, dict[str, set[str] | None]] = {
    # The methods of the edges that each function's story uses.
    "IngestRole": {
        "s3": {"put", "_put_whole", "head", "delete"},
        "upload": {"run", "_send_part", "_complete", "_abort"},
        "ledger/files": {"register", "_put_together", "_read_one"},
        "ledger/batches": {"head"},
        "ledger/table": {"get"},
    },
    "BackfillRole": {
        "s3": {"put", "_put_whole", "head", "get", "download", "delete"},
        "upload": {"run", "_send_part", "_complete", "_abort"},
        "ledger/files": {"register", "_put_together", "_read_one"},
        "ledger/batches": {"head"},
        "ledger/table": {"get"},
        "ledger/backfills": {"read", "put_converted"},
    },
    "CoordinatorRole": {
        "s3": {"replace", "get", "list_keys", "restore", "_ask_for"},
        **{f"ledger/{part}": None for part in LEDGER},
        # It never reads the whole table: that would outlast its time.
        "ledger/table": {"get", "get_each", "update"},
        "redshift": {"submit", "describe", "find", "rows", "cancel"},
        "stream": None,
    },
    "WebhookRole": {},
}

LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
DYNAMODB_STREAM = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"}
KINESIS_STREAM = {
    "kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator",
    "kinesis:ListShards",
}  # fmt: skip
STREAM_NAMES = {"dynamodb:ListStreams", "kinesis:ListStreams"}
KEY = {"kms:Decrypt", "kms:GenerateDataKey"}
OWN_STATEMENTS = {
    "redshift-data:DescribeStatement", "redshift-data:GetStatementResult", "redshift-data:CancelStatement",
    "redshift-data:ListStatements",
}  # fmt: skip

BESIDE_THE_CODE = {
    # The event source mapping acts as the function.
    "IngestRole": LOGS | DYNAMODB_STREAM | KINESIS_STREAM | STREAM_NAMES | KEY,
    "BackfillRole": LOGS | KEY,
    "WebhookRole": LOGS,
    # The Data API asks for the database's credentials as its caller.
    "CoordinatorRole": LOGS | KEY | {
        "redshift-serverless:GetCredentials", "redshift:GetClusterCredentials",
        "redshift:GetClusterCredentialsWithIAM", "secretsmanager:GetSecretValue",
    },
}  # fmt: skip

REDSHIFT = "arn:${AWS::Partition}:redshift:${AWS::Region}:${AWS::AccountId}"
DATABASES = REDSHIFT + ":dbname:${Cluster}/"
SERVERLESS = "arn:${AWS::Partition}:redshift-serverless:${AWS::Region}:${AWS::AccountId}"
OBJECTS = "${Bucket.Arn}/${Prefix}"
EXECUTIONS = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:execution:${BackfillMap.Name}"
MAPPING = (
    "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:event-source-mapping:*"
    " if {'lambda:FunctionArn': {'GetAtt': 'Ingest.Arn'}}"
)
OWN = " if {'redshift-data:statement-owner-iam-userid': '${aws:userid}'}"

Allowed = dict[tuple[str, str], set[str]]

ALLOWED: dict[str, Allowed] = {
    # Under which of the template's conditions, on what: which actions.
    "IngestRole": {
        ("", "${IngestLog.Arn}"): LOGS,
        ("", "${StreamArn}"): DYNAMODB_STREAM | KINESIS_STREAM,
        ("", "*"): STREAM_NAMES,
        ("", OBJECTS + "data/*"): {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"},
        ("", OBJECTS + "rejects/*"): {"s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"},
        ("", OBJECTS + "layouts/*"): {"s3:PutObject", "s3:GetObject"},
        ("", OBJECTS + "references/*"): {"s3:GetObject"},
        ("", "${Bucket.Arn}/aws/lambda/*"): {"s3:PutObject"},
        ("ReadsElsewhere", "${ReadableArns}"): {"s3:GetObject"},
        ("", "${Bucket.Arn}"): {"s3:ListBucket"},
        ("", "${Ledger.Arn}"): {"dynamodb:PutItem", "dynamodb:GetItem"},
        ("HasSourceKeys", "${SourceKeyArns}"): {"kms:Decrypt"},
        ("HasReadableKeys", "${ReadableKeyArns}"): {"kms:Decrypt"},
        ("HasKey", "${KmsKeyArn}"): KEY,
    },
    "CoordinatorRole": {
        ("", "${CoordinatorLog.Arn}"): LOGS,
        ("", OBJECTS + "data/*"): {"s3:GetObject", "s3:RestoreObject"},
        ("", "${Bucket.Arn}"): {"s3:ListBucket"},
        ("", OBJECTS + "manifests/*"): {"s3:PutObject", "s3:GetObject"},
        ("", OBJECTS + "layouts/*"): {"s3:GetObject"},
        ("", "${Ledger.Arn}"): {
            "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem",
        },
        ("", "${Ledger.Arn}/index/pending"): {"dynamodb:Query"},
        ("", MAPPING): {"lambda:GetEventSourceMapping"},
        ("", "${StreamArn}"): {"dynamodb:DescribeStream"},
        ("HasWorkgroup HasWorkgroupArn", "${WorkgroupArn}"): {
            "redshift-data:BatchExecuteStatement", "redshift-serverless:GetCredentials",
        },
        ("HasWorkgroup !HasWorkgroupArn", SERVERLESS + ":workgroup/*"): {
            "redshift-data:BatchExecuteStatement", "redshift-serverless:GetCredentials",
        },
        ("!HasWorkgroup", REDSHIFT + ":cluster:${Cluster}"): {"redshift-data:BatchExecuteStatement"},
        ("", "*" + OWN): OWN_STATEMENTS,
        ("HasDatabaseUser", REDSHIFT + ":dbuser:${Cluster}/${DatabaseUser}"): {"redshift:GetClusterCredentials"},
        ("HasDatabaseUser HasDatabase", DATABASES + "${Database}"): {"redshift:GetClusterCredentials"},
        ("HasDatabaseUser !HasDatabase", DATABASES + "*"): {"redshift:GetClusterCredentials"},
        ("UsesClusterAsRole HasDatabase", DATABASES + "${Database}"): {"redshift:GetClusterCredentialsWithIAM"},
        ("UsesClusterAsRole !HasDatabase", DATABASES + "*"): {"redshift:GetClusterCredentialsWithIAM"},
        ("HasSecret", "${SecretArn}"): {"secretsmanager:GetSecretValue"},
        ("HasSecretKey", "${SecretKeyArn}"): {"kms:Decrypt"},
        ("HasKey", "${KmsKeyArn}"): KEY,
    },
    "BackfillRole": {
        ("", "${BackfillLog.Arn}"): LOGS,
        ("", OBJECTS + "data/*"): {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"},
        ("", OBJECTS + "rejects/*"): {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"},
        ("", OBJECTS + "layouts/*"): {"s3:PutObject"},
        ("", "${Bucket.Arn}/*"): {"s3:GetObject"},
        ("ReadsElsewhere", "${ReadableArns}"): {"s3:GetObject"},
        ("", "${Bucket.Arn}"): {"s3:ListBucket"},
        ("", "${Ledger.Arn}"): {"dynamodb:PutItem", "dynamodb:GetItem"},
        ("HasReadableKeys", "${ReadableKeyArns}"): {"kms:Decrypt"},
        ("HasKey", "${KmsKeyArn}"): KEY,
    },
    "WebhookRole": {("", "${WebhookLog.Arn}"): LOGS},
    "BackfillMapRole": {
        ("", "${Backfill.Arn}"): {"lambda:InvokeFunction"},
        ("", "${Bucket.Arn}/*"): {"s3:GetObject"},
        ("ReadsElsewhere", "${ReadableArns}"): {"s3:GetObject"},
        ("HasReadableKeys", "${ReadableKeyArns}"): {"kms:Decrypt"},
        ("HasKey", "${KmsKeyArn}"): {"kms:Decrypt"},
        ("", "${BackfillMap}"): {"states:StartExecution"},
        ("", EXECUTIONS + ":*"): {"states:DescribeExecution", "states:StopExecution"},
        ("", EXECUTIONS + "/*"): {"states:RedriveExecution"},
    },
    "CopyRole": {
        ("", OBJECTS + "data/*"): {"s3:GetObject"},
        ("", OBJECTS + "manifests/*"): {"s3:GetObject"},
        ("", OBJECTS + "check/*"): {"s3:GetObject"},
        ("", "${Bucket.Arn}"): {"s3:ListBucket"},
        ("HasKey", "${KmsKeyArn}"): {"kms:Decrypt"},
    },
}  # fmt: skip

MANAGED = {
    ("HasSubnets", "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"),
    ("Traces", "arn:${AWS::Partition}:iam::aws:policy/AWSXRayDaemonWriteAccess"),
}
TRUSTED = {
    "IngestRole": ["lambda.amazonaws.com"],
    "CoordinatorRole": ["lambda.amazonaws.com"],
    "BackfillRole": ["lambda.amazonaws.com"],
    "WebhookRole": ["lambda.amazonaws.com"],
    "BackfillMapRole": ["states.amazonaws.com"],
    "CopyRole": ["redshift.amazonaws.com", "redshift-serverless.amazonaws.com"],
}
CONDITIONS = {"BackfillMapRole": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}}
SETTINGS_BESIDE = {TRACING_VARIABLE, "POWERTOOLS_METRICS_NAMESPACE"}


# --- the comparisons -------------------------------------------------------------------------------------------------


def differs_from_code(template: Any) -> set[tuple[str, str]]:
    """Actions that a function's calls need and its role has not, or the other way round."""
    found = set()
    for role, calls in CALLS.items():
        operations = set().union(*(called(module, methods) for module, methods in calls.items()))
        needed = set().union(*(ACTIONS[operation] for operation in operations)) | BESIDE_THE_CODE[role]
        found |= {(role, action) for action in needed ^ {action for _, action, _ in grants(roles(template)[role])}}
    return found


def called(module: str, methods: set[str] | None) -> set[str]:
    """The operations that methods of a module name, as texts."""
    tree = ast.parse((ROOT / f"src/fastetl/aws/{module}.py").read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if methods is not None:
        assert methods <= {function.name for function in functions}
    return {
        str(node.value)
        for function in functions
        if methods is None or function.name in methods
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and node.value in ACTIONS
    }


def differs_from_table(template: Any) -> set[Any]:
    """Grants, managed policies and trusted services that are not in the tables, or are in them alone."""
    found: set[Any] = set()
    found |= {(name, "role") for name in roles(template).keys() ^ ALLOWED.keys()}
    for name, role in roles(template).items():
        allowed = ALLOWED.get(name, {})
        expected = {(when, action, resource) for (when, resource), actions in allowed.items() for action in actions}
        found |= {(name, *each) for each in expected ^ grants(role)}
        managed = {(" ".join(when), render(each)) for when, each in alternatives(role.get("ManagedPolicyArns", []))}
        found |= {(name, *each) for each in managed ^ (MANAGED if name in CALLS else set())}
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        if set(trust["Principal"]) != {"Service"} or _listed(trust["Principal"]["Service"]) != TRUSTED.get(name):
            found.add((name, "trust"))
        # Redshift documents none for the role that COPY takes, but for the database users that may take it.
        if trust.get("Condition") != CONDITIONS.get(name):
            found.add((name, "condition"))
    return found


def differs_in_settings(template: Any) -> set[str]:
    """Settings that the functions read and are not given, or are given and do not read."""
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    return set(variables) ^ (set(ENVIRONMENT.values()) | SETTINGS_BESIDE)


# --- the template as it is -------------------------------------------------------------------------------------------


def test_a_role_may_do_what_the_code_calls_and_nothing_besides() -> None:
    assert differs_from_code(read_template()) == set()


def test_every_role_may_do_what_the_table_says_where_it_says_so() -> None:
    assert differs_from_table(read_template()) == set()


def test_every_setting_that_the_code_reads_is_set() -> None:
    assert differs_in_settings(read_template()) == set()
    functions = [
        each["Properties"]
        for each in read_template()["Resources"].values()
        if each["Type"] == "AWS::Serverless::Function"
    ]
    # The webhook's address is for its own function alone.
    own = {each["Handler"]: set(each["Environment"]["Variables"]) for each in functions if "Environment" in each}
    assert own == {
        "fastetl.lambdas.webhook.handler": {ADDRESS_VARIABLE},
        "fastetl.lambdas.coordinator.handler": {MAPPINGS_VARIABLE},
    }


def test_no_other_variable_of_fastetls_is_read_in_a_function() -> None:
    beside = {"cli", "local", "tune"}
    everything = (ROOT / "src/fastetl").rglob("*.py")
    sources = [path for path in everything if path.relative_to(ROOT / "src/fastetl").parts[0] not in beside]
    constants = {
        node.value
        for source in sources
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    named = {text for text in constants if re.fullmatch(r"(FASTETL|POWERTOOLS)_[A-Z_]+", text)}
    # The package's own folder holds the configuration.
    assert named - {CONFIG_VARIABLE, MAPPINGS_VARIABLE} == set(ENVIRONMENT.values()) | SETTINGS_BESIDE


@pytest.mark.parametrize("module", ["s3", "upload", *(f"ledger/{part}" for part in LEDGER), "redshift", "stream"])
def test_every_operation_that_the_code_calls_is_known_here(module: str) -> None:
    tree = ast.parse((ROOT / f"src/fastetl/aws/{module}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    named = {
        call.args[0].value
        for call in calls
        if call.func.attr in {"call", "_call"} and call.args and isinstance(call.args[0], ast.Constant)
    }
    assert named
    # A transaction needs what its members need.
    assert named - {"transact_write_items"} <= set(ACTIONS)


# --- the template with one thing changed -----------------------------------------------------------------------------

Mutation = tuple[str, Callable[[Any], object]]


def mutations(template: Any) -> Iterator[Mutation]:
    """Every way to take one permission away, to add one, to widen a statement, or to drop its condition."""
    for name, role in roles(template).items():
        for n, (conditions, statement) in enumerate(statements(role)):
            what, actions = f"{name} {' '.join(conditions)} {statement['Sid']}", statement["Action"]
            if isinstance(actions, list) and len(actions) > 1:
                for action in actions:
                    kept = [each for each in actions if each != action]
                    yield f"{what} without {action}", _change(n, Action=kept)
            else:
                yield f"{what} does nothing", _change(n, Action=[])
            yield f"{what} may read secrets", _change(n, Action=[*_listed(actions), "secretsmanager:ListSecrets"])
            yield f"{what} anywhere", _change(n, Resource="everything")
            if "Condition" in statement:
                yield f"{what} of others", _change(n, Condition={})
        yield f"{name} may do everything", lambda role: role.setdefault("ManagedPolicyArns", []).append("Administrator")


def _listed(actions: Any) -> list[str]:
    return [actions] if isinstance(actions, str) else actions


def _change(number: int, **changes: Any) -> Callable[[Any], None]:
    def change(role: Any) -> None:
        list(statements(role))[number][1].update(changes)

    return change


def test_every_change_of_a_permission_is_noticed() -> None:
    template = read_template()
    found = list(mutations(template))
    assert len(found) > 100
    unnoticed = []
    for what, change in found:
        changed = copy.deepcopy(template)
        change(roles(changed)[what.split()[0]])
        if not differs_from_table(changed):
            unnoticed.append(what)
    assert unnoticed == []


@pytest.mark.parametrize(
    ("role", "action"),
    [
        ("CoordinatorRole", "redshift-serverless:GetCredentials"),
        ("CoordinatorRole", "redshift-data:CancelStatement"),
        ("IngestRole", "dynamodb:GetShardIterator"),
        ("IngestRole", "s3:AbortMultipartUpload"),
        ("BackfillRole", "kms:GenerateDataKey"),
    ],
)
def test_the_code_misses_an_action_that_is_taken_away_and_one_that_another_role_has(role: str, action: str) -> None:
    template = read_template()
    for _, statement in statements(roles(template)[role]):
        statement["Action"] = [each for each in _listed(statement["Action"]) if each != action]
    other = "BackfillRole" if role == "IngestRole" else "IngestRole"
    next(statements(roles(template)[other]))[1]["Action"].append("secretsmanager:GetSecretValue")
    assert differs_from_code(template) == {(role, action), (other, "secretsmanager:GetSecretValue")}


def test_a_setting_that_is_taken_away_or_added_is_noticed() -> None:
    for name in read_template()["Globals"]["Function"]["Environment"]["Variables"]:
        template = read_template()
        del template["Globals"]["Function"]["Environment"]["Variables"][name]
        assert differs_in_settings(template) == {name}
    template = read_template()
    template["Globals"]["Function"]["Environment"]["Variables"]["FASTETL_COLOUR"] = "blue"
    assert differs_in_settings(template) == {"FASTETL_COLOUR"}


def test_a_role_that_is_added_taken_away_or_trusts_others_is_noticed() -> None:
    template = read_template()
    template["Resources"]["Spare"] = copy.deepcopy(template["Resources"]["CopyRole"])
    assert ("Spare", "role") in differs_from_table(template)
    template = read_template()
    del template["Resources"]["CopyRole"]
    assert differs_from_table(template) == {("CopyRole", "role")}
    template = read_template()
    roles(template)["CopyRole"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] = {"AWS": "*"}
    assert differs_from_table(template) == {("CopyRole", "trust")}
    template = read_template()
    condition = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    roles(template)["CopyRole"]["AssumeRolePolicyDocument"]["Statement"][0]["Condition"] = condition
    assert differs_from_table(template) == {("CopyRole", "condition")}


# --- what parameters change ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "credentials"),
    [
        ({"Workgroup": "main"}, "redshift-serverless:GetCredentials"),
        ({"Cluster": "main", "DatabaseUser": "loader"}, "redshift:GetClusterCredentials"),
        ({"Cluster": "main"}, "redshift:GetClusterCredentialsWithIAM"),
        ({"Cluster": "main", "SecretArn": "arn:aws:secretsmanager:::x"}, "secretsmanager:GetSecretValue"),
    ],
)
def test_the_coordinator_may_get_credentials_whichever_way_the_warehouse_is_reached(
    parameters: dict[str, str], credentials: str
) -> None:
    template = resolve(read_template(), StreamArn="arn:aws:dynamodb:::x", **parameters)
    actions = {action for _, action, _ in grants(roles(template)["CoordinatorRole"])}
    ways = {
        "redshift-serverless:GetCredentials", "redshift:GetClusterCredentials",
        "redshift:GetClusterCredentialsWithIAM", "secretsmanager:GetSecretValue",
    }  # fmt: skip
    assert actions & ways == {credentials}
