"""Explain why a command failed: one line for each problem, with what, where, and what to do.

`--json` writes the same to standard output, as `{"problems": [{"place", "message", "remedy"}]}`; `--debug` shows the
traceback as well.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from fastetl.errors import ConfigError, FastetlError, Problem, WarehouseError

_CREDENTIALS = "Look at AWS_PROFILE and the AWS_… variables; `aws sts get-caller-identity` shows who calls"
_PERMISSION = "Give the caller this permission; `aws sts get-caller-identity` shows who calls"
_ADDRESS = "Look at the region, at AWS_ENDPOINT_URL, and whether this machine reaches that address"
_NAME = "Look at the name, the account and the region, and whether the stack is deployed"

_REMEDIES = {
    "NoRegionError": "Set AWS_DEFAULT_REGION, or `region` in fastetl.toml",
    "NoCredentialsError": f"Log in to AWS. {_CREDENTIALS}",
    "PartialCredentialsError": _CREDENTIALS,
    "CredentialRetrievalError": _CREDENTIALS,
    "ProfileNotFound": "Look at AWS_PROFILE and ~/.aws/config",
    "UnauthorizedSSOTokenError": "Log in again: aws sso login",
    "SSOTokenLoadError": "Log in again: aws sso login",
    "TokenRetrievalError": "Log in again: aws sso login",
    "EndpointConnectionError": _ADDRESS,
    "ConnectTimeoutError": _ADDRESS,
    "ConnectionClosedError": _ADDRESS,
    "ReadTimeoutError": _ADDRESS,
    "ProxyConnectionError": _ADDRESS,
    "HTTPClientError": _ADDRESS,
    "SSLError": _ADDRESS,
    "AccessDenied": _PERMISSION,
    "AccessDeniedException": _PERMISSION,
    "AuthorizationError": _PERMISSION,
    "UnauthorizedOperation": _PERMISSION,
    "403": _PERMISSION,
    "Forbidden": _PERMISSION,
    "ExpiredToken": "Log in to AWS again",
    "ExpiredTokenException": "Log in to AWS again",
    "InvalidAccessKeyId": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "UnrecognizedClientException": _CREDENTIALS,
    "NoSuchBucket": _NAME,
    "ResourceNotFoundException": _NAME,
    "404": _NAME,
    "BotoCoreError": "Look at the AWS_... variables and at ~/.aws/config",
}
"""By the SDK's error class or AWS's error code. Sources: botocore.exceptions; "Common errors" of each API reference."""


_MISSING = re.compile(r"does not (exist|have a column)", re.IGNORECASE)
_LACKING = "`fastetl ddl --apply` creates tables, and `fastetl schema diff` shows the columns that they lack"


def report(error: Exception, *, debug: bool, as_json: bool) -> int:
    """Write what failed; give the exit code."""
    if debug:
        traceback.print_exception(error)
    problems = list(find_problems(error))
    for problem in problems:
        click.secho(write(problem), err=True, fg="red")
    if as_json:
        click.echo(msgspec.json.encode({"problems": problems}).decode())
    return 2 if isinstance(error, ConfigError) else getattr(error, "exit_code", 1)


def write(problem: Problem) -> str:
    """Write a problem as one line."""
    what = f"{problem.place}: {problem.message}" if problem.place else problem.message
    sentences = (text.strip() for text in (what, problem.remedy))
    return " ".join(" ".join(text.split()) + "." * (text[-1] not in ".?!…") for text in sentences if text)


def find_problems(error: BaseException) -> Iterator[Problem]:
    """Say in words what an exception means to the user who typed the command."""
    match error:
        case ConfigError():
            yield from error.problems
        case BaseExceptionGroup():
            for each in error.exceptions:
                yield from find_problems(each)
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "fastetl"
            yield Problem(path, error.format_message(), f"`{path} --help` shows what it takes")
        case click.ClickException():
            yield Problem("", error.format_message(), "")
        case FastetlError():
            yield _explain(error)
        case OSError() if error.filename or error.strerror:
            yield Problem(str(error.filename or ""), error.strerror or str(error), "")
        case _ if remedy := find_remedy(error):
            yield Problem("", str(error), remedy)
        case OSError():
            yield Problem("", str(error) or "no answer came in time", "Try again")
        case _:
            yield Problem(
                "", f"a defect of fastetl: {_public_name(error)} at {_place(error)}",
                "Run the command again with --debug, and report what it shows",
            )  # fmt: skip


def _explain(error: FastetlError) -> Problem:
    """Say what an error of fastetl's own means; where the warehouse refused a statement, also what is lacking there."""
    if not isinstance(error, WarehouseError) or not error.step:
        return Problem("", str(error), find_remedy(error))
    from fastetl.load import explain

    remedy = find_remedy(error) or (_LACKING if _MISSING.search(str(error)) else "")
    return Problem("", explain(error.step, str(error)), remedy)


def find_remedy(error: BaseException | None) -> str:
    """Find what mends an error of AWS, in an exception and what caused it; empty where nothing is known."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
        names = (code, *(kind.__name__ for kind in type(error).__mro__))
        if remedy := next((_REMEDIES[name] for name in names if name in _REMEDIES), ""):
            return remedy
        error = error.__cause__ or error.__context__
    return ""


def _public_name(error: BaseException) -> str:
    return next(kind.__name__ for kind in type(error).__mro__ if not kind.__name__.startswith("_"))


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if "fastetl" in frame.filename), frames[-1] if frames else None)
    return f"{last.filename.rpartition('fastetl/')[2]}:{last.lineno}" if last else "an unknown place"
