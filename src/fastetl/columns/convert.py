"""One attribute value as the text of one column, or the reason why it does not fit. Pure.

What DynamoDB calls a value is a type tag and its content: `{"N": "1.5"}`. Nothing passes through a binary float, and
nothing is rounded: a value arrives as it is, or does not fit. COPY reads every text given here as exactly this value.
"""

from __future__ import annotations

import binascii
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import orjson

from fastetl.limits import (
    MAX_NUMBER_EXPONENT,
    MAX_PRECISION,
    MAX_SCALE,
    MAX_VARCHAR_BYTES,
    MIN_NUMBER_EXPONENT,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.columns.types import Column, Kind, RedshiftType

Converter = Callable[[str, Any], str | None]
"""From tag and content to the column's text; None is SQL NULL."""

_NUMERAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,4})?|[+-]?\.[0-9]+(?:[eE][+-]?[0-9]{1,4})?")
_PLAIN_NUMERAL = re.compile(r"0|-?[1-9][0-9]*|-?(?:0|[1-9][0-9]*)\.[0-9]*[1-9]")
"""As `plain` writes numbers."""
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2})(?:(:[0-9]{2})(?:[.,]([0-9]+))?)?)?"
    r"(?:[Zz]|([+-][0-9]{2}):?([0-9]{2})?)?"
)
_EXACT = Context(prec=64)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_FLOAT_CODES = {"REAL": "<f", "DOUBLE PRECISION": "<d"}
_INTEGER_BITS = {"SMALLINT": 15, "INTEGER": 31, "BIGINT": 63}
_BIGINT_PRECISION = 19
"""A DECIMAL of this precision is kept in 64 bits (Redshift Database Developer Guide, "Numeric types")."""


class UnfitError(Exception):
    """A value does not fit: `reason` is a code, `detail` says what would fit; neither holds item content."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(reason)


def build_converter(column: Column, null_marker: str) -> Converter:
    """Build the function that turns a value into the column's text.

    It raises `UnfitError` with one of these reasons: `type`, `malformed`, `range`, `scale`, `precision`, `format`,
    `too_long`, `empty`, `not_ascii`, `trailing_blanks`, `nul`, `surrogate`, `null_marker`.
    """
    convert = _BUILDERS[column.type.kind](column)
    if column.type.kind == "SUPER":
        return lambda tag, content: _unlike(null_marker, convert(tag, content))

    def convert_or_null(tag: str, content: Any) -> str | None:
        return None if tag == "NULL" else _unlike(null_marker, convert(tag, content))

    return convert_or_null


def build_path_converter(column: Column, null_marker: str) -> Callable[[Any], str | None]:
    """Build the function that gives a column's text from the value of its path's first attribute.

    It raises `UnfitError` as the functions of `build_converter` do.
    """
    convert, steps = build_converter(column, null_marker), column.path[1:]

    def convert_value(value: Any) -> str | None:
        value = follow_path(value, steps)
        return convert(*only(value)) if value else None

    return convert_value


def follow_path(value: Any, steps: Sequence[str | int]) -> Any:
    """Go down a path from a value; None where there is nothing.

    Raises:
        UnfitError: something on the way is neither a map nor a list.
    """
    for step in steps:
        if not value:
            return None
        value = _step(*only(value), step)
    return value


def _step(tag: str, content: Any, step: str | int) -> Any:
    """One step down a path; None where there is nothing."""
    match tag:
        case "NULL":
            return None
        case "M" if isinstance(step, str) and isinstance(content, dict):
            return content.get(step)
        case "L" if isinstance(step, int) and isinstance(content, list):
            return content[step] if step < len(content) else None
    raise UnfitError("type", "a map" if isinstance(step, str) else "a list")


def build_plain_pattern(kind: RedshiftType) -> str:
    """Give the regular expression of the numerals that a column holds as they are, with no digit to look at twice.

    Every numeral that DynamoDB gives matches if it fits, except in the last digit of an integer's range.
    """
    if bits := _INTEGER_BITS.get(kind.kind):
        digits = len(str(2**bits)) - 1
        return f"0|-?[1-9][0-9]{{0,{digits - 1}}}"
    precision = kind.precision - 1 if kind.precision == _BIGINT_PRECISION else kind.precision
    before, fraction = precision - kind.scale, rf"\.[0-9]{{0,{kind.scale - 1}}}[1-9]" if kind.scale else ""
    alternatives = ["0"]
    if before > 0:
        alternatives.append(
            f"-?[1-9][0-9]{{0,{before - 1}}}(?:{fraction})?" if fraction else f"-?[1-9][0-9]{{0,{before - 1}}}"
        )
    if fraction:
        alternatives.append(f"-?0{fraction}")
    return "|".join(alternatives)


def parse_number(content: Any) -> Decimal:
    """Read DynamoDB's number, exactly.

    Raises:
        UnfitError: it is not a number that DynamoDB can have.
    """
    if not isinstance(content, str) or not _NUMERAL.fullmatch(content):
        raise UnfitError("malformed", "a decimal numeral")
    try:
        number = Decimal(content)
    except InvalidOperation:
        raise UnfitError("malformed", "a decimal numeral") from None
    if number and not MIN_NUMBER_EXPONENT <= number.adjusted() <= MAX_NUMBER_EXPONENT:
        raise UnfitError("malformed", f"a number of 1E{MIN_NUMBER_EXPONENT} to below 1E{MAX_NUMBER_EXPONENT + 1}")
    return number


def plain(number: Decimal) -> str:
    """All digits of a number without exponent and trailing zeros; zero has no sign."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def check_text(text: Any) -> bytes:
    """Give a text's UTF-8.

    Raises:
        UnfitError: Redshift cannot hold it.
    """
    if not isinstance(text, str):
        raise UnfitError("malformed", "text")
    if "\0" in text:
        raise UnfitError("nul", "text without NUL, which Redshift's text cannot hold")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UnfitError("surrogate", "text without lone surrogates, which UTF-8 cannot hold") from None


