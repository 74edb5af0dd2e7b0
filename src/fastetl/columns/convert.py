"""Convert one attribute value to the text of one column, or say why it does not fit. Pure.

Nothing is rounded: a value arrives as it is, or does not fit. COPY reads every text given here as exactly this value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastetl.columns.rule import DOCUMENT, UnfitError
from fastetl.columns.values import check_null, follow_path

if TYPE_CHECKING:
    from random import Random

    from fastetl.columns.rule import Convert
    from fastetl.columns.types import Column

Converter = Callable[[str, Any], str | None]
"""Takes tag and content, and gives the column's text; None is SQL NULL."""


def build_converter(column: Column, null_marker: str) -> Converter:
    """Build the function that turns a value into the column's text.

    It raises `UnfitError` with one of these reasons: `type`, `malformed`, `range`, `scale`, `precision`, `format`,
    `too_long`, `empty`, `not_ascii`, `trailing_blanks`, `nul`, `surrogate`, `null_marker`.

    Args:
        column: its type, format and policy.
        null_marker: the text that stands for NULL, which no value may equal.
    """
    return _guard(column, column.type.rule.convert(column), null_marker)


def build_shortener(column: Column, null_marker: str) -> Converter | None:
    """Build the function that makes a value fit that is too long or too precise; None where a type has none.

    It raises `UnfitError` where shortening does not help.

    Args:
        column: its type and format.
        null_marker: the text that stands for NULL, which no value may equal.
    """
    shorten = column.type.rule.shorten
    return _guard(column, shorten(column), null_marker) if shorten else None


def build_path_converter(column: Column, null_marker: str) -> Callable[[dict[str, Any]], str | None]:
    """Build the function that gives a column's text from an item.

    It raises `UnfitError` as the functions of `build_converter` do.

    Args:
        column: its type, format, policy and path.
        null_marker: the text that stands for NULL, which no value may equal.
    """
    convert = build_converter(column, null_marker)

    def convert_value(item: dict[str, Any]) -> str | None:
        value = follow_path(item, column.path)
        return convert(*value) if value else None

    return convert_value


def make_example(column: Column, chance: Random) -> dict[str, Any]:
    """Make up an attribute value that fits a column.

    Args:
        column: its type, format and path.
        chance: seeded; the same seed makes the same value.

    Returns:
        The value, as DynamoDB JSON has it: `{"N": "1"}`.
    """
    return {column.tag if column.tag != DOCUMENT else "M": column.type.rule.example(column, chance)}


def _guard(column: Column, convert: Convert, null_marker: str) -> Converter:
    """Let NULL be NULL, where the type has no value for it, and no value be what stands for NULL."""
    keeps_null = column.type.rule.tag == DOCUMENT

    def convert_or_null(tag: str, content: Any) -> str | None:
        if tag == "NULL" and not keeps_null:
            check_null(content)
            return None
        text = convert(tag, content)
        if text == null_marker:
            raise UnfitError("null_marker", "anything but the text that stands for NULL")
        return text

    return convert_or_null
