"""Write what commands answer, and what they did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

MINUTE, HOUR, DAY = 60, 3600, 86_400


def echo_json(value: Any) -> None:
    """Write a value as one line of JSON to standard output."""
    import msgspec

    click.echo(msgspec.json.encode(value).decode())


def tell(text: str, *, colour: str | None = None) -> None:
    """Write a line of progress, or what was done, to standard error."""
    click.secho(text, err=True, fg=colour)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under a header in columns that are as wide as their content, so that nothing is cut or wrapped."""
    lines = [[str(cell) for cell in line] for line in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def write_count(number: int, noun: str) -> str:
    """Write how many there are of something: `1 file`, `2,000 files`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def write_size(count: float) -> str:
    """Write bytes with the unit that a person would use: `1.5 MiB`."""
    step = 1024
    for unit in ("bytes", "KiB", "MiB"):
        if count < step:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= step
    return f"{count:,.1f} GiB"


def write_duration(seconds: float) -> str:
    """Write a duration in the unit that a person would use: `45 s`, `29 min`, `3.5 h`, `2 days`."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} days"
