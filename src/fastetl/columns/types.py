"""Redshift's column types with their arguments, and the columns of a pipeline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from fastetl.columns.table import KINDS, RULES

if TYPE_CHECKING:
    from fastetl.columns.rule import Rule

Misfit = Literal["reject", "null", "truncate", "fail"]
"""What happens to a value that its column cannot hold."""

TimeFormat = Literal["iso8601", "epoch_s", "epoch_ms", "epoch_us"]
"""How the items write a point in time: as ISO 8601 text or as a number since 1970."""

_PATTERN = re.compile(r"\s*([A-Za-z][A-Za-z0-9 ]*?)\s*(?:\(\s*(\d+|[Mm][Aa][Xx])\s*(?:,\s*(\d+)\s*)?\))?\s*")


class RedshiftType(msgspec.Struct, frozen=True):
    """A column type with its arguments; `str()` writes it as DDL does."""

    kind: str
    """One of the table of types."""
    length: int = 0
    """Bytes, for CHAR, VARCHAR and VARBYTE; 0 otherwise."""
    precision: int = 0
    scale: int = 0
    """Decimal digits, for DECIMAL; 0 otherwise."""

    def __post_init__(self) -> None:
        if self.kind not in RULES:
            raise ValueError(f"{self.kind!r} is not a Redshift type that fastetl can load")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a type as people write it in DDL, synonyms included.

        Args:
            text: like `DECIMAL(38,2)`, in any case.

        Raises:
            ValueError: the text is not a type that fastetl can load, or an argument is out of range.
        """
        match = _PATTERN.fullmatch(text)
        kind = KINDS.get(" ".join(match[1].upper().split())) if match else None
        if match is None or kind is None:
            raise ValueError(f"{text!r} is not a Redshift type that fastetl can load")
        bounds, given = RULES[kind].bounds, [argument for argument in match.groups()[1:] if argument]
        if len(given) > len(bounds):
            raise ValueError(f"{text!r}: {kind} takes at most {len(bounds)} arguments")
        arguments = {bound.name: bound.default for bound in bounds}
        for bound, argument in zip(bounds, given, strict=False):
            arguments[bound.name] = value = bound.most if argument.upper() == "MAX" else int(argument)
            if not bound.least <= value <= bound.most:
                raise ValueError(f"{text!r}: the {bound.name} is {bound.least} to {bound.most}")
        if arguments.get("scale", 0) > arguments.get("precision", 0):
            raise ValueError(f"{text!r}: the scale is at most the precision")
        return cls(kind, **arguments)

    @property
    def rule(self) -> Rule:
        """What fastetl knows of the type."""
        return RULES[self.kind]

    def holds(self, other: RedshiftType) -> bool:
        """Tell whether every value of another type fits this one.

        Args:
            other: the type of the values.
        """
        return (
            self.kind in {other.kind, *other.rule.wider}
            and self.length >= other.length
            and self.scale >= other.scale
            and self.precision - self.scale >= other.precision - other.scale
        )

    def __str__(self) -> str:
        arguments = ",".join(str(getattr(self, bound.name)) for bound in self.rule.bounds)
        return f"{self.kind}({arguments})" if arguments else self.kind


class Column(msgspec.Struct, frozen=True):
    """One declared column of a pipeline: where its value comes from and what it becomes."""

    name: str
    """Of the column."""
    path: tuple[str | int, ...]
    """From the item's root: attribute names, map keys, list positions as integers; the column's name if left out."""
    type: RedshiftType
    """The Redshift type."""
    on_misfit: Misfit = "reject"
    """What happens to a value that does not fit: the record becomes a reject, the value becomes NULL, a text that is
    too long or a time that is finer than microseconds is truncated, or the batch fails and is tried again."""
    time_format: TimeFormat = "iso8601"
    """How a time is written, for types of times: as text in ISO 8601, or as a number since 1970."""

    @property
    def tag(self) -> str:
        """The DynamoDB type whose values the column takes as a rule; `DOCUMENT` for any."""
        return self.type.rule.tag if self.time_format == "iso8601" else "N"


KEY_TYPE = RedshiftType("VARCHAR", length=6400)
"""A key attribute has at most 2,048 and 1,024 bytes (DynamoDB quotas); escaping doubles them at worst."""

SYSTEM_COLUMNS: tuple[tuple[str, RedshiftType], ...] = (
    ("_key", KEY_TYPE),
    ("_version", RedshiftType("VARCHAR", length=128)),
    ("_op", RedshiftType("VARCHAR", length=8)),
    ("_event_id", RedshiftType("VARCHAR", length=128)),
    ("_changed_at", RedshiftType("TIMESTAMP")),
    ("_deleted", RedshiftType("BOOLEAN")),
    ("_file", RedshiftType("CHAR", length=32)),
)
"""What every file, mirror and log has before the declared columns, in this order."""
