"""The names and credentials of the stack, and the environment of its functions."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from fastetl.config import Config
from fastetl.errors import ConfigError, Problem
from fastetl.local.warehouse import ACCOUNT, Caller

REGION = "us-east-1"
BUCKET, LEDGER_TABLE, WORKGROUP = "fastetl-local", "fastetl-ledger", "local"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": REGION}
COORDINATOR = Caller(
    f"arn:aws:sts::{ACCOUNT}:assumed-role/local-CoordinatorRole/local-Coordinator",
    "IAMR:local-CoordinatorRole",
    session_only=True,
)
"""The caller that the coordinator is to the Data API: a role with the rights that `fastetl ddl` grants."""
COORDINATOR_KEY = "coordinator"
"""Its access key, by which the warehouse knows it."""
SDK_CREDENTIALS: Any = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": REGION}


def inherited_variables() -> dict[str, str]:
    """Give what a process needs of this one's environment, without the AWS settings of its user."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}


def root_variables(root: Path | None) -> dict[str, str]:
    """Name the folder in which the functions look for modules and files, as if it were their package.

    Args:
        root: the folder; None for this one's modules alone.
    """
    if root is None:
        return {}
    folder = str(root.absolute())
    python_path = os.pathsep.join([folder, *(path for path in sys.path if path)])
    return {"LAMBDA_TASK_ROOT": folder, "PYTHONPATH": python_path}


def named_variables(config: Config, variables: dict[str, str]) -> dict[str, str]:
    """Give the environment variables that the configuration names, as this process has them.

    Args:
        config: of the stack.
        variables: that the stack is given besides.

    Raises:
        ConfigError: one is not set.
    """
    found = {**os.environ, **variables}
    named = {name: pipeline.name for pipeline in config.pipelines for name in pipeline.variables}
    if missing := [name for name in named if not found.get(name)]:
        raise ConfigError(
            tuple(
                Problem(f"pipeline {named[name]}", f"{name} is not set", f"Set it: export {name}=...")
                for name in missing
            )
        )
    return {name: found[name] for name in named}
