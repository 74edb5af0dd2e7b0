"""What fastetl knows of one Redshift type: the form of a row in the table of types (`table.py`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from random import Random

    import polars as pl

    from fastetl.columns.types import Column, RedshiftType

Encoding = Literal[
    "AZ64", "BYTEDICT", "DELTA", "DELTA32K", "LZO", "MOSTLY8", "MOSTLY16", "MOSTLY32", "RAW", "RUNLENGTH", "TEXT255",
    "TEXT32K", "ZSTD",
]  # fmt: skip
"""How Redshift compresses a column (Amazon Redshift Database Developer Guide, "Compression encodings")."""

Convert = Callable[[str, Any], str]
"""Takes a DynamoDB value (tag and content), and gives the column's text; raises `UnfitError`."""

Look = Callable[["pl.Series"], tuple["pl.Series", "pl.Series"]]
"""Takes texts of DynamoDB values; gives texts as COPY reads them, and whether each fits; null where there is none."""


class UnfitError(Exception):
    """A value does not fit: `reason` is a code, `detail` says what would fit; neither holds item content."""

    def __init__(self, reason: str, detail: str) -> None:
        """Say why a value does not fit.

        Args:
            reason: one of the reasons that `build_converter` lists.
            detail: what would fit; it quotes no value.
        """
        self.reason = reason
        self.detail = detail
        super().__init__(reason)


class Bound(msgspec.Struct, frozen=True):
    """One argument of a type, as the length of VARCHAR(20)."""

    name: str
    """The name of the attribute of `RedshiftType` that keeps it."""
    default: int
    """Where the argument is left out."""
    least: int
    most: int


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that depends on the type of a column. Adding a type means adding a rule."""

    kind: str
    """The type's name in DDL."""
    synonyms: tuple[str, ...] = ()
    bounds: tuple[Bound, ...] = ()
    """The type's arguments, in order."""
    catalog: str = ""
    """The type's name in SVV_COLUMNS, where it is not `kind` in lower case."""
    wider: tuple[str, ...] = ()
    """Other types that hold all values of this one."""
    lengthens: bool = False
    """Whether Redshift makes a column of this type longer in place (ALTER TABLE, ALTER COLUMN)."""
    encodings: frozenset[Encoding]
    """What compresses a column of this type, beside RAW and ZSTD, which take any ("Compression encodings")."""
    orders: bool = True
    """Whether a table may be distributed and sorted by a column of this type."""

    tag: str
    """The DynamoDB type whose values the column takes as a rule; `DOCUMENT` for any."""
    takes_time_format: bool = False
    """Whether values may be numbers since 1970 (`time_format`)."""
    convert: Callable[[Column], Convert]
    """Builds the conversion of one value."""
    shorten: Callable[[Column], Convert] | None = None
    """Builds what `on_misfit = "truncate"` makes of a value that is too long or too precise."""
    look: Callable[[Column], Look] | None = None
    """Builds the check of a whole column; None where each value has to be converted for itself."""
    copied: str
    """A regular expression for every text that `convert` gives: COPY reads each as exactly one value."""

    dtype: Callable[[RedshiftType], pl.DataType | type[pl.DataType]]
    """The Polars type in which enrichments see the column."""
    read: Callable[[pl.Expr], pl.Expr] | None = None
    """Turns the text that COPY reads into `dtype`, nothing rounded; None where Polars' cast does it."""
    spell: Callable[[pl.Series, RedshiftType], pl.Series | None]
    """From what an enrichment gives, unless it is text, to texts as DynamoDB spells `tag`; None for dtypes that do not
    mean this type."""
    is_text: bool = False
    """Whether the column holds text of any form."""
    is_key: bool = False
    """Whether equal values are always written alike, so that a lookup can join by them."""

    example: Callable[[Column, Random], Any]
    """Makes up the content of a value that fits, of the column's own tag; a map's for `DOCUMENT`."""

    def is_compressed_by(self, encoding: Encoding) -> bool:
        """Tell whether an encoding compresses columns of this type.

        Args:
            encoding: of Redshift.
        """
        return encoding in {"RAW", "ZSTD"} or encoding in self.encodings

    @property
    def is_spelled_as_text(self) -> bool:
        """Whether DynamoDB writes values of `tag` as text, so that an enrichment's text means a value."""
        return self.tag in {"S", "N", DOCUMENT}


DOCUMENT = "document"
"""Stands in place of a tag where any value fits."""