def truncate(text: str, kind: RedshiftType) -> str:
    """As many whole characters of a text as fit its column; CHAR ignores blanks at the end."""
    kept = text.encode()[: kind.length].decode(errors="ignore")
    return kept.rstrip(" ") if kind.kind == "CHAR" else kept


def decode_binary(content: Any) -> bytes:
    """Read DynamoDB's binary value.

    Raises:
        UnfitError: it is not base64.
    """
    try:
        return binascii.a2b_base64(content, strict_mode=True) if content else b""
    except (binascii.Error, ValueError, TypeError):
        raise UnfitError("malformed", "base64") from None


def text_of(tag: str, content: Any) -> str:
    """Give a text, number or truth value as text; a number as DynamoDB wrote it.

    Raises:
        UnfitError: the value is none of these.
    """
    match tag:
        case "S" if isinstance(content, str):
            return content
        case "N":
            parse_number(content)
            return str(content)
        case "BOOL" if isinstance(content, bool):
            return "true" if content else "false"
        case "S" | "BOOL":
            raise UnfitError("malformed", "a value as DynamoDB writes it")
    raise UnfitError("type", "S, N or BOOL")


def _unlike(null_marker: str, text: str) -> str:
    if text == null_marker:
        raise UnfitError("null_marker", "anything but the text that stands for NULL")
    return text


def _number(tag: str, content: Any) -> Decimal:
    if tag != "N":
        raise UnfitError("type", "N")
    return parse_number(content)


def _varchar(column: Column) -> Callable[[str, Any], str]:
    length = column.type.length

    def convert(tag: str, content: Any) -> str:
        text = text_of(tag, content)
        if len(check_text(text)) > length:
            raise UnfitError("too_long", f"at most {length} bytes of UTF-8")
        return text

    return convert


def _char(column: Column) -> Callable[[str, Any], str]:
    length = column.type.length

    def convert(tag: str, content: Any) -> str:
        text = text_of(tag, content)
        check_text(text)
        if not text.isascii():
            raise UnfitError("not_ascii", "CHAR holds ASCII; VARCHAR holds all characters")
        if len(text) > length:
            raise UnfitError("too_long", f"at most {length} characters")
        if text.endswith(" "):
            raise UnfitError("trailing_blanks", "CHAR drops blanks at the end; VARCHAR keeps them")
        return text

    return convert


def _integer(column: Column) -> Callable[[str, Any], str]:
    limit = 1 << _INTEGER_BITS[column.type.kind]
    is_plain = re.compile(build_plain_pattern(column.type)).fullmatch

    def convert(tag: str, content: Any) -> str:
        if tag == "N" and isinstance(content, str) and is_plain(content):
            return content
        number = _number(tag, content)
        text = plain(number)
        if "." in text:
            raise UnfitError("scale", "a whole number")
        if not -limit <= int(text) < limit:
            raise UnfitError("range", f"{-limit} to {limit - 1}")
        return text

    return convert


