"""The tables that change, their streams, and what really happened: the truth that the warehouse is held against."""

from __future__ import annotations

import base64
import hashlib
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from tests.simulation.fake_warehouse import POISON, SWALLOW

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from fastetl.config.model import Pipeline


_OF_STREAMS = {"SequenceNumber", "StreamViewType"}
"""What a record of the table's own stream has, and one of Kinesis has not."""


class Change(msgspec.Struct, frozen=True):
    """One change as it really was."""

    event_id: str
    key: str
    """As `_key` writes it."""
    order: tuple[int, int]
    """Of the stream and within it: later is greater. Never taken from what the product writes."""
    deleted: bool
    payload: str | None
    quantity: str | None
    """As the warehouse has it; of a delete, that of the item before."""
    kind: str
    """Of the item, or of the one that was deleted: `a` and `b` have targets, where there are several; `c` has none."""
    lines: tuple[str, ...]
    """What the item's list has after the change; of one that was deleted, what it had last."""
    unloadable: bool
    """The warehouse refuses every file with it."""
    reject: bool
    """It cannot be converted."""
    expired: bool
    """Deleted by DynamoDB's own time to live."""
    arn: str
    """Of the stream that it takes."""
    record: bytes
    """As Lambda delivers it."""
    created_at: float

    def is_kept(self, kept_deletes: tuple[str, ...]) -> bool:
        """Whether its row has the item's values: a tombstone forgets them unless deletes of its kind are kept."""
        return not self.deleted or ("EXPIRE" if self.expired else "REMOVE") in kept_deletes


class Shard:
    """An ordered part of a stream; `position` is the checkpoint of its reader."""

    def __init__(self, name: str, arn: str, parent: Shard | None = None) -> None:
        self.name = name
        self.arn = arn
        self.parent = parent
        self.changes: list[Change] = []
        self.position = 0
        self.trimmed = 0
        """What came before was forgotten; where it was not read, it is lost."""
        self.closed = False

    @property
    def drained(self) -> bool:
        """Whether everything in it is acknowledged."""
        return self.position >= len(self.changes)


