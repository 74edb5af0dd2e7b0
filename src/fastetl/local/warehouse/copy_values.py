"""Fields of a CSV as COPY takes them: one conversion per Redshift type, text in, checked text out.

Limits and rules: Redshift Database Developer Guide, "Data types" and "Load error reference". An error's number is the
guide's where it lists one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any

import orjson

from fastetl.columns import RedshiftType
from fastetl.limits import MAX_SUPER_BYTES, MAX_VARCHAR_BYTES

_DECIMAL64_LIMIT = 2**63 - 1
"""A DECIMAL of 19 digits is stored in 64 bits."""

_MAX_CHARACTER_BYTES = 4
"""The most bytes of a character in UTF-8: most fields are known to be short enough without being encoded."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_FLOAT = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan)", re.IGNORECASE)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,6})?)(Z|[+-]\d\d(?::?\d\d)?)?")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")
_WIDE = Context(prec=200)

_TRUE = frozenset({"t", "true", "y", "yes", "1"})
_FALSE = frozenset({"f", "false", "n", "no", "0"})
_INTEGER_BOUNDS = {"SMALLINT": 2**15, "INTEGER": 2**31, "BIGINT": 2**63}
_LARGEST_FLOAT = {"REAL": 3.4028234663852886e38, "DOUBLE PRECISION": 1.7976931348623157e308}


