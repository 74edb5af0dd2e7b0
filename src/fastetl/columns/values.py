"""The values of DynamoDB: read exactly, or refused. Pure.

What DynamoDB calls a value is a type tag and its content: `{"N": "1.5"}`. Nothing passes through a binary float.
"""

from __future__ import annotations

import binascii
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, cast

from fastetl.columns.rule import UnfitError
from fastetl.limits import MAX_NUMBER_EXPONENT, MIN_NUMBER_EXPONENT

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMERAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,4})?|[+-]?\.[0-9]+(?:[eE][+-]?[0-9]{1,4})?")


def only(value: Any) -> tuple[str, Any]:
    """Take an attribute value apart into its tag and its content.

    Args:
        value: like `{"S": "text"}`.

    Returns:
        Tag and content: `("S", "text")`.

    Raises:
        UnfitError: it does not have exactly one tag.
    """
    if isinstance(value, dict) and len(value) == 1:
        ((tag, content),) = value.items()
        return tag, content
    raise UnfitError("malformed", "a value as DynamoDB writes it")


def follow_path(item: dict[str, Any], path: Sequence[str | int]) -> tuple[str, Any] | None:
    """Go down a path from an item's root.

    Args:
        item: its attributes, as DynamoDB writes them.
        path: names and list positions; it begins with a name.

    Returns:
        The value's tag and content; None where there is nothing, or where the way ends at a NULL.

    Args:
        value: an attribute value, as DynamoDB JSON has it.
        steps: names of maps' members, and places in lists.

    Raises:
        UnfitError: something on the way is neither a map nor a list, or no value as DynamoDB writes it.
    """
    tag, content = "M", cast("Any", item)
    for step in path:
        if tag == "NULL" and content is True:
            return None
        inside = _step(tag, content, step)
        if not inside:
            return None
        tag, content = only(inside[0])
    return tag, content


def _step(tag: str, content: Any, step: str | int) -> list[Any]:
    """Take one step down a path; give what is there, which may be anything, or an empty list."""
    match tag:
        case "M" if isinstance(step, str) and isinstance(content, dict):
            return [content[step]] if step in content else []
        case "L" if isinstance(step, int) and isinstance(content, list):
            return content[step : step + 1]
    raise UnfitError("type", "a map" if isinstance(step, str) else "a list")


def parse_number(content: Any) -> Decimal:
    """Read DynamoDB's number, exactly.

    Args:
        content: the text that DynamoDB JSON has for a number.

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


def take_number(tag: str, content: Any) -> Decimal:
    """Read a value that has to be a number.

    Raises:
        UnfitError: it is none.
    """
    if tag != "N":
        raise UnfitError("type", "N")
    return parse_number(content)


def plain(number: Decimal) -> str:
    """Write all digits of a number, without exponent and trailing zeros; zero has no sign.

    Args:
        number: any finite number.
    """
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def check_text(text: Any) -> bytes:
    """Give a text's UTF-8.

    Args:
        text: anything; only a text passes.

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


def check_null(content: Any) -> None:
    """Check the content of DynamoDB's NULL, which is always true (DynamoDB API reference, AttributeValue).

    Raises:
        UnfitError: it is something else.
    """
    if content is not True:
        raise UnfitError("malformed", "a value as DynamoDB writes it")


def decode_binary(content: Any) -> bytes:
    """Read DynamoDB's binary value.

    Raises:
        UnfitError: it is not base64.
    """
    try:
        return binascii.a2b_base64(content, strict_mode=True) if content != "" else b""
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
