"""What a stack says of itself, as the command line's variables."""

from __future__ import annotations

import json
import shlex
from typing import Any

import boto3

from fastetl.cli.outputs import OUTPUTS, PARAMETERS
from fastetl.config.reading import ENVIRONMENT
from tests.cli.in_process import call
from tests.conftest import CREDENTIALS
from tests.template import alternatives, read_template

VARIABLES = {
    "AWS_ACCESS_KEY_ID": CREDENTIALS["aws_access_key_id"],
    "AWS_SECRET_ACCESS_KEY": CREDENTIALS["aws_secret_access_key"],
    "AWS_DEFAULT_REGION": CREDENTIALS["region_name"],
}


def create_stack(moto_url: str, name: str, **parameters: str) -> None:
    """A stack that has the template's parameters and outputs, and little else."""
    template: dict[str, Any] = {
        "Parameters": {each: {"Type": "String", "Default": ""} for each in PARAMETERS},
        "Resources": {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"bucket-of-{name}"}}},
        "Outputs": {
            "BucketName": {"Value": {"Ref": "Bucket"}},
            "LedgerTable": {"Value": f"ledger-of-{name}"},
            "AlarmTopic": {"Value": "arn:aws:sns:us-east-1:123456789012:alarms"},
        },
    }
    if parameters.get("CopyRoleArn") == "create":
        template["Outputs"]["CopyRoleOfThisStack"] = {"Value": "arn:aws:iam::123456789012:role/copy"}
    client = boto3.client("cloudformation", endpoint_url=moto_url, **CREDENTIALS)
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    client.create_stack(StackName=name, TemplateBody=json.dumps(template), Parameters=given)


def exported(text: str) -> dict[str, str]:
    words = [shlex.split(line) for line in text.splitlines()]
    assert {tuple(line[:-1]) for line in words} == {("export",)}
    return dict(line[1].split("=", 1) for line in words)


def test_a_stack_says_where_everything_is(moto_url: str) -> None:
    create_stack(moto_url, "lake", Workgroup="main", Database="it's", CopyRoleArn="create", Prefix="etl/")
    done = call("outputs", "lake", **VARIABLES, AWS_ENDPOINT_URL=moto_url)
    assert done.returncode == 0, done.stderr
    assert exported(done.stdout) == {
        "FASTETL_BUCKET": "bucket-of-lake",
        "FASTETL_LEDGER_TABLE": "ledger-of-lake",
        "FASTETL_PREFIX": "etl/",
        "FASTETL_REDSHIFT_WORKGROUP": "main",
        "FASTETL_REDSHIFT_DATABASE": "it's",
        "FASTETL_REDSHIFT_IAM_ROLE": "arn:aws:iam::123456789012:role/copy",
    }


def test_a_stack_that_is_not_there_is_a_problem(moto_url: str) -> None:
    done = call("outputs", "nowhere", **VARIABLES, AWS_ENDPOINT_URL=moto_url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere: no stack that can be seen" in done.stderr


def test_the_command_line_reads_what_the_functions_are_given() -> None:
    template = read_template()
    given = template["Globals"]["Function"]["Environment"]["Variables"]
    named = {
        "Bucket": "BucketName",
        "Ledger": "LedgerTable",
        "CopyRole.Arn": "CopyRoleOfThisStack",
        "IAMR:${CoordinatorRole}": "LoadUser",
    }
    expected = {
        (named.get(name, name), variable)
        for variable in ENVIRONMENT.values()
        for _, reference in alternatives(given[variable])
        if reference
        for name in reference.values()
    }
    assert {*PARAMETERS.items(), *OUTPUTS.items()} == expected
    assert PARAMETERS.keys() <= template["Parameters"].keys()
    assert {name: template["Outputs"][name]["Value"] for name in OUTPUTS} == {
        "BucketName": {"Ref": "Bucket"},
        "LedgerTable": {"Ref": "Ledger"},
        "CopyRoleOfThisStack": {"GetAtt": "CopyRole.Arn"},
        "LoadUser": {"Sub": "IAMR:${CoordinatorRole}"},
    }
