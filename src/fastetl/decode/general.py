"""Decode records one at a time: the reference, which takes everything and defines what is right. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.columns import UnfitError, build_json, follow_path
from fastetl.config import locate_columns, name_list
from fastetl.decode.column_reader import ColumnReader
from fastetl.decode.envelope import Envelope
from fastetl.decode.event import LONGEST_NAME, Tally, format_time, parse_record, write_record
from fastetl.decode.keys import build_key
from fastetl.decode.rejected import RejectedError
from fastetl.decode.target_finder import TargetFinder
from fastetl.model import Reject
from fastetl.versions import build_version, epoch_at

if TYPE_CHECKING:
    from fastetl.config import Pipeline
    from fastetl.versions import EpochStart

Row = tuple[str | None, ...]
"""The system columns but `_file`, the declared columns, the lists of child tables, and the extra column if there is
one."""


class GeneralDecoder:
    """Turns records, as plain dicts, into rows or rejects: any record, whatever it holds."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._keys = pipeline.keys
        self._columns = [ColumnReader(column, pipeline.file.null_marker) for column in pipeline.columns]
        self._names = [*(column.name for column in pipeline.columns), *map(name_list, pipeline.lists)]
        self._finder = TargetFinder(pipeline) if pipeline.parts else None
        self._targets = {
            part.name: (_build_readers(pipeline, part), pipeline.children(part.name))
            for part in pipeline.parts
            if not part.rows_of
        }
        self._declared = {column.path[0] for column in pipeline.columns} | set(pipeline.keys)
        self._declared |= {path[0] for path in pipeline.lists}
        self._undeclared = pipeline.undeclared
        self._extra_column = pipeline.extra_column
        self._keeps_old_images = pipeline.keeps_old_images
        self._kept_deletes = pipeline.kept_deletes

    def decode(self, record: Any, stream_arn: str, epochs: tuple[EpochStart, ...], tally: Tally) -> Row | Reject:
        """Convert one record.

        Raises:
                MisfitError: a value does not fit a column whose policy is `fail`.
        """
        try:
            return self._row(Envelope(record, stream_arn), epochs, tally)
        except RejectedError as error:
            event_id = record.get("eventID") if isinstance(record, dict) else ""
            return Reject(
                event_id=event_id if isinstance(event_id, str) and event_id.isascii() else "",
                reason=error.reason,
                column=error.column,
                detail=error.detail,
                record=write_record(record),
            )

    def _row(self, change: Envelope, epochs: tuple[EpochStart, ...], tally: Tally) -> Row:
        key = build_key(change.keys, self._keys)
        version = build_version(epoch_at(epochs, change.changed_at), change.label, change.sequence_number)
        head = (key, version, change.op, change.event_id, format_time(change.changed_at), change.deleted)
        if change.is_delete:
            if change.old_image is None and change.op in self._kept_deletes:
                raise RejectedError("", "no_image", "a stream view type of NEW_AND_OLD_IMAGES")
            image = {**(change.old_image or {} if self._keeps_old_images else {}), **change.keys}
        elif change.new_image is None:
            raise RejectedError("", "no_image", "a stream view type of NEW_IMAGE or NEW_AND_OLD_IMAGES")
        else:
            image = change.new_image
        values = self._read_values(image, change, tally)
        return (*head, *values, *self._extra(image, change, tally))

    def _read_values(self, image: dict[str, Any], change: Envelope, tally: Tally) -> list[str | None]:
        """Read the declared columns; with several targets, of the first whose conditions hold."""
        if not self._finder:
            return [column.read(image, change, tally) for column in self._columns]
        target, values = self._finder.find(image)
        columns, children = self._targets.get(target, ({}, ()))
        values |= {name: column.read(image, change, tally) for name, column in columns.items()}
        values |= {name_list(child.rows_of): _read_list(child, image, change, tally) for child in children}
        return [values.get(name) for name in self._names]

    def _extra(self, image: dict[str, Any], change: Envelope, tally: Tally) -> tuple[str | None, ...]:
        undeclared = {name: value for name, value in image.items() if name not in self._declared}
        if self._undeclared == "extra":
            return (self._build_extra(undeclared, change, tally),)
        if undeclared and not change.is_delete:
            if self._undeclared == "reject":
                raise RejectedError(
                    "", "undeclared", f"no attribute but the declared; there are {len(undeclared)} more"
                )
            tally.ignore(undeclared)
        return ()

    def _build_extra(self, undeclared: dict[str, Any], change: Envelope, tally: Tally) -> str | None:
        try:
            return _write_document(undeclared)
        except RejectedError as error:
            if not change.is_delete:
                raise RejectedError(self._extra_column, error.reason, error.detail) from None
            tally.misfit(self._extra_column, error.reason)
            return None


def _read_list(child: Pipeline, image: dict[str, Any], change: Envelope, tally: Tally) -> str | None:
    """Give what is at the path of a child table's list, as JSON."""
    try:
        found = follow_path(image, child.rows_of)
    except UnfitError as error:
        if change.is_delete:
            tally.misfit(child.name, error.reason)
            return None
        raise RejectedError(child.name, error.reason, error.detail) from None
    if found is None or found[0] == "NULL":
        return None
    return write_record(dict([found]))


def build_extra(record: str, keys: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """Write what an item holds beside its key as one JSON object.

    Args:
        record: as rejects keep it.
        keys: the names of the key attributes.

    Returns:
        The object, None where there is nothing, and the names of the attributes in it.

    Raises:
        RejectedError: something in it cannot be part of a document.
    """
    image = parse_record(record.encode())["dynamodb"]["NewImage"]
    held = {name: value for name, value in image.items() if name not in keys}
    return _write_document(held), list(held)


def _write_document(attributes: dict[str, Any]) -> str | None:
    if not attributes:
        return None
    try:
        return build_json("M", attributes)
    except UnfitError as error:
        raise RejectedError("", error.reason, f"{error.detail}; {_find_culprit(attributes)}") from None


def _find_culprit(attributes: dict[str, Any]) -> str:
    """Name the attribute that cannot be part of a document."""
    for name, value in sorted(attributes.items()):
        try:
            build_json("M", {name: value})
        except UnfitError:
            return f"the attribute {name[:LONGEST_NAME]!a}"
    return "all attributes together"


def _build_readers(pipeline: Pipeline, part: Pipeline) -> dict[str, ColumnReader]:
    """Build the readers of a target's columns, by the names under which they are decoded for all targets."""
    located = locate_columns(pipeline, part)
    return {
        located[column.name]: ColumnReader(
            msgspec.structs.replace(column, name=f"{part.name}.{column.name}"), pipeline.file.null_marker
        )
        for column in part.columns
    }
