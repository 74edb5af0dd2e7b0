"""Find the stream that an event comes from, without decoding the event."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastetl.decode.other_input import describe_other_input
from fastetl.errors import EventError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SOURCE_ARN = re.compile(rb'"eventSourceARN"\s*:\s*"([^"\\]+)"')


def parse_source_arn(
    event: bytes | bytearray | dict[str, Any], is_known: Callable[[str], bool] = lambda _: True
) -> str:
    """Find the stream that an event comes from, without decoding it.

    Args:
        event: the JSON that Lambda hands over, or what it means.
        is_known: tells a stream that is read from any other: one odd record does not speak for the others.

    Returns:
        The first ARN that is known; the first of all where none is.

    Raises:
        EventError: no record says.
    """
    first = ""
    for arn in _find_arns(event):
        if is_known(arn):
            return arn
        first = first or arn
    if not first:
        what = describe_other_input(event)
        raise EventError(f"{what}; invoke the function through an event source mapping")
    return first


def _find_arns(event: bytes | bytearray | dict[str, Any]) -> Iterator[str]:
    if isinstance(event, dict):
        records = event.get("Records")
        # The end of a mapping's window has no records, and the ARN beside them.
        every = [*(records if isinstance(records, list) else []), event]
        found = (record.get("eventSourceARN") for record in every if isinstance(record, dict))
        yield from (arn for arn in found if arn and isinstance(arn, str))
    else:
        # Inside an item this could only be an attribute's name, and an attribute's value is never plain text.
        yield from (match[1].decode(errors="replace") for match in _SOURCE_ARN.finditer(event))