def _decimal(column: Column) -> Callable[[str, Any], str]:
    kind = column.type
    is_plain = re.compile(build_plain_pattern(kind)).fullmatch

    def convert(tag: str, content: Any) -> str:
        if tag == "N" and isinstance(content, str) and is_plain(content):
            return content
        text = plain(_number(tag, content))
        before, _, after = text.lstrip("-").partition(".")
        if len(after) > kind.scale:
            raise UnfitError("scale", f"at most {kind.scale} digits after the point")
        if before != "0" and len(before) > kind.precision - kind.scale:
            raise UnfitError("range", f"at most {kind.precision - kind.scale} digits before the point")
        if kind.precision == _BIGINT_PRECISION and abs(int(before + after.ljust(kind.scale, "0"))) >= 1 << 63:
            raise UnfitError("range", f"at most {(1 << 63) - 1} without its point; a precision of 20 holds more")
        return text

    return convert


def _float(column: Column) -> Callable[[str, Any], str]:
    code = _FLOAT_CODES[column.type.kind]

    def convert(tag: str, content: Any) -> str:
        number = _number(tag, content)
        nearest = _nearest(float(number), code)
        if math.isinf(nearest) or (number and not nearest):
            raise UnfitError("range", f"what {column.type} can hold")
        if Decimal(_shortest(nearest, code)) != number:
            raise UnfitError("precision", f"no more digits than {column.type} keeps; DECIMAL keeps 38")
        return plain(number)

    return convert


def _shortest(nearest: float, code: str) -> str:
    """The fewest digits that mean this float and no other of its size."""
    if code == "<d":
        return repr(nearest)
    spellings = (format(nearest, f".{digits}e") for digits in range(9))
    return next(text for text in spellings if _nearest(float(text), code) == nearest)


def _nearest(value: float, code: str) -> float:
    try:
        return float(struct.unpack(code, struct.pack(code, value))[0])
    except OverflowError:
        return math.inf


def _boolean(_: Column) -> Callable[[str, Any], str]:
    def convert(tag: str, content: Any) -> str:
        if tag != "BOOL":
            raise UnfitError("type", "BOOL")
        return text_of(tag, content)

    return convert


def _varbyte(column: Column) -> Callable[[str, Any], str]:
    length = column.type.length

    def convert(tag: str, content: Any) -> str:
        if tag != "B":
            raise UnfitError("type", "B")
        binary = decode_binary(content)
        if not binary:
            # COPY, EMPTYASNULL: "Empty fields for other data types are always loaded with NULL".
            raise UnfitError("empty", "at least one byte, since COPY reads an empty VARBYTE as NULL")
        if len(binary) > length:
            raise UnfitError("too_long", f"at most {length} bytes")
        return binary.hex()

    return convert


def _date(column: Column) -> Callable[[str, Any], str]:
    parse = _build_time_parser(column)

    def convert(tag: str, content: Any) -> str:
        moment = parse(tag, content)
        if moment.time() != datetime.min.time():
            raise UnfitError("precision", "a day without a time of day")
        return moment.date().isoformat()

    def convert_day(tag: str, content: Any) -> str:
        if tag != "S":
            raise UnfitError("type", "S")
        try:
            day = date.fromisoformat(content).isoformat()
        except (TypeError, ValueError):
            day = ""
        if day != content:
            raise UnfitError("format", "YYYY-MM-DD")
        return day

    return convert_day if column.time_format == "iso8601" else convert


def _timestamp(column: Column) -> Callable[[str, Any], str]:
    parse = _build_time_parser(column)
    zone = "+00" if column.type.kind == "TIMESTAMPTZ" else ""

    def convert(tag: str, content: Any) -> str:
        return parse(tag, content).replace(tzinfo=None).isoformat(" ") + zone

    return convert


def _build_time_parser(column: Column) -> Callable[[str, Any], datetime]:
    if column.time_format == "iso8601":
        return _parse_time
    microseconds = _MICROSECONDS[column.time_format]

    def parse(tag: str, content: Any) -> datetime:
        number = _number(tag, content)
        if number.adjusted() > MAX_PRECISION:
            raise UnfitError("range", "the years 1 to 9999")
        text = plain(_EXACT.multiply(number, microseconds))
        if "." in text:
            raise UnfitError("precision", "whole microseconds")
        try:
            return _EPOCH + timedelta(microseconds=int(text))
        except OverflowError:
            raise UnfitError("range", "the years 1 to 9999") from None

    return parse


