"""What the functions take from their environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastetl.errors import ConfigError
from fastetl.lambdas.environment import limit_threads, read_config, trace


@pytest.mark.parametrize(
    ("memory", "threads"),
    [("", "1"), ("128", "1"), ("1768", "1"), ("1769", "1"), ("3537", "1"), ("3538", "2"), ("10240", "5")],
)
def test_polars_has_a_thread_for_each_processor_that_the_memory_buys(memory: str, threads: str) -> None:
    environ = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory} if memory else {}
    limit_threads(environ)
    assert environ["POLARS_MAX_THREADS"] == threads
    told = {"POLARS_MAX_THREADS": "7", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory}
    limit_threads(told)
    assert told["POLARS_MAX_THREADS"] == "7"


def test_the_configuration_is_where_the_variable_says(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    with pytest.raises(ConfigError, match=r"other\.toml.*FASTETL_CONFIG") as raised:
        read_config({"FASTETL_CONFIG": str(path)})
    assert len(raised.value.problems) == 1
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config({"FASTETL_CONFIG": str(path)})


def test_a_handler_is_traced_where_it_is_asked_for() -> None:
    def handler(event: object, context: object) -> object:
        return event

    for environ in ({}, {"FASTETL_TRACING": ""}, {"FASTETL_TRACING": "false"}, {"FASTETL_TRACING": "TRUE"}):
        assert trace(handler, environ) is handler
