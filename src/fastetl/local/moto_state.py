"""What moto holds and does of itself: its state in a file, and the deletion of items whose time to live is over."""

from __future__ import annotations

import pickle
import threading
import time
from pathlib import Path
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import StreamRecord
from moto.kinesis.models import kinesis_backends
from moto.s3.models import s3_backends

ACCOUNT = "123456789012"
"""The one that moto takes every caller for."""

SAVE_ATTEMPTS = 5
"""A client that still writes objects may change what is just being saved."""

OLDEST_SECONDS = 5 * 365 * 86_400
"""DynamoDB leaves items alone whose time is longer past (Developer Guide, "Using time to live")."""

turn = threading.RLock()
"""Whoever reads or changes tables and their streams holds it."""

_BACKENDS: dict[str, Any] = {"dynamodb": dynamodb_backends, "kinesis": kinesis_backends, "s3": s3_backends}


def save(path: Path) -> None:
    """Write tables with their streams, buckets and Kinesis streams to a file."""
    for attempt in range(SAVE_ATTEMPTS):
        try:
            state = {
                service: {region: vars(backend) for region, backend in backends[ACCOUNT].items()}
                for service, backends in _BACKENDS.items()
            }
            with turn:
                path.write_bytes(pickle.dumps((state, s3_backends.bucket_accounts)))
        except RuntimeError:  # an object was added to a bucket
            if attempt == SAVE_ATTEMPTS - 1:
                raise
            time.sleep(0.1)
        else:
            return


def restore(path: Path) -> None:
    """Read what `save` has written, with the same version of moto."""
    state, bucket_accounts = pickle.loads(path.read_bytes())  # noqa: S301 - a file that `save` wrote on this machine
    for service, regions in state.items():
        for region, members in regions.items():
            vars(_BACKENDS[service][ACCOUNT][region]).update(members)
    s3_backends.bucket_accounts.update(bucket_accounts)


def delete_expired(now: float) -> None:
    """Delete the items whose time to live is over; their records in the stream name DynamoDB as who did it.

    Args:
        now: Unix seconds.
    """
    with turn:
        for backend in dynamodb_backends[ACCOUNT].values():
            for table in backend.tables.values():
                if table.ttl.get("TimeToLiveStatus") != "ENABLED":
                    continue
                for item in table.all_items():
                    if _is_expired(item.attrs.get(table.ttl["AttributeName"]), now):
                        _delete(table, item)


def _is_expired(value: Any, now: float) -> bool:
    return value is not None and value.type == "N" and now - OLDEST_SECONDS < float(value.value) <= now


def _delete(table: Any, item: Any) -> None:
    items, key = (table.items[item.hash_key], item.range_key) if item.range_key else (table.items, item.hash_key)
    items.pop(key, None)
    if shard := table.stream_shard:
        view, number = table.stream_specification["StreamViewType"], len(shard.items) + shard.starting_sequence_number
        change = StreamRecord(table, view, "REMOVE", item, None, number)
        change.record["userIdentity"] = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
        shard.items.append(change)