def _parse_time(tag: str, content: Any) -> datetime:
    if tag != "S":
        raise UnfitError("type", "S")
    match = _TIME.fullmatch(content) if isinstance(content, str) else None
    if not match:
        raise UnfitError("format", "ISO 8601: YYYY-MM-DDTHH:MM:SS.ffffff, with Z or an offset if there is one")
    day, time, seconds, fraction, hours, minutes = match.groups()
    if fraction and fraction[6:].strip("0"):
        raise UnfitError("precision", "at most microseconds")
    try:
        moment = datetime.fromisoformat(f"{day}T{time or '00:00'}{seconds or ''}").replace(tzinfo=UTC)
        moment = moment.replace(microsecond=int((fraction or "0")[:6].ljust(6, "0")))
        if hours:
            offset = timedelta(hours=int(hours[1:]), minutes=int(minutes or 0))
            moment = moment + offset if hours[0] == "-" else moment - offset
    except ValueError:
        raise UnfitError("format", "a day and a time that exist") from None
    except OverflowError:
        raise UnfitError("range", "the years 1 to 9999") from None
    return moment


def _super(_: Column) -> Callable[[str, Any], str]:
    return build_json


def build_json(tag: str, content: Any) -> str:
    """Give any value as JSON for SUPER: sets as sorted arrays, binary as base64, numbers with all their digits.

    Raises:
        UnfitError: SUPER cannot hold it.
    """
    return orjson.dumps(_json({tag: content})).decode()


def _json(value: Any) -> Any:
    try:
        ((tag, content),) = value.items()
        return _JSON[tag](content)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UnfitError("malformed", "a value as DynamoDB writes it") from None


def only(value: Any) -> tuple[str, Any]:
    """Take an attribute value apart into its tag and its content.

    Raises:
        UnfitError: it does not have exactly one tag.
    """
    if isinstance(value, dict) and len(value) == 1:
        ((tag, content),) = value.items()
        return tag, content
    raise UnfitError("malformed", "a value as DynamoDB writes it")


def _json_text(text: Any) -> str:
    if type(text) is str and text.isascii() and len(text) <= MAX_VARCHAR_BYTES and "\0" not in text:
        return text  # what most are, with no need to encode it
    if len(check_text(text)) > MAX_VARCHAR_BYTES:
        raise UnfitError("too_long", f"texts of at most {MAX_VARCHAR_BYTES} bytes inside SUPER")
    return str(text)


def _json_number(content: Any) -> orjson.Fragment:
    if type(content) is str and len(content) <= MAX_PRECISION and _PLAIN_NUMERAL.fullmatch(content):
        return orjson.Fragment(content)
    text = plain(parse_number(content))
    before, _, after = text.lstrip("-").partition(".")
    if len(after) > MAX_SCALE or len(before.lstrip("0")) + len(after) > MAX_PRECISION:
        raise UnfitError(
            "range", f"inside SUPER what DECIMAL({MAX_PRECISION},{MAX_SCALE}) holds; a float would lose digits"
        )
    return orjson.Fragment(text)


def _json_truth(content: Any) -> bool:
    if not isinstance(content, bool):
        raise UnfitError("malformed", "true or false")
    return content


def _json_binary(content: Any) -> str:
    decode_binary(content)
    return str(content)


_JSON: dict[str, Callable[[Any], Any]] = {
    "S": _json_text,
    "N": _json_number,
    "BOOL": _json_truth,
    "NULL": lambda _: None,
    "B": _json_binary,
    "M": lambda content: {_json_text(name): _json(value) for name, value in content.items()},
    "L": lambda content: [_json(value) for value in content],
    "SS": lambda content: sorted(map(_json_text, content)),
    "NS": lambda content: [_json_number(number) for number in sorted(content, key=parse_number)],
    "BS": lambda content: [_json_binary(binary) for binary in sorted(content, key=decode_binary)],
}

_BUILDERS: dict[Kind, Callable[[Column], Callable[[str, Any], str]]] = {
    "SMALLINT": _integer,
    "INTEGER": _integer,
    "BIGINT": _integer,
    "DECIMAL": _decimal,
    "REAL": _float,
    "DOUBLE PRECISION": _float,
    "BOOLEAN": _boolean,
    "CHAR": _char,
    "VARCHAR": _varchar,
    "DATE": _date,
    "TIMESTAMP": _timestamp,
    "TIMESTAMPTZ": _timestamp,
    "SUPER": _super,
    "VARBYTE": _varbyte,
}