class FieldError(ValueError):
    """A field that its column cannot take."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


def convert_column(kind: RedshiftType, null_marker: str, fields: Sequence[str]) -> list[str | None]:
    """Turn the fields of a column into what is inserted: checked, in one normal form, None for NULL.

    VARBYTE comes out as lower-case hex, TIMESTAMPTZ in UTC, SUPER exactly as it came in.

    Raises:
        FieldError: one of them does not fit; convert them one by one to find which.
    """
    if "\x00" in "".join(fields):
        raise FieldError(1218, "NUL (0x00) cannot be loaded")
    if kind.kind == "VARCHAR" and max(map(len, fields), default=0) * _MAX_CHARACTER_BYTES <= kind.length:
        return [None if field == null_marker else field for field in fields]
    # Real columns repeat their values: each is checked once.
    known: dict[str, str | None] = {null_marker: None}
    if kind.kind not in {"VARCHAR", "CHAR"}:
        known[""] = None
    convert = _CONVERTERS.get(kind.kind, _convert_plainly)
    known |= {field: convert(kind, field) for field in set(fields) - known.keys()}
    return list(map(known.__getitem__, fields))


def _convert_plainly(kind: RedshiftType, field: str) -> str:
    """Take what COPY is known to read, for types whose texts mean one value as they are."""
    if not re.fullmatch(kind.rule.copied, field):
        raise FieldError(1206, f"Invalid {kind} format or value")
    return field


def _convert_varchar(kind: RedshiftType, field: str) -> str:
    if len(field) * _MAX_CHARACTER_BYTES > kind.length and len(field.encode()) > kind.length:
        raise FieldError(1204, "String length exceeds DDL length")
    return field


def _convert_char(kind: RedshiftType, field: str) -> str:
    if not field.isascii():
        raise FieldError(1220, "Multibyte character not supported for CHAR (Hint: try using VARCHAR)")
    return _convert_varchar(kind, field.rstrip(" "))


def _convert_integer(kind: RedshiftType, field: str) -> str:
    if not _INTEGER.fullmatch(field):
        raise FieldError(1207, f"Invalid digit, Type: {kind.kind.title()}")
    bound = _INTEGER_BOUNDS[kind.kind]
    if not -bound <= int(field) < bound:
        raise FieldError(1204, f"Overflow, Type: {kind.kind.title()}")
    return field


def _convert_decimal(kind: RedshiftType, field: str) -> str:
    if not _DECIMAL.fullmatch(field):
        raise FieldError(1207, "Invalid digit, Type: Decimal")
    whole = field.lstrip("+-").partition(".")[0].lstrip("0")
    fits = len(whole) <= kind.precision - kind.scale
    # COPY cuts digits beyond the scale off, it does not round (no ROUNDEC).
    number = Decimal(field).quantize(Decimal((0, (1,), -kind.scale)), ROUND_DOWN, _WIDE) if fits else Decimal(0)
    if not fits or (kind.precision == 19 and abs(number.scaleb(kind.scale, _WIDE)) > _DECIMAL64_LIMIT):
        raise FieldError(1204, "Overflow, Type: Decimal")
    return f"{number:f}"


def _convert_float(kind: RedshiftType, field: str) -> str:
    if not _FLOAT.fullmatch(field):
        raise FieldError(1208, "Invalid float value")
    number = float(field)
    if abs(number) > _LARGEST_FLOAT[kind.kind] and "i" not in field.lower():
        raise FieldError(1204, f"Overflow, Type: {kind.kind.title()}")
    return field


def _convert_boolean(_: RedshiftType, field: str) -> str:
    text = field.lower()
    if text in _TRUE:
        return "true"
    if text in _FALSE:
        return "false"
    raise FieldError(1210, "Unknown boolean format")


def _convert_date(_: RedshiftType, field: str) -> str:
    try:
        if len(field) == len("2013-01-01"):
            return date.fromisoformat(field).isoformat()
    except ValueError:
        pass
    raise FieldError(1205, "Invalid Date Format - YYYY-MM-DD is expected")


def _convert_timestamp(kind: RedshiftType, field: str) -> str:
    match = _TIME.fullmatch(field)
    try:
        moment = datetime.fromisoformat(f"{match[1]} {match[2]}{match[3] or '+00'}") if match else None
    except ValueError:
        moment = None
    if match is None or moment is None:
        raise FieldError(1206, "Invalid timestamp format or value [YYYY-MM-DD HH24:MI:SS]")
    if kind.kind == "TIMESTAMP":
        # Without a zone the clock's face is what counts; an offset is dropped as PostgreSQL drops it.
        return moment.replace(tzinfo=None).isoformat(sep=" ")
    return moment.astimezone(UTC).isoformat(sep=" ")


def _convert_varbyte(kind: RedshiftType, field: str) -> str:
    if not _HEX.fullmatch(field):
        raise FieldError(1219, "Invalid hexadecimal digit in VARBYTE")
    if len(field) // 2 > kind.length:
        raise FieldError(1204, "Varbyte length exceeds DDL length")
    return field.lower()


def _convert_super(_: RedshiftType, field: str) -> str:
    if len(field.encode()) > MAX_SUPER_BYTES:
        raise FieldError(1224, "SUPER value exceeds export size")
    try:
        value = orjson.loads(field)
    except orjson.JSONDecodeError as error:
        raise FieldError(1224, f"Invalid JSON for SUPER: {error.msg}") from error
    if len(field) * _MAX_CHARACTER_BYTES > MAX_VARCHAR_BYTES and _longest_string(value) > MAX_VARCHAR_BYTES:
        raise FieldError(1224, "String value exceeds the max size of 65535 bytes")
    return field


def _longest_string(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return max((_longest_string(inner) for pair in value.items() for inner in pair), default=0)
    if isinstance(value, list):
        return max(map(_longest_string, value), default=0)
    return 0


# Where COPY reads more than one text for a value, or takes more than fastetl writes.
_CONVERTERS: dict[str, Callable[[RedshiftType, str], str]] = {
    "VARCHAR": _convert_varchar,
    "CHAR": _convert_char,
    "SMALLINT": _convert_integer,
    "INTEGER": _convert_integer,
    "BIGINT": _convert_integer,
    "DECIMAL": _convert_decimal,
    "REAL": _convert_float,
    "DOUBLE PRECISION": _convert_float,
    "BOOLEAN": _convert_boolean,
    "DATE": _convert_date,
    "TIMESTAMP": _convert_timestamp,
    "TIMESTAMPTZ": _convert_timestamp,
    "VARBYTE": _convert_varbyte,
    "SUPER": _convert_super,
}
