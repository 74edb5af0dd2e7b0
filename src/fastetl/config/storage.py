"""The settings of how Redshift stores a table: how its rows are distributed, sorted and compressed.

Sources: Amazon Redshift Database Developer Guide, "CREATE TABLE", "ALTER TABLE". Which encodings compress a type, and
whether it may be a key, is in the type's rule (`columns/`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from fastetl.columns import Encoding
from fastetl.identifiers import fold
from fastetl.limits import MAX_SORT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastetl.columns import RedshiftType

DistStyle = Literal["KEY", "AUTO", "EVEN", "ALL"]
NOT_LENGTHENED: frozenset[Encoding] = frozenset({"BYTEDICT", "RUNLENGTH", "TEXT255", "TEXT32K"})
"""Encodings that keep ALTER TABLE from lengthening a VARCHAR column."""


class Storage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How Redshift stores a table. `fastetl ddl` creates it so, and changes no table that is there."""

    diststyle: DistStyle = "KEY"
    """Where rows are: by the value of `distkey`, as Redshift decides (AUTO), in turn (EVEN), or on every node (ALL)."""
    distkey: str = ""
    """With KEY: the column; without it `_key`, by which loads merge without moving rows between nodes."""
    sortkey: tuple[str, ...] | Literal["AUTO"] | None = None
    """Columns by which rows are sorted, at most 400; with AUTO Redshift decides. Without it the mirror is sorted by
    `_key`, and the log by `_changed_at`, so that a load reads only the times that its changes are of."""
    encode: dict[str, Encoding] = {}
    """Encodings of columns, by their names. Redshift chooses those of all columns where this is empty."""

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that this names as keys."""
        sorted_by = self.sortkey if isinstance(self.sortkey, tuple) else ()
        return tuple(dict.fromkeys([*([self.distkey] if self.distkey else []), *sorted_by]))

    def problems(self, columns: Mapping[str, RedshiftType]) -> Iterator[tuple[str, str, str]]:
        """Tell what Redshift does not take: setting, message and remedy.

        Args:
            columns: those of the table with their types, by name.
        """
        known = {fold(name): kind for name, kind in columns.items()}
        sorted_by = self.sortkey if isinstance(self.sortkey, tuple) else ()
        if self.distkey and self.diststyle != "KEY":
            yield (
                "distkey",
                f"rows have no key with diststyle {self.diststyle}",
                'Leave it out, or use diststyle = "KEY"',
            )
        if len({fold(name) for name in sorted_by}) < len(sorted_by):
            yield "sortkey", "a column is named twice", "Name each once"
        if len(sorted_by) > MAX_SORT_COLUMNS:
            yield "sortkey", f"a sort key has at most {MAX_SORT_COLUMNS} columns", "Leave some out"
        for setting, name in (
            *([("distkey", self.distkey)] if self.distkey else []),
            *(("sortkey", n) for n in sorted_by),
        ):
            kind = known.get(fold(name))
            if kind is None:
                yield setting, f"there is no column {name!r}", "Name a column of the table"
            elif not kind.rule.orders:
                yield setting, f"{name!r} is {kind}, by which no table is distributed or sorted", "Name another column"
        for name, encoding in self.encode.items():
            kind = known.get(fold(name))
            if kind is None:
                yield f"encode.{name}", f"there is no column {name!r}", "Name a column of the table"
            elif not kind.rule.is_compressed_by(encoding):
                fitting = ", ".join(each for each in get_args(Encoding) if kind.rule.is_compressed_by(each))
                yield f"encode.{name}", f"{encoding} compresses no {kind.kind}", f"Use one of {fitting}"

    def warnings(self, columns: Mapping[str, RedshiftType]) -> Iterator[tuple[str, str, str]]:
        """Tell which ALTER TABLE will be refused later because of this: setting, message and remedy.

        Args:
            columns: the declared ones with their types, by name; not fastetl's own, which never change.
        """
        known = {fold(name): kind for name, kind in columns.items()}
        for name in self.key_columns:
            if fold(name) in known:
                setting = "distkey" if name == self.distkey else "sortkey"
                message = f"Redshift drops no column of a key: {name!r} stays in the table as long as this key does"
                yield setting, message, "Before it leaves the configuration, ALTER the table's keys"
        for name, encoding in self.encode.items():
            kind = known.get(fold(name))
            if kind and kind.kind == "VARCHAR" and encoding in NOT_LENGTHENED:
                message = f"Redshift lengthens no VARCHAR with encoding {encoding}: {name!r} keeps its length"
                yield f"encode.{name}", message, "Declare it long enough, or use ZSTD"


def parse_sortkey(value: Any) -> tuple[str, ...] | Literal["AUTO"]:
    """Read a sort key.

    Args:
        value: a list of columns, or AUTO.

    Raises:
        ValueError: it is neither.
    """
    if value == "AUTO":
        return "AUTO"
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError('a sort key is a list of columns, or "AUTO"')
