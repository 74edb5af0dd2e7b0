"""`fastetl outputs`: what a deployed stack says of itself, as the variables that the other commands read."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from typing import Annotated

import typer

from fastetl.aws import Stack, open_clients
from fastetl.cli.output import problems
from fastetl.errors import ConfigError, Problem, StackError

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
    for name, value in variables(*asyncio.run(describe(stack))).items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    problems.print(f'For this terminal: eval "$(fastetl outputs {stack})"', style="dim", markup=False, highlight=False)


async def describe(stack: str) -> tuple[dict[str, str], dict[str, str]]:
    """Ask CloudFormation for a stack's parameters and outputs.

    Raises:
        ConfigError: there is no such stack in this account and region, or it may not be seen.
    """
    try:
        (client,) = await open_clients("cloudformation")
        async with client:
            return await Stack(client, stack).describe()
    except StackError as error:
        remedy = "Look at the name, the region and the credentials"
        raise ConfigError((Problem(stack, f"no stack that can be seen: {error}", remedy),)) from error


def variables(parameters: Mapping[str, str], outputs: Mapping[str, str]) -> dict[str, str]:
    """Name what a stack says as environment variables; what it leaves empty has none."""
    found: dict[str, str] = {}
    for values, names in ((parameters, PARAMETERS), (outputs, OUTPUTS)):
        for key, value in values.items():
            if value and key in names:
                found[names[key]] = value
    return found
