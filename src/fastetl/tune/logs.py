"""The latest lines of a function's log group that calibrating needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastetl.tune.calibrate import LOG_FILTER

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_BACK_SECONDS = (600, 3600, 86_400, 7 * 86_400)
"""How far, one after the other, until there are lines enough."""
ENOUGH_LINES, MOST_LINES = 200, 10_000


async def read_latest_lines(client: Any, log_group: str, *, clock: Callable[[], float]) -> list[str]:
    """Read lines, of no longer ago than it takes to have enough; `client` is one of CloudWatch Logs."""
    now, lines = clock(), []
    for seconds in LOOK_BACK_SECONDS:
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=log_group,
            startTime=int((now - seconds) * 1000),
            filterPattern=LOG_FILTER,
            PaginationConfig={"MaxItems": MOST_LINES},
        )
        lines = [event["message"] async for page in pages for event in page["events"]]
        if len(lines) >= ENOUGH_LINES:
            break
    return lines