class SourceTable:
    """One DynamoDB table with its stream; a new stream takes up where an old one was switched off."""

    def __init__(
        self, pipeline: Pipeline, random: random.Random, *, keys: int, unloadable: float, rejects: float
    ) -> None:
        self.pipeline = pipeline
        self.shards: list[Shard] = []
        self.changes: dict[str, Change] = {}
        """Every change ever, by event id."""
        self.has_gap = False
        self._random = random
        self._kinds = Random(f"kinds {pipeline.name}")
        """Drawn apart: whether there are kinds changes nothing else."""
        self._keys = keys
        self._unloadable = unloadable
        self._rejects = rejects
        self._items: dict[int, dict[str, Any]] = {}
        self._streams = 0
        self._sequence = 0
        self._open: list[Shard] = []
        self._unread: list[Shard] | None = None
        """Shards of another way that nobody reads yet; None where there are none."""
        self.arn = pipeline.stream_arn
        """Of the stream that the changes take; empty where it is the table's own, named by its label."""

    @property
    def _is_kinesis(self) -> bool:
        return ":kinesis:" in self.arn

    @property
    def table_arn(self) -> str:
        """The table whose changes are read: of a replica its own."""
        own = f"arn:aws:dynamodb:us-east-1:1:table/{self.pipeline.table}"
        return own if self._is_kinesis or not self.arn else self.arn.partition("/stream/")[0]

    def take_another_way(self, arn: str) -> None:
        """Let later changes take another stream, which nobody reads yet, and no more of them the former one."""
        if ":kinesis:" in arn and not self._is_kinesis:
            self._sequence = 0
        self.arn, self._unread = arn, []
        self.new_stream(arn.rpartition("/")[2])

    def read_other_way(self) -> None:
        """Have the other way read from its beginning, and the former one never again."""
        self.shards, self._unread = self._unread or [], None

    def new_stream(self, label: str) -> None:
        """Switch the stream on again: another ARN, and numbers that begin lower than the old ones ended."""
        self._streams += 1
        for shard in self._open:
            shard.closed = True
        arn = self.arn or f"{self.table_arn}/stream/{label}"
        self._open = [Shard(f"{label}/{n}", arn) for n in range(self._random.choice((1, 1, 2)))]
        self._list(*self._open)
        if self._is_kinesis:
            return
        # Just below a power of ten: the numbers grow a digit, so that as text later ones would be smaller.
        self._sequence = 10 ** self._random.choice((21, 22, 25)) - self._random.randint(1, 12)

    def _list(self, *shards: Shard) -> None:
        (self.shards if self._unread is None else self._unread).extend(shards)

    def trim(self) -> list[Change]:
        """Forget what nobody has read yet; the readers go on behind it. Gives what is lost."""
        lost: list[Change] = []
        for shard in self.shards:
            lost += shard.changes[shard.position :]
            shard.position = shard.trimmed = len(shard.changes)
        self.has_gap = True
        return lost

    def items(self) -> list[dict[str, Any]]:
        """The table as it is now."""
        return list(self._items.values())

    def heal(self, now: float) -> None:
        """Write something healthy into every item."""
        for number in list(self._items):
            self.write(now, healthy=True, number=number, delete=False)

    def split_shard(self) -> None:
        """Close a shard; what follows for its keys is in a child, which may well be read first."""
        old = self._random.choice(self._open)
        old.closed = True
        child = Shard(f"{old.name}.{len(self.shards)}", old.arn, old)
        self._open[self._open.index(old)] = child
        self._list(child)

    def come_and_go(self, now: float) -> None:
        """Put an item that was never there, and delete it."""
        self.write(now, healthy=True, number=self._keys, delete=False)
        self.write(now, healthy=True, number=self._keys, delete=True)

    def write(self, now: float, *, healthy: bool = False, number: int = -1, delete: bool | None = None) -> Change:
        """Change one item: any, in any way, where neither is given."""
        number = self._random.randrange(self._keys) if number < 0 else number
        was = self._items.get(number)
        self._sequence = self._next_number(now)
        kind = self._random.random()
        unloadable = not healthy and kind < self._unloadable
        reject = not healthy and not unloadable and kind < self._unloadable + self._rejects
        deleted = was is not None and not unloadable and not reject and self._random.random() < 0.25
        deleted = deleted if delete is None else delete
        # A tombstone keeps what the item had last, where the stream tells.
        payload = was["payload"]["S"] if was and deleted else self._payload(unloadable=unloadable)
        shard = self._open[number % len(self._open)]
        key = f"k{number}"
        keys: dict[str, Any] = {"id": {"S": key}}
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": int(now),
            "Keys": keys,
            "SequenceNumber": str(self._sequence),
            "SizeBytes": 10,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        quantity = str(self._sequence % 1000)
        kind_now = was["kind"]["S"] if was and deleted else self._kinds.choice("aabbc")
        lines = tuple(self._kinds.choice("xyz") for _ in range(self._kinds.choice((0, 0, 1, 2, 4))))
        image = {
            **keys,
            "kind": {"S": kind_now},
            "lines": {"L": [{"M": {"text": {"S": line}}} for line in lines]},
            "payload": {"S": payload},
            "quantity": {"S": "many"} if reject else {"N": quantity},
        }
        if was is not None:
            body["OldImage"] = was
        if deleted:
            self._items.pop(number, None)
        else:
            self._items[number] = body["NewImage"] = image
        # Of an item that no target takes, no value is written.
        is_written = not self.pipeline.parts or kind_now in {part.name for part in self.pipeline.parts}
        named = f"{self.pipeline.name if self._is_kinesis else ''}{shard.arn}{self._sequence}"
        event_id = hashlib.blake2b(named.encode(), digest_size=16).hexdigest()
        record: dict[str, Any] = {
            "eventID": event_id,
            "eventName": "REMOVE" if deleted else "INSERT" if was is None else "MODIFY",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": body,
            "eventSourceARN": shard.arn,
        }
        if deleted and self._random.random() < 0.3:
            record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        change = Change(
            event_id=event_id,
            key=f"S={key};",
            order=(self._streams, self._sequence),
            deleted=deleted,
            payload=payload,
            quantity=was["quantity"].get("N") if was and deleted else quantity,
            kind=kind_now,
            lines=read_lines(was) if was and deleted else lines,
            unloadable=is_written and payload in {POISON, SWALLOW},
            reject=is_written and reject,
            expired="userIdentity" in record,
            arn=shard.arn,
            record=orjson.dumps(self._wrap(record) if self._is_kinesis else record),
            created_at=now,
        )
        shard.changes.append(change)
        self.changes[event_id] = change
        return change

    def _next_number(self, now: float) -> int:
        """A sequence number; of Kinesis the time in microseconds, which orders the changes there."""
        if self._is_kinesis:
            return max(self._sequence + 1, int(now * 1_000_000))
        return self._sequence + self._random.randint(1, 3)

    def _wrap(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record as DynamoDB writes it to Kinesis, and Lambda delivers it."""
        body = {name: value for name, value in record["dynamodb"].items() if name not in _OF_STREAMS}
        body |= {"ApproximateCreationDateTime": self._sequence, "ApproximateCreationDateTimePrecision": "MICROSECOND"}
        names = ("eventID", "eventName", "awsRegion", "eventSource", "userIdentity")
        change = {name: record.get(name) for name in names} | {"tableName": self.pipeline.table, "dynamodb": body}
        number = f"{10**55 + self._sequence}"
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "k",
                "sequenceNumber": number,
                "data": base64.b64encode(orjson.dumps(change)).decode(),
                "approximateArrivalTimestamp": self._sequence / 1_000_000,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"shardId-000000000000:{number}",
            "eventName": "aws:kinesis:record",
            "awsRegion": "us-east-1",
            "eventSourceARN": record["eventSourceARN"],
        }

    def _payload(self, *, unloadable: bool) -> str:
        if unloadable:
            return self._random.choice((POISON, POISON, SWALLOW))
        return self._random.choice(("", "plain", 'say "so"', "a,b", "line\nfeed", "é😀")) + str(self._sequence)


def read_lines(item: dict[str, Any]) -> tuple[str, ...]:
    """Read the texts of an item's list."""
    return tuple(line["M"]["text"]["S"] for line in item["lines"]["L"])


def build_event(changes: Sequence[Change]) -> bytes:
    """The changes as one event, as Lambda delivers it."""
    return b'{"Records":[' + b",".join(change.record for change in changes) + b"]}"
