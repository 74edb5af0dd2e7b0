"""Elements of lists and maps that items hold, as rows of child tables. Pure.

As with records there are two ways to the same rows: the native pass, which takes what it can decide exactly, and the
reference below, which takes everything and defines what is right. An element is a map whose attributes the child's
columns take; one that is no map counts as a map with the one attribute `_value`. One element that does not fit, and
whose column says `reject`, rejects the record that its item came with: a list is replaced as a whole or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS, Column, UnfitError, only
from fastetl.config import ELEMENT_COLUMNS, SCALAR
from fastetl.decode.decoder import UNEXPECTED, build_native
from fastetl.decode.event import Tally, parse_record
from fastetl.decode.general import ColumnReader, RejectedError
from fastetl.errors import FastetlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastetl.config import Pipeline
    from fastetl.decode.native import NativePass

ITEM = "item"
"""The column that tells whose element a row is."""

_SYSTEM = [name for name, _ in SYSTEM_COLUMNS]
Row = tuple[int | str | None, ...]
"""Whose element it is, its position, its name, and the child's columns."""


class UnfitElement(msgspec.Struct, frozen=True):
    """An element that keeps its item from being written."""

    item: int
    column: str
    reason: str
    detail: str


class Elements(msgspec.Struct, frozen=True):
    """The elements of some items' lists."""

    frame: pl.DataFrame
    """A row for each element: `item`, a whole number; `_position` or `_name`; the child's columns. The others are text
    as COPY reads it."""
    unfit: tuple[UnfitElement, ...]
    """One for each item of which an element does not fit; it has no rows."""
    misfits: dict[tuple[str, str], int]
    """Values that became NULL or were truncated, by column and reason."""
    ignored: dict[str, int]
    """Undeclared attributes of elements, by name."""


class _Whose(msgspec.Struct, frozen=True):
    event_id: str
    is_delete: bool


class ElementDecoder:
    """Decodes the lists of one child table."""

    def __init__(self, child: Pipeline, *, is_native: bool = True) -> None:
        """Describe a decoder of one child table's elements.

        Args:
            child: its columns.
            is_native: whether the native pass may be used; the reference alone gives the same.
        """
        # Elements have no key, and nothing of them is kept beside the columns.
        undeclared = "ignore" if child.undeclared == "extra" else child.undeclared
        child = msgspec.structs.replace(child, undeclared=undeclared, keys=(), parts=())
        self._reference = _Reference(child)
        self._names = [column.name for column in child.columns]
        self._native = build_native(child)[0] if is_native else None

    def decode(self, lists: pl.Series, deleted: Sequence[bool], event_ids: Sequence[str]) -> Elements:
        """Give the elements of lists.

        Args:
            lists: JSON of a list or map for each item, null where it has none.
            deleted: whether the item was deleted: then nothing of it keeps its row from being written.
            event_ids: of the changes that the items came with.

        Raises:
            MisfitError: a value does not fit a column whose policy is `fail`.
        """
        numbers = lists.is_not_null().arg_true()
        tally = Tally()
        frames = []
        left = dict(zip(numbers.to_list(), lists.drop_nulls().to_list(), strict=True))
        if self._native and left:
            try:
                frame, texts, ignored = self._decode_native(self._native, numbers, lists)
            except FastetlError:
                raise
            except UNEXPECTED:  # whatever it is, the reference takes the lists
                pass
            else:
                frames, left = [frame], texts
                tally = Tally(ignored)
        rows: list[Row] = []
        unfit = []
        for number, text in left.items():
            whose = _Whose(event_ids[number], deleted[number])
            try:
                rows += [(number, *row) for row in self._reference.read(text, whose, tally)]
            except RejectedError as error:
                unfit.append(UnfitElement(number, error.column, error.reason, error.detail))
        names = [ITEM, *(name for name, _ in ELEMENT_COLUMNS), *self._names]
        schema = dict.fromkeys(names, pl.String) | {ITEM: pl.UInt32}
        frames.append(pl.DataFrame(rows, schema=schema, orient="row"))
        whole = pl.concat(frames)
        return Elements(
            whole if len(left) == 0 else whole.sort(ITEM, maintain_order=True),
            tuple(unfit),
            tally.misfits,
            tally.ignored,
        )

    def _decode_native(
        self, native: NativePass, numbers: pl.Series, lists: pl.Series
    ) -> tuple[pl.DataFrame, dict[int, str], dict[str, int]]:
        """Decode what the native pass takes; give its rows, the lists that it leaves, and what it ignored."""
        found = native.decode_elements(lists.drop_nulls().str.join("\n")[0].encode())
        left = {numbers[line]: found.text(line).decode() for line in found.left}
        whole = found.frame([*_SYSTEM, *self._names], "")
        is_listed = pl.col("_op") == "L"
        frame = whole.select(
            numbers[found.positions].alias(ITEM).cast(pl.UInt32),
            pl.when(is_listed).then(pl.col("_event_id")).alias("_position"),
            pl.when(~is_listed).then(pl.col("_event_id")).alias("_name"),
            *self._names,
        )
        return frame, left, found.ignored


class _Reference:
    """Reads one list after the other."""

    def __init__(self, child: Pipeline) -> None:
        marker = child.file.null_marker
        self._readers = [ColumnReader(column, marker) for column in child.columns]
        self._name = ColumnReader(Column("_name", ("_name",), dict(ELEMENT_COLUMNS)["_name"]), marker)
        self._declared = {column.path[0] for column in child.columns}
        self._rejects_undeclared = child.undeclared == "reject"

    def read(self, text: str, whose: _Whose, tally: Tally) -> list[tuple[str | None, ...]]:
        """Give the rows of a list's elements: position, name, and the columns.

        Raises:
            RejectedError: an element does not fit.
            MisfitError: as `ElementDecoder.decode`.
        """
        # What a list that is given up has counted is not counted.
        own = Tally()
        try:
            rows = [self._row(position, name, value, whose, own) for position, name, value in _take_apart(text)]
        except UnfitError as error:
            if not whose.is_delete:
                raise RejectedError("", error.reason, error.detail) from None
            rows = []
        for (column, reason), count in own.misfits.items():
            tally.misfits[column, reason] = tally.misfits.get((column, reason), 0) + count
        for name, count in own.ignored.items():
            tally.ignored[name] = tally.ignored.get(name, 0) + count
        return rows

    def _row(
        self, position: str | None, name: str | None, value: Any, whose: _Whose, tally: Tally
    ) -> tuple[str | None, ...]:
        tag, content = only(value)
        image = content if tag == "M" and isinstance(content, dict) else {SCALAR: value}
        undeclared = [attribute for attribute in image if attribute not in self._declared]
        if undeclared and self._rejects_undeclared and not whose.is_delete:
            raise RejectedError("", "undeclared", f"no attribute but the declared; there are {len(undeclared)} more")
        tally.ignore(undeclared)
        spelled = None if name is None else self._name.read({"_name": {"S": name}}, whose, tally)
        return (position, spelled, *(reader.read(image, whose, tally) for reader in self._readers))


def _take_apart(text: str) -> Iterator[tuple[str | None, str | None, Any]]:
    """Give the position or the name of each element of a list or map, and its value.

    Raises:
        UnfitError: it is neither.
    """
    tag, content = only(parse_record(text.encode()))
    if tag == "L" and isinstance(content, list):
        for position, value in enumerate(content):
            yield str(position), None, value
    elif tag == "M" and isinstance(content, dict):
        for name, value in content.items():
            yield None, name, value
    else:
        raise UnfitError("type", "a list or a map")
