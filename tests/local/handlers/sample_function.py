"""A handler that does what its event says: returns, raises, dies, hangs, allocates."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from typing import Any

print("importing")  # noqa: T201
invocations = 0
logger = logging.getLogger()
logger.setLevel(logging.INFO)


def handler(event: dict[str, Any], context: Any) -> Any:
    global invocations  # noqa: PLW0603
    invocations += 1
    for line in event.get("print", ()):
        print(line)  # noqa: T201
    match event.get("do", "describe"):
        case "raise":
            raise ValueError("as the test has it")
        case "exit":
            sys.stdout.flush()
            os._exit(3)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            time.sleep(event["seconds"])
        case "return":
            return event["value"]
        case "fill":
            return "x" * event["bytes"]
        case "allocate":
            return len(bytearray(event["bytes"]))
        case "log":
            logger.info("an ordinary line")
            print(json.dumps({"_aws": {"Timestamp": 1}, "files": 3}))  # noqa: T201
            print("on standard error", file=sys.stderr)  # noqa: T201
    return {
        "request_id": context.aws_request_id,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "arn": context.invoked_function_arn,
        "name": context.function_name,
        "memory_mb": context.memory_limit_in_mb,
        "invocations": invocations,
        "pid": os.getpid(),
        "variable": os.environ.get("SAMPLE"),
        "size": len(event.get("ballast", "")),
    }


def broken_handler(event: Any, context: Any) -> Any:
    raise AssertionError("never called")
