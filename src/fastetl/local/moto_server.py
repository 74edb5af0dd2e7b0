"""moto's server, with answers that hold items written more quickly, and what moto itself leaves out or does wrong.

`python -m fastetl.local.moto_server -p 5000 --state FILE` goes on with what FILE holds; on SIGUSR1 it writes FILE, and
ends. Items whose time to live is over are deleted every few seconds.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from moto.core.utils import unix_time
from moto.dynamodb.responses import DynamoHandler
from moto.dynamodbstreams.responses import DynamoDBStreamsHandler
from moto.server import main

from fastetl.local import moto_state

EXPIRY_SECONDS = 2.0
"""Between two looks for items whose time to live is over; DynamoDB takes up to days."""


_WITH_ITEMS = ("get_item", "batch_get_item", "query", "scan")


def write_quickly() -> None:
    """Write DynamoDB's items and records with the standard library.

    moto's general serializer takes 3 ms for an item of a dozen attributes; the standard library's takes 0.1.
    """
    for handler, operations in ((DynamoDBStreamsHandler, ("get_records",)), (DynamoHandler, _WITH_ITEMS)):
        for operation in operations:
            setattr(handler, operation, _as_json(getattr(handler, operation)))


def take_turns() -> None:
    """Answer one call of DynamoDB or its streams after the other, as if each had the tables to itself.

    moto's transaction sets its tables back to a copy when it is cancelled, and forgets with it what other threads have
    written meanwhile. DynamoDB's are serializable (Developer Guide, "Transaction isolation levels").
    """
    for handler in (DynamoDBStreamsHandler, DynamoHandler):
        handler.call_action = _in_turn(handler.call_action)  # type: ignore[method-assign]


def _in_turn(answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def call(handler: Any) -> Any:
        with moto_state.turn:
            return answer(handler)

    return call


def _as_json(answer: Callable[[Any], Any]) -> Callable[[Any], str]:
    return lambda handler: json.dumps(answer(handler).result, default=_write_other)


def _write_other(value: Any) -> Any:
    match value:
        case datetime():
            return unix_time(value)
        case bytes():
            return base64.b64encode(value).decode()
    return value.to_json()


def _look_after(parent: int) -> None:
    """Delete expired items from time to time; end when the process that started this one is gone."""
    while os.getppid() == parent:
        time.sleep(EXPIRY_SECONDS)
        moto_state.delete_expired(time.time())
    os._exit(1)


def _keep(path: Path) -> None:
    """Go on with what a file holds, and write it when SIGUSR1 comes."""
    if path.exists():
        moto_state.restore(path)

    def save(*_: object) -> None:
        moto_state.save(path)
        os._exit(0)  # other threads serve on, and must not change what is saved

    signal.signal(signal.SIGUSR1, save)


if __name__ == "__main__":
    logging.disable()
    write_quickly()
    take_turns()
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path)
    mine, of_moto = parser.parse_known_args()
    if mine.state:
        _keep(mine.state)
    threading.Thread(target=_look_after, args=(os.getppid(),), daemon=True).start()
    main(of_moto)
