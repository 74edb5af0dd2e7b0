"""The command in the tests' own process: what it prints and its exit code, without the second that a process takes."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from pathlib import Path
from unittest.mock import patch

import msgspec

from fastetl.cli import app


class Done(msgspec.Struct, frozen=True):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: object, cwd: Path | None = None, **environment: str) -> Done:
    """Run the command in this process, as `run` does in another."""
    out, err = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    with (
        patch.object(sys, "argv", ["fastetl", *map(str, arguments)]),
        patch.dict(os.environ, {"COLUMNS": "200", **environment}),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            app()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            signal.signal(signal.SIGTERM, handler)
    return Done(code, out.getvalue(), err.getvalue())
