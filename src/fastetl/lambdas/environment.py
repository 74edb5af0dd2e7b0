"""Find what the functions run with: the configuration and the deployments. Only this module reads `os.environ`.

`FASTETL_CONFIG` is the path of the configuration (default: `fastetl.toml` in the function's own folder);
`FASTETL_TRACING=true` asks for X-Ray; `FASTETL_MAPPINGS` names the mappings that feed ingest; what else the
configuration takes from the environment is listed in `config.reading.ENVIRONMENT`. Endpoints, credentials and the
region are the SDK's own variables.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastetl.aws import Deployment, build_deployment
from fastetl.config import Config, parse_usable_config
from fastetl.errors import ConfigError, Problem
from fastetl.limits import MEMORY_MB_PER_CPU

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

ENVIRON: Mapping[str, str] = os.environ
"""Where enrichments find the secrets that the configuration names."""

TASK_ROOT = Path(os.environ.get("LAMBDA_TASK_ROOT", ""))
"""The function's own folder; relative paths begin there."""

CONFIG_VARIABLE = "FASTETL_CONFIG"
TRACING_VARIABLE = "FASTETL_TRACING"

MAPPINGS_VARIABLE = "FASTETL_MAPPINGS"
MAPPINGS = tuple(uuid for uuid in os.environ.get(MAPPINGS_VARIABLE, "").split(",") if uuid)
"""UUIDs of the event source mappings that feed ingest; the coordinator looks after them."""

METRICS_NAMESPACE = os.environ.get("POWERTOOLS_METRICS_NAMESPACE") or "fastetl"
"""The namespace of every metric; the template sets it to the stack's name."""


def limit_threads(environ: MutableMapping[str, str] = os.environ) -> None:
    """Have Polars start one thread for each processor that the function's memory buys, unless told otherwise.

    By itself it starts one for each processor that it sees, and Lambda shows two or more however small the function's
    share of them is. Polars reads the variable when it is imported.
    """
    memory_mb = int(environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE") or MEMORY_MB_PER_CPU)
    environ.setdefault("POLARS_MAX_THREADS", str(max(1, memory_mb // MEMORY_MB_PER_CPU)))


def read_config(environ: Mapping[str, str] = os.environ) -> tuple[Config, tuple[Problem, ...]]:
    """Find and read the configuration: the pipelines that can be set up, and the problems of the others.

    Raises:
        ConfigError: there is none, or no pipeline can be set up.
    """
    path = Path(environ.get(CONFIG_VARIABLE) or TASK_ROOT / "fastetl.toml")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(str(path), f"cannot be read: {error}", f"Add it, or set {CONFIG_VARIABLE}")
        raise ConfigError((problem,)) from error
    return parse_usable_config(text, environ)


def build_deployments(config: Config, clients: Mapping[str, Any]) -> dict[str, Deployment]:
    """Build the deployment of every pipeline, by name, from the AWS clients that are open."""
    return {
        pipeline.name: build_deployment(config, pipeline, clients, clock=time.time, new_name=lambda: uuid.uuid4().hex)
        for pipeline in config.pipelines
    }


def trace(handler: Callable[..., Any], environ: Mapping[str, str] = os.environ) -> Callable[..., Any]:
    """Wrap a handler in an X-Ray subsegment where tracing is asked for; never with what it is given or returns."""
    if environ.get(TRACING_VARIABLE) != "true":
        return handler
    from aws_lambda_powertools import Tracer  # noqa: PLC0415 - brings in the X-Ray SDK, which few deployments need

    tracer = Tracer(service="fastetl", auto_patch=False)
    traced: Callable[..., Any] = tracer.capture_lambda_handler(handler, capture_response=False, capture_error=False)
    return traced
