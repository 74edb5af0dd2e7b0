"""Show an answer as tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from fastetl.tune.report import COLUMNS, compare_calibration, write_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import RenderableType

    from fastetl.tune.answer import Answer
    from fastetl.tune.calibrate import Calibration
    from fastetl.tune.model import Measured
    from fastetl.tune.prediction import Prediction
    from fastetl.tune.search import Goal


def show_answer(answer: Answer) -> Iterator[RenderableType]:
    """Yield the answer's texts and tables for a terminal, without what is to be copied.

    Args:
        answer: as `build_answer` gave it.
    """
    yield show_measured(answer.measured[0])
    if answer.calibration:
        yield show_calibration(answer.calibration)
    yield show_settings(f"{answer.pipeline}: {answer.workload.rate:,g} changes a second", answer.rows, answer.goal)
    yield show_money("$ per million changes", answer.rows, lambda each: each.per_million / each.dollars)
    for note in answer.notes:
        yield f"- {note}"


def show_measured(measured: Measured) -> Table:
    """Build a table of what the invocations took here."""
    table = Table(
        "records", "CPU ms", "spread", "MB used", "file bytes a record", title="measured here", header_style="bold"
    )
    for sample in measured.samples:
        table.add_row(
            f"{sample.records:,}",
            f"{sample.cpu_seconds * 1000:,.1f}",
            f"± {sample.spread / 2:.0%}",
            f"{sample.memory_mb:,.0f}",
            f"{sample.file_bytes / sample.records:,.1f}",
        )
    return table


def show_calibration(found: Calibration) -> Table:
    """Build a table of what the model said of real invocations."""
    table = Table(
        "", "predicted", "real", header_style="bold",
        title=f"{found.invocations:,} real invocations, {found.starts:,} starts of environments",
    )  # fmt: skip
    for row in compare_calibration(found):
        table.add_row(*row)
    return table


def show_settings(title: str, rows: Mapping[str, Prediction], goal: Goal) -> Table:
    """Build a table of settings and what they give, a column for each."""
    table = Table(*("", *rows), title=title, header_style="bold")
    columns = [write_row(name, prediction, goal) for name, prediction in rows.items()]
    for row in zip(COLUMNS[1:], *(column[1:] for column in columns), strict=True):
        table.add_row(*row)
    return table


def show_money(
    title: str, rows: Mapping[str, Prediction], factor: Callable[[Prediction], float], digits: int = 4
) -> Table:
    """Build a table of where the money goes: a day's dollars times a factor.

    Args:
        title: of the first column.
        rows: predictions by their name.
        factor: of each prediction.
        digits: after the point.
    """
    table = Table(title, *rows, header_style="bold")
    for service in next(iter(rows.values())).dollars_per_day:
        cells = (each.dollars_per_day[service] * factor(each) for each in rows.values())
        table.add_row(service, *(f"{cell:,.{digits}f}" for cell in cells))
    table.add_row("in all", *(f"{each.dollars * factor(each):,.{digits}f}" for each in rows.values()), style="bold")
    return table
