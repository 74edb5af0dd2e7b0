"""`fastetl outputs`: what a deployed stack says of itself, as the variables that the other commands read."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from fastetl.cli.output import problems
from fastetl.errors import ConfigError, Problem

PARAMETERS = {
    "Prefix": "FASTETL_PREFIX",
    "Workgroup": "FASTETL_REDSHIFT_WORKGROUP",
    "Cluster": "FASTETL_REDSHIFT_CLUSTER",
    "DatabaseUser": "FASTETL_REDSHIFT_DB_USER",
    "Database": "FASTETL_REDSHIFT_DATABASE",
    "SecretArn": "FASTETL_REDSHIFT_SECRET_ARN",
    "CopyRoleArn": "FASTETL_REDSHIFT_IAM_ROLE",
}
OUTPUTS = {
    "BucketName": "FASTETL_BUCKET",
    "LedgerTable": "FASTETL_LEDGER_TABLE",
    "CopyRoleOfThisStack": "FASTETL_REDSHIFT_IAM_ROLE",
}
"""Of `template.yaml`, and the variables that they become; an output wins over a parameter."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(outputs)


def outputs(stack: Annotated[str, typer.Argument(help="The name that `make deploy` asked for.")]) -> None:
    """Print a stack's bucket, ledger and warehouse as variables that the other commands read."""
    for name, value in variables(describe(stack)).items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    problems.print(f'For this terminal: eval "$(fastetl outputs {stack})"', style="dim", markup=False, highlight=False)


def describe(stack: str) -> dict[str, Any]:
    """Ask CloudFormation.

    Raises:
        ConfigError: there is no such stack in this account and region, or it may not be seen.
    """
    import boto3  # noqa: PLC0415 - slow to import
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        answer = boto3.client("cloudformation").describe_stacks(StackName=stack)
    except (ClientError, BotoCoreError) as error:
        remedy = "Look at the name, the region and the credentials"
        raise ConfigError((Problem(stack, f"no stack that can be seen: {error}", remedy),)) from error
    described: dict[str, Any] = answer["Stacks"][0]
    return described


def variables(described: dict[str, Any]) -> dict[str, str]:
    """Name what a stack says; what it leaves empty has no variable."""
    found: dict[str, str] = {}
    for kind, names in (("Parameter", PARAMETERS), ("Output", OUTPUTS)):
        for each in described.get(f"{kind}s", []):
            variable, value = names.get(each[f"{kind}Key"]), each[f"{kind}Value"]
            if variable and value:
                found[variable] = value
    return found
