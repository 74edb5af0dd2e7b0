"""Find the warnings and errors in a function's log, and write each as a sentence."""

from __future__ import annotations

import linecache
import re
from typing import Any

import orjson

LEVELS = {"WARNING", "ERROR", "CRITICAL"}
_USUAL = {
    "level", "location", "message", "timestamp", "service", "function_name", "function_memory_size", "function_arn",
    "function_request_id", "cold_start", "exception", "exception_name", "stack_trace", "xray_trace_id", "errors",
    "where",
}  # fmt: skip
"""Members of a structured line that say nothing more to a person."""

_NOT_YOURS = ("/fastetl/enrich/", "/aws_lambda_powertools/", "/awslambdaric/", "/asyncio/")
"""Places in a traceback that say nothing to the author of a function."""


def explain_line(function: str, line: str) -> str:
    """Say in words what a line of a function's log means; empty where it need not be seen.

    Args:
        function: its name.
        line: structured, as the functions write them; or an error or a report of the runtime's.
    """
    if line.startswith("{"):
        return _explain_structured(function, line)
    if line.startswith("[ERROR]"):
        return _explain_error(function, line)
    if line.startswith("REPORT") and "Status: timeout" in line:
        return f"{function}: it took longer than Lambda allows, and was stopped"
    return ""


def _explain_structured(function: str, line: str) -> str:
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(record, dict) or record.get("level") not in LEVELS:
        return ""
    more = ", ".join(f"{name} {value}" for name, value in record.items() if name not in _USUAL and value)
    lines = [f"{function}: {record.get('message', '')}" + f" ({more})" * bool(more)]
    for error, rows in record.get("errors", {}).items():
        lines += [f"  {error}, in {rows:,} row{'s' * (rows != 1)}", *_read_line(error.rpartition(" at ")[2])]
    for place in record.get("where", ()):
        if not any(part in place for part in _NOT_YOURS):
            lines += [f"  {place}", *_read_line(place)]
    return "\n".join([*lines, *filter(None, [record.get("exception")])])


def _read_line(place: str) -> list[str]:
    """Read the line of code at a place, `/path/to/mine.py:6 in add`, as a traceback shows it."""
    if not (found := re.fullmatch(r"(.+):(\d+) in .*", place)):
        return []
    linecache.checkcache(found[1])  # the user may have edited it
    line = linecache.getline(found[1], int(found[2])).strip()
    return [f"    {line}"] if line else []


def _explain_error(function: str, line: str) -> str:
    """Take the message from an error as the runtime client writes it; what is behind it is a line of its own."""
    head = line.removeprefix("[ERROR] ").replace("\r", "\n").splitlines()[0].partition("Traceback (most")[0]
    # The name of the class says little: fastetl's errors say in words what is wrong.
    return f"{function} failed, and is tried again: {head.partition(': ')[2] or head}"
