"""The settings of enrichments: one Struct for each kind, told apart by `kind`.

In `fastetl.toml` they stand beside the settings that all kinds share (see `Enrichment`). A Struct says what its kind
takes, and `problems` what is wrong with it as far as the configuration alone can tell.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="function"):
    """A function of the user's, from a frame of the inputs to a frame of the outputs.

    It has to be row-wise: a row's outputs depend on its own inputs alone.
    """

    function: str
    """`package.module:function`."""

    def problems(self, inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Tell what is wrong: setting, message and remedy.

        Args:
            inputs: names of the columns that it reads.
            outputs: names of the columns that it is to give.
        """
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.function):
            yield "function", f"{self.function!r} names no function", 'Write it "package.module:function"'
        if not inputs:
            yield "inputs", "missing", 'Name the columns that it reads, as inputs = ["a"]'
        yield from _need_outputs(outputs)


class Expression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="expression"):
    """An SQL expression over the columns that are there before it."""

    sql: str
    """In the dialect of Polars, which reaches no file."""

    def problems(self, _inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Tell what is wrong: setting, message and remedy.

        Args:
            outputs: names of the columns that it is to give.
        """
        if len(outputs) != 1:
            yield "outputs", "an expression gives exactly one column", "Name one output, with its type"


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="filter"):
    """An SQL condition: rows for which it is not true are deleted from the mirror."""

    sql: str
    """In the dialect of Polars, which reaches no file."""

    def problems(self, _inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Tell what is wrong: setting, message and remedy.

        Args:
            outputs: names of the columns that it is to give: there must be none.
        """
        if outputs:
            yield "outputs", "a filter gives no column", "Leave outputs out, or use kind = 'expression'"


class Mask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mask"):
    """Columns that must not leave the function in clear: every output is masked in place."""

    method: Literal["hash", "truncate", "drop"]
    """Hash with a secret key, keep the first characters, or make it NULL."""
    key_variable: str = ""
    """For `hash`: the environment variable that holds the key."""
    characters: int = -1
    """For `truncate`: how many are kept."""

    def problems(self, _inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Tell what is wrong: setting, message and remedy.

        Args:
            outputs: names of the columns that it masks.
        """
        if (self.method == "hash") is not bool(self.key_variable):
            yield "key_variable", "it goes with the method hash, which needs it", "Name the variable that holds the key"
        if (self.method == "truncate") is not (self.characters >= 0):
            yield "characters", "it goes with the method truncate, which needs it", "Say how many characters are kept"
        yield from _need_outputs(outputs)


class GeoIp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="geoip"):
    """Where an address is, from a MaxMind database.

    An address may have a port or a zone; of a list, as proxies write it, the first public one counts.
    """

    source: str
    """The database: a path, or `s3://bucket/key`."""
    paths: dict[str, str] = {}
    """For every output, where in a record it stands, as `country.iso_code`."""

    def problems(self, inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Tell what is wrong: setting, message and remedy.

        Args:
            inputs: names of the columns that it reads.
            outputs: names of the columns that it is to give.
        """
        if len(inputs) != 1:
            yield "inputs", "one column holds the addresses", 'Name it, as inputs = ["ip"]'
        for name in outputs:
            if name not in self.paths:
                yield f"paths.{name}", "missing", "Say where in a record it stands, as country.iso_code"
        yield from _name_outputs("paths", self.paths, outputs)
        yield from _need_outputs(outputs)


class Lookup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="lookup"):
    """Columns of a small table, found by its key."""

    source: str
    """The table, CSV or Parquet: a path, or `s3://bucket/key`."""
    on: tuple[str, ...] = ()
    """The table's key columns, one for each input; the inputs' own names where it is left out."""
    columns: dict[str, str] = {}
    """The table's columns, for outputs of another name."""

    def problems(self, inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Tell what is wrong: setting, message and remedy.

        Args:
            inputs: names of the columns that it reads.
            outputs: names of the columns that it is to give.
        """
        if not inputs or (self.on and len(self.on) != len(inputs)):
            yield (
                "on",
                "a lookup needs inputs, and a key column of the table for each",
                "Name as many as inputs",
            )
        yield from _name_outputs("columns", self.columns, outputs)
        yield from _need_outputs(outputs)


Options = Function | GeoIp | Lookup | Mask | Expression | Filter
"""What only one kind knows."""

OPTIONS: dict[str, type[Options]] = {str(each.__struct_config__.tag): each for each in get_args(Options)}
"""By kind."""


def _need_outputs(outputs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    if not outputs:
        yield "outputs", "missing", 'Name the columns that it gives, as outputs = [{ name = "a", type = "DATE" }]'


def _name_outputs(setting: str, named: dict[str, str], outputs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    for name in named:
        if name not in outputs:
            yield f"{setting}.{name}", "no output has this name", f"Choose from {', '.join(outputs) or 'the outputs'}"
