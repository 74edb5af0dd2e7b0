"""Redshift's column types, as far as fastetl writes them, and the columns of a pipeline."""

from __future__ import annotations

import re
from typing import Literal, Self

import msgspec

from fastetl.limits import MAX_CHAR_BYTES, MAX_PRECISION, MAX_SCALE, MAX_VARBYTE_BYTES, MAX_VARCHAR_BYTES

Misfit = Literal["reject", "null", "truncate", "fail"]
"""What happens to a value that its column cannot hold."""

TimeFormat = Literal["iso8601", "epoch_s", "epoch_ms", "epoch_us"]
"""How the items write a point in time: as ISO 8601 text or as a number since 1970."""

Kind = Literal[
    "SMALLINT", "INTEGER", "BIGINT", "DECIMAL", "REAL", "DOUBLE PRECISION", "BOOLEAN",
    "CHAR", "VARCHAR", "DATE", "TIMESTAMP", "TIMESTAMPTZ", "SUPER", "VARBYTE",
]  # fmt: skip

_SYNONYMS: dict[str, Kind] = {
    "INT2": "SMALLINT", "INT": "INTEGER", "INT4": "INTEGER", "INT8": "BIGINT", "NUMERIC": "DECIMAL",
    "FLOAT4": "REAL", "FLOAT8": "DOUBLE PRECISION", "FLOAT": "DOUBLE PRECISION", "DOUBLE": "DOUBLE PRECISION",
    "BOOL": "BOOLEAN", "CHARACTER": "CHAR", "NCHAR": "CHAR", "CHARACTER VARYING": "VARCHAR",
    "NVARCHAR": "VARCHAR", "TEXT": "VARCHAR", "TIMESTAMP WITHOUT TIME ZONE": "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ", "BINARY VARYING": "VARBYTE", "VARBINARY": "VARBYTE",
}  # fmt: skip

_PATTERN = re.compile(r"\s*([A-Za-z][A-Za-z0-9 ]*?)\s*(?:\(\s*(\d+|[Mm][Aa][Xx])\s*(?:,\s*(\d+)\s*)?\))?\s*")


class RedshiftType(msgspec.Struct, frozen=True):
    """A column type with its limits; `str()` gives it as Redshift writes it."""

    kind: Kind
    length: int = 0
    """Bytes, for CHAR, VARCHAR and VARBYTE; 0 otherwise."""
    precision: int = 0
    scale: int = 0
    """Decimal digits, for DECIMAL; 0 otherwise."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a type as people write it in DDL, synonyms included.

        Raises:
            ValueError: the text is not a type that fastetl can load, or a limit is out of range.
        """
        match = _PATTERN.fullmatch(text)
        name = " ".join(match[1].upper().split()) if match else ""
        kind = _SYNONYMS.get(name, name)
        if match is None or kind not in Kind.__args__:  # type: ignore[attr-defined]
            raise ValueError(f"{text!r} is not a Redshift type that fastetl can load")
        return cls._bounded(text, kind, match[2], match[3])  # type: ignore[arg-type]

    @classmethod
    def _bounded(cls, text: str, kind: Kind, first: str | None, second: str | None) -> Self:
        if kind == "DECIMAL":
            precision, scale = int(first or 18), int(second or 0)
            if not 1 <= precision <= MAX_PRECISION or scale > min(precision, MAX_SCALE):
                raise ValueError(f"{text!r}: precision is 1 to {MAX_PRECISION}, scale at most {MAX_SCALE}")
            return cls(kind, precision=precision, scale=scale)
        if second is not None or (first is not None and kind not in {"CHAR", "VARCHAR", "VARBYTE"}):
            raise ValueError(f"{text!r}: {kind} takes no such argument")
        limits = {
            "CHAR": (1, MAX_CHAR_BYTES),
            "VARCHAR": (256, MAX_VARCHAR_BYTES),
            "VARBYTE": (64_000, MAX_VARBYTE_BYTES),
        }
        if kind not in limits:
            return cls(kind)
        default, most = limits[kind]
        length = default if first is None else most if first.upper() == "MAX" else int(first)
        if not 1 <= length <= most:
            raise ValueError(f"{text!r}: the length is 1 to {most} bytes")
        return cls(kind, length=length)

    def __str__(self) -> str:
        if self.kind == "DECIMAL":
            return f"DECIMAL({self.precision},{self.scale})"
        return f"{self.kind}({self.length})" if self.length else self.kind


class Column(msgspec.Struct, frozen=True):
    """One declared column of a pipeline: where its value comes from and what it becomes."""

    name: str
    path: tuple[str | int, ...]
    """From the item's root: attribute names, map keys, and list positions as integers."""
    type: RedshiftType
    on_misfit: Misfit = "reject"
    time_format: TimeFormat = "iso8601"
    """For DATE, TIMESTAMP and TIMESTAMPTZ."""


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
