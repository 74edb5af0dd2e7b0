"""`fastetl outputs`: what a deployed stack says of itself, as the variables that the other commands read."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping

import click

from fastetl.cli.options import command
from fastetl.cli.output import echo_json, tell

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
    "LoadUser": "FASTETL_REDSHIFT_LOAD_USER",
    "CopyRoleOfThisStack": "FASTETL_REDSHIFT_IAM_ROLE",
}
"""Of `template.yaml`, and the variables that they become; an output wins over a parameter."""


@command("outputs")
@click.argument("stack")
def outputs(stack: str, *, as_json: bool) -> None:
    """STACK is the name that `make deploy` asked for. For this terminal: eval "$(fastetl outputs STACK)"."""
    found = variables(*asyncio.run(describe(stack)))
    if as_json:
        echo_json(found)
        return
    for name, value in found.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    tell(f'For this terminal: eval "$(fastetl outputs {stack})"')


async def describe(stack: str) -> tuple[dict[str, str], dict[str, str]]:
    """Ask CloudFormation for a stack's parameters and outputs.

    Raises:
        ConfigError: this account and region have no stack of this name, or the caller may not see it.
    """
    from fastetl.aws import Stack, open_clients
    from fastetl.errors import ConfigError, Problem, StackError

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
