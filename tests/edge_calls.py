"""Sees to it that every call to AWS which the code writes down is made somewhere in the suite, over HTTP.

A call is an edge's module, the method that makes it, and the operation: failure paths have their own. A whole run in
which one was never made fails; so does one in which an operation was made that the code does not write down as such.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastetl.aws.function_log import FunctionLog
from fastetl.aws.ledger.table import LedgerTable
from fastetl.aws.redshift import Warehouse
from fastetl.aws.s3 import Bucket
from fastetl.aws.source import SourceTable
from fastetl.aws.stack import Stack
from fastetl.aws.state_machine import StateMachine
from fastetl.aws.stream import StreamWatch

LEDGER = ("table", "pending", "files", "batches", "backfills", "written_columns", "ingest_errors", "watermarks")
EDGES = {
    "s3": (Bucket, "call"),
    "upload": (Bucket, "call"),
    **{f"ledger/{part}": (LedgerTable, "call") for part in LEDGER},
    "redshift": (Warehouse, "_call"),
    "source": (SourceTable, "_call"),
    "function_log": (FunctionLog, "_call"),
    "stack": (Stack, "_call"),
    "state_machine": (StateMachine, "_call"),
    "stream": (StreamWatch, "_call"),
}

Call = tuple[str, str, str]

_KEY = "edge_calls"
_seen: set[Call] = set()
_missing: list[Call] = []


def written() -> set[Call]:
    """Every call that the edges write down: module, method, operation."""
    found: set[Call] = set()
    for module, (_, method) in EDGES.items():
        tree = ast.parse((Path(__file__).parent.parent / f"src/fastetl/aws/{module}.py").read_text())
        for name, call in _calls(tree, ""):
            if call.func.attr == method:
                operation = call.args[0]
                assert isinstance(operation, ast.Constant), f"{module}.{name}: name the operation"
                found.add((module, name, str(operation.value)))
    return found


def _calls(node: ast.AST, function: str) -> Iterator[tuple[str, Any]]:
    """Every call of a method below a node, with the innermost function that it stands in."""
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, ast.AsyncFunctionDef | ast.FunctionDef) else function
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
            yield inner, child
        yield from _calls(child, inner)


def pytest_configure(config: pytest.Config) -> None:
    """Watch the methods through which all calls go."""
    for edge, method in set(EDGES.values()):
        _watch(edge, method)


def _watch(edge: Any, method: str) -> None:
    original = getattr(edge, method)

    @functools.wraps(original)
    def call(self: Any, operation: str, *more: Any, **arguments: Any) -> Any:
        # The simulation's services are not reached over HTTP.
        if type(self._client).__module__.startswith("aiobotocore"):
            caller = sys._getframe(1)
            module = caller.f_globals["__name__"].removeprefix("fastetl.aws.").replace(".", "/")
            _seen.add((module, caller.f_code.co_name, operation))
        return original(self, operation, *more, **arguments)

    setattr(edge, method, call)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Collect what a worker has seen."""
    _seen.update(tuple(call) for call in getattr(node, "workeroutput", {}).get(_KEY, ()))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Hand over what was seen; or compare, at the end of a whole run that has passed."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_KEY] = sorted(_seen)
        return
    options = session.config.option
    whole = not (options.keyword or options.markexpr or getattr(options, "lf", False)) and session.config.args == [
        "tests"
    ]
    if whole and exitstatus == pytest.ExitCode.OK:
        _missing.extend(sorted(written() ^ _seen))
        if _missing:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name what is missing."""
    for call in _missing:
        what = "was never made over HTTP" if call in written() else "is not written down as such"
        terminalreporter.write_line(f"the call {'.'.join(call)} {what}", red=True)
