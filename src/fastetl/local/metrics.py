"""Read the metrics in a function's log: the embedded metric format of CloudWatch."""

from __future__ import annotations

from collections.abc import Iterable

import orjson


def sum_metrics(log: Iterable[str]) -> dict[str, float]:
    """Sum the metrics that functions have written into their logs, by name.

    Args:
        log: their lines.
    """
    sums: dict[str, float] = {}
    for line in log:
        if not line.startswith("{") or '"_aws"' not in line:
            continue
        record = orjson.loads(line)
        for directive in record["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                value = record[metric["Name"]]
                total = sum(value) if isinstance(value, list) else value
                sums[metric["Name"]] = sums.get(metric["Name"], 0) + total
    return sums
