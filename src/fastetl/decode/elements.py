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
from fastetl.decode.column_reader import ColumnReader
from fastetl.decode.decoder import UNEXPECTED, build_native
from fastetl.decode.event import Tally, parse_record
from fastetl.decode.rejected import RejectedError
from fastetl.errors import FastetlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fastetl.config import Pipeline
    from fastetl.decode.native import NativePass

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

    items: pl.Series
    """Whose element each row is: the item's place among those given."""
    columns: list[pl.Series]
    """A row for each element: `_position` or `_name`, and the child's columns, as the text that COPY reads."""
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

    def decode(self, lists: pl.Series, read_whose: Callable[[int], tuple[str, bool]]) -> Elements:
        """Give the elements of lists.

        Args:
            lists: JSON of a list or map for each item; none is null.
            read_whose: gives, for an item's place among them, the id of the change that it came with, and whether that
                deleted it: then nothing of it keeps its row from being written.

        Raises:
            MisfitError: a value does not fit a column whose policy is `fail`.
        """
        texts = lists.to_list()
        if self._native and texts:
            try:
                items, columns, left, ignored = self._decode_native(self._native, texts)
            except FastetlError:
                raise
            except UNEXPECTED:  # whatever it is, the reference takes the lists
                pass
            else:
                if not left:
                    return Elements(items, columns, (), {}, ignored)
                lists_left = {number: texts[number] for number in left}
                return self._read_left(lists_left, read_whose, ignored, items, columns)
        return self._read_left(dict(enumerate(texts)), read_whose, {}, *self._build([]))

    def _decode_native(
        self, native: NativePass, texts: list[str]
    ) -> tuple[pl.Series, list[pl.Series], Iterable[int], dict[str, int]]:
        """Decode what the native pass takes; give its rows, the lists that it leaves, and what it ignored."""
        found = native.decode_elements("\n".join(texts).encode())
        if not found.rows:
            return *self._build([]), found.left, found.ignored
        whole = found.frame([*_SYSTEM, *self._names], "")
        place = [whole["_event_id"].alias("_position"), whole["_op"].alias("_name")]
        columns = [*place, *(whole[each] for each in self._names)]
        return pl.Series(found.positions, dtype=pl.UInt32), columns, found.left, found.ignored

    def _read_left(
        self, left: dict[int, str], read_whose: Callable[[int], tuple[str, bool]], ignored: dict[str, int],
        items: pl.Series, columns: list[pl.Series],
    ) -> Elements:  # fmt: skip
        """Read the lists that are left, and put their elements among those that are there."""
        tally, unfit = Tally(ignored), []
        rows: list[Row] = []
        for number, text in left.items():
            whose = _Whose(*read_whose(number))
            try:
                rows += [(number, *row) for row in self._reference.read(text, whose, tally)]
            except RejectedError as error:
                unfit.append(UnfitElement(number, error.column, error.reason, error.detail))
        own_items, own_columns = self._build(rows)
        every = pl.concat([items, own_items])
        order = every.arg_sort()
        whole = [pl.concat(each)[order] for each in zip(columns, own_columns, strict=True)]
        return Elements(every[order], whole, tuple(unfit), tally.misfits, tally.ignored)

    def _build(self, rows: list[Row]) -> tuple[pl.Series, list[pl.Series]]:
        names = [name for name, _ in ELEMENT_COLUMNS] + self._names
        items, *values = zip(*rows, strict=True) if rows else [()] * (1 + len(names))
        columns = [pl.Series(name, each, dtype=pl.String) for name, each in zip(names, values, strict=True)]
        return pl.Series(items, dtype=pl.UInt32), columns


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
