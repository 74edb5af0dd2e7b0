"""What one would configure of a function on Lambda."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class FunctionSettings(msgspec.Struct, frozen=True):
    """What one would configure on Lambda."""

    name: str
    handler: str
    """`package.module.function`."""
    environment: Mapping[str, str] = {}
    """All that the process sees, beside what Lambda itself sets."""
    memory_mb: int = 1769
    """Reported, not enforced; `wrapper` can."""
    timeout_seconds: float = 60.0
    concurrency: int = 10
    """Environments at most; further invocations wait for one."""
    wrapper: tuple[str, ...] = ()
    """A command that runs the interpreter given as its arguments, as `AWS_LAMBDA_EXEC_WRAPPER` does on Lambda; for
    limits: `("prlimit", "--as=1000000000")`, `("taskset", "--cpu-list", "0")`."""

    @property
    def arn(self) -> str:
        """The function's, in the account and region that moto uses by default."""
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}"
