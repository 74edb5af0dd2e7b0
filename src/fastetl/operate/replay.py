"""Ingest events again: those that Lambda gave up on, and rejects after the configuration was mended.

Nothing is doubled by it: versions and event ids are the records' own.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from fastetl.decode import parse_source_arn
from fastetl.errors import EventError, FastetlError
from fastetl.keys import FAILURES_PREFIX
from fastetl.operate.watermark import tell_waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fastetl.aws import Bucket
    from fastetl.config import Config
    from fastetl.ingest import Ingest, Outcome
    from fastetl.model import Reject

MAX_RECORDS = 10_000
"""One event has at most this many records, as Lambda's have."""


class Replayed(msgspec.Struct, frozen=True):
    """What came of one event for one pipeline, as the ledger has it."""

    source: str
    """The key of the object that held it."""
    records: int = 0
    rejects: int = 0
    file_id: str = ""
    error: str = ""
    """Why the event, or what one pipeline makes of it, is not ingested; the object stays then."""


async def replay_failures(
    config: Config, bucket: Bucket, ingest_for: Callable[[str], Awaitable[Ingest]]
) -> list[Replayed]:
    """Ingest every event that Lambda gave up on, and delete the object that held it once its changes are registered.

    An object that holds no event, or an event that cannot be ingested, stays, and keeps no other from being replayed.

    Args:
        config: whose pipelines read the events.
        bucket: that holds them.
        ingest_for: gives what ingests the events of the pipeline of a name.

    Returns:
        What was ingested of each object, or why it was not.

    Raises:
        StorageError: the objects cannot be listed.
    """
    done = []
    async for key in bucket.list_keys(FAILURES_PREFIX):
        try:
            event = parse_failure(await bucket.get(key), key)
            pipelines = config.pipelines_for(parse_source_arn(event, config.reads))
        except FastetlError as error:
            done.append(Replayed(key, error=str(error)))
            continue
        found = [await _replay(key, event, pipeline.name, ingest_for) for pipeline in pipelines]
        if not any(each.error for each in found):
            await bucket.delete(key)
        done += found
    return done


async def _replay(key: str, event: bytes, pipeline: str, ingest_for: Callable[[str], Awaitable[Ingest]]) -> Replayed:
    try:
        ingest = await ingest_for(pipeline)
        outcome = await ingest.ingest(event)
        await tell_waiting(ingest.deployment, [outcome.file])
        return _replayed(key, outcome)
    except FastetlError as error:
        return Replayed(key, error=f"{pipeline}: {error}")
    except Exception as error:  # noqa: BLE001 - of one pipeline; its message may quote an item
        return Replayed(key, error=f"{pipeline}: unexpected {type(error).__name__}")


def parse_failure(body: bytes, key: str) -> bytes:
    """Give the event inside an invocation record.

    Raises:
        EventError: there is none.
    """
    try:
        payload = orjson.loads(body)["payload"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        message = f"{key} holds no event; the stream may still: take the records from their sequence numbers in it"
        raise EventError(message) from error
    return payload.encode() if isinstance(payload, str) else orjson.dumps(payload)


async def replay_rejects(
    key: str, rejects: Sequence[Reject], ingest: Ingest, new_name: Callable[[], str]
) -> list[Replayed]:
    """Ingest rejected records again. What still does not fit is rejected again, under another name.

    Each replay makes files of its own: the file that the records were rejected from may be registered as one of which
    every record was rejected, and an earlier replay may have been rejected as well.

    Args:
        key: of the object with the rejects.
        rejects: as the object holds them.
        ingest: of the pipeline.
        new_name: gives a random name, another one each time.

    Returns:
        What was ingested, for each event that the records were put into.

    Raises:
        EventError: records name no stream.
    """
    by_stream: dict[str, list[Any]] = defaultdict(list)
    for reject in rejects:
        record = orjson.loads(reject.record)
        by_stream[record.get("eventSourceARN", "") if isinstance(record, dict) else ""].append(record)
    if "" in by_stream:
        raise EventError(f"{key}: {len(by_stream[''])} records name no stream, and cannot be replayed")
    outcomes = [
        await ingest.ingest(orjson.dumps({"Records": records[first : first + MAX_RECORDS]}), replay=new_name())
        for records in by_stream.values()
        for first in range(0, len(records), MAX_RECORDS)
    ]
    await tell_waiting(ingest.deployment, [outcome.file for outcome in outcomes])
    return [_replayed(key, outcome) for outcome in outcomes]


def _replayed(source: str, outcome: Outcome) -> Replayed:
    file = outcome.file
    return Replayed(source, outcome.records, file.rejects if file else 0, outcome.file_id)
