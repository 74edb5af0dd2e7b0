"""Decode by the reference the records that the native pass left, or all of an event."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

from fastetl.decode.event import Tally, name_record
from fastetl.model import Reject

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastetl.decode.general import GeneralDecoder, Row
    from fastetl.decode.native import LinesOf, NativeRows
    from fastetl.versions import EpochStart


class Left:
    """Records that the reference decodes: all of an event, or those that the native pass left."""

    def __init__(
        self, records: Iterable[tuple[int, Any]], general: GeneralDecoder, stream_arn: str,
        epochs: tuple[EpochStart, ...], ignored: dict[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.rows: dict[int, Row] = {}
        self.rejects: list[Reject] = []
        self.names: dict[int, str] = {}
        """What each adds to the file's name, by position."""
        self.tally = Tally(ignored)
        for position, record in records:
            made = record if isinstance(record, Reject) else general.decode(record, stream_arn, epochs, self.tally)
            self.names[position] = name_record(record) if record is not made else made.event_id
            if isinstance(made, Reject):
                self.rejects.append(made)
            else:
                self.rows[position] = made


def name_file(stream_arn: str, rows: NativeRows | None, left: dict[int, str]) -> str:
    """Name an event's file by what is in it, so that a repeated delivery has the same name."""
    digest = hashlib.blake2b(stream_arn.encode(), digest_size=16)
    if rows and not left:
        digest.update(rows.ids)
        return digest.hexdigest()
    ids = dict(left)
    if rows and rows.rows:
        ids.update(zip(rows.positions, rows.ids.decode().split("\n")[1:], strict=True))
    digest.update("".join(f"\n{ids[position]}" for position in range(len(ids))).encode())
    return digest.hexdigest()


class LineReader(Protocol):
    """Makes records of an export's lines."""

    @property
    def export(self) -> LinesOf:
        """What all lines share."""
        ...

    def read(self, line: bytes, number: int) -> dict[str, Any] | Reject:
        """Give the record that DynamoDB Streams would have sent; a reject where the line is none of an export.

        Args:
            line: of a data file.
            number: the line's number in its data file.

        Returns:
            The record, as an event has it; or the reject.
        """
        ...
