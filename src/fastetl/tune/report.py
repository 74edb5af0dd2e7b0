"""Write the answer as one HTML page that needs nothing else: no scripts, no fonts, no network. Pure.

Its two charts are lists of bars that the browser lays out by itself, so that no label is ever cut.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.tune.answer import Answer
    from fastetl.tune.calibrate import Calibration
    from fastetl.tune.prediction import Prediction
    from fastetl.tune.search import Goal

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5d6675; --paper: #fbfbf9; --rule: #dcdfe4; }
:root { --c0: #2f6fde; --c1: #d9632b; --c2: #2b9a66; --c3: #a259c4; --c4: #c79a1e; --c5: #cf3f6b; --c6: #1f9fb4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #9aa3b2; --paper: #14171c; --rule: #343a45; } }
body { margin: 0 auto; padding: 24px; max-width: 1100px; background: var(--paper); color: var(--ink); }
body { font: 15px/1.5 system-ui, sans-serif; } h1 { font-size: 22px; } h2 { font-size: 16px; margin-top: 32px; }
p, .label { color: var(--soft); }
.scroll, pre { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 8px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } .misses { color: var(--c5); }
.bars { display: grid; grid-template-columns: max-content 1fr; gap: 6px 12px; align-items: center; font-size: 13px; }
.bar { display: flex; height: 20px; } .bar span { background: var(--rule); }
@media (max-width: 520px) { .bars { grid-template-columns: 1fr; gap: 2px; } }
.chosen { background: var(--c0) !important; } .running { background: var(--c1) !important; }
i { display: inline-block; width: 10px; height: 10px; margin: 0 6px 0 16px; }
"""
_COLOURS = 7
"""As many as the style has, from `--c0` on."""


WORTH_A_BAR = 1.15
"""Times as many seconds as the bar before."""


def build_page(answer: Answer) -> str:
    """Build the report as one page of HTML, with the answer's JSON in it, as `#answer`.

    Args:
        answer: as `build_answer` gave it.
    """
    content = escape(msgspec.json.encode(answer).decode(), quote=False)
    title = f"fastetl tune: {answer.pipeline}"
    workload, goal = answer.workload, answer.goal
    said = (
        f"{workload.rate:,g} changes a second on the average, {max(workload.hours):,g} in the busiest hour, "
        f"{workload.shards} shard{'s' * (workload.shards > 1)}; 99 of 100 fresh within {goal.freshness_seconds:,g} s, "
        f"{goal.margin:g} times the busiest hour's rate. {answer.measured_with}; "
        f"{answer.looked_at:,} settings looked at."
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head>
<body><h1>{escape(title)}</h1><p>{escape(said)}</p>
<div class="scroll">{_table(answer)}</div>
<h2>Where the money goes</h2>{_money_bars(answer)}
<h2>What freshness costs</h2>
<p>Each bar is the cheapest setting of its freshness: seconds until 99 of 100 changes are in the warehouse, and dollars
per million changes.</p>{_frontier_bars(answer)}
{_awake_bars(answer)}
<h2>The balanced setting</h2><pre>{escape(answer.configuration)}</pre><pre>{escape(answer.parameters)}</pre>
<p><a href="{escape(answer.power_tuning_url)}">Cost and duration by memory, on AWS Lambda Power Tuning's page</a></p>
{_calibration(answer)}
<h2>To bear in mind</h2><ul>{"".join(f"<li>{escape(note)}</li>" for note in answer.notes)}</ul>
<script type="application/json" id="answer">{content}</script></body></html>
"""


COLUMNS = (
    "setting", "memory", "batch size", "window", "factor", "compression", "load at", "or after", "$ per million",
    "$ per day", "p50", "p99", "memory left", "margin", "loads a day",
)  # fmt: skip


def write_row(name: str, prediction: Prediction, goal: Goal) -> tuple[str, ...]:
    """Write one setting's figures as text, in the order of `COLUMNS`; a figure that misses the goal says so."""
    settings = prediction.settings
    late, slow = prediction.fresh_p99 > goal.freshness_seconds, prediction.margin < goal.margin
    return (
        name,
        f"{settings.memory_mb} MB",
        f"{settings.batch_size:,}",
        f"{settings.window_seconds:g} s",
        str(settings.parallelization),
        settings.compression,
        f"{settings.max_bytes // 1024**2} MiB",
        f"{settings.max_age_seconds} s",
        f"{prediction.per_million:,.3f}",
        f"{prediction.dollars:,.2f}",
        f"{prediction.fresh_p50:,.0f} s",
        f"{prediction.fresh_p99:,.0f} s" + ", misses" * late,
        f"{prediction.headroom:.0%}",
        f"{prediction.margin:,.1f}" + ", misses" * slow,
        f"{prediction.loads_per_day:,.0f}",
    )


def compare_calibration(found: Calibration) -> list[tuple[str, str, str]]:
    """Give what was predicted and what was real as text, and the corrections that follow."""
    rows = [
        (
            "duration, median",
            _milliseconds(found.duration_seconds.predicted),
            _milliseconds(found.duration_seconds.real),
        ),
        ("billed, in all", _milliseconds(found.billed_seconds.predicted), _milliseconds(found.billed_seconds.real)),
        ("memory used, median", f"{found.memory_mb.predicted:,.0f} MB", f"{found.memory_mb.real:,.0f} MB"),
    ]
    if found.init_seconds:
        rows.append(
            ("start, median", _milliseconds(found.init_seconds.predicted), _milliseconds(found.init_seconds.real))
        )
    return [
        *rows,
        ("cpu_factor", f"{found.cpu_factor.predicted:.2f}", f"{found.cpu_factor.real:.2f}"),
        ("init_factor", f"{found.init_factor.predicted:.2f}", f"{found.init_factor.real:.2f}"),
        ("more_memory_mb", f"{found.more_memory_mb.predicted:,.0f}", f"{found.more_memory_mb.real:,.0f}"),
    ]


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


def _table(answer: Answer) -> str:
    columns = [write_row(name, prediction, answer.goal) for name, prediction in answer.rows.items()]
    return _rows(("", *answer.rows), zip(COLUMNS[1:], *(column[1:] for column in columns), strict=True))


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _money_bars(answer: Answer) -> str:
    services = list(answer.current.dollars_per_day)
    most = max(each.dollars for each in answer.rows.values())
    lines = []
    for name, each in answer.rows.items():
        parts = "".join(
            f'<span style="width:{dollars / most:.2%};background:var(--c{number % _COLOURS})" '
            f'title="{escape(service)}: ${dollars:,.2f} a day"></span>'
            for number, (service, dollars) in enumerate(each.dollars_per_day.items())
        )
        lines.append((f"{name}: ${each.dollars:,.2f} a day", parts))
    legend = "".join(
        f'<i style="background:var(--c{number % _COLOURS})"></i>{escape(service)}'
        for number, service in enumerate(services)
    )
    return f"{_bars(lines)}<p>{legend}</p>"


def _frontier_bars(answer: Answer) -> str:
    """Draw one bar for each setting that nothing beats in cost and freshness; proposals and current stand out."""
    settings: dict[tuple[float, float], str] = {}
    for each in answer.frontier:
        if not settings or each.fresh_p99 >= WORTH_A_BAR * max(settings)[0]:
            settings[each.fresh_p99, each.per_million] = ""
    for name, each in answer.rows.items():
        point = each.fresh_p99, each.per_million
        settings[point] = ", ".join(filter(None, (settings.get(point, ""), name)))
    most = max(dollars for _, dollars in settings)
    lines = []
    for (seconds, dollars), names in sorted(settings.items()):
        kind = "running" if "current" in names else "chosen" if names else ""
        width = f'<span class="{kind}" style="width:{dollars / most:.2%}"></span>'
        lines.append((f"{seconds:,.0f} s: ${dollars:,.3f}" + f" ({names})" * bool(names), width))
    return _bars(lines)


def _awake_bars(answer: Answer) -> str:
    """Draw for each hour of the day how long the warehouse is awake."""
    if not (awake := answer.awake):
        return ""
    said = (
        f"With the current settings, for {', '.join(awake.pipelines)}: {awake.minutes:,.0f} minutes a day in "
        f"{awake.wake_ups:,} times, for {awake.loads:,} loads; ${awake.dollars_per_day:,.2f} a day."
    )
    lines = [
        (f"{hour:02d}:00, {minutes:,.0f} min", f'<span class="chosen" style="width:{min(1, minutes / 60):.2%}"></span>')
        for hour, minutes in enumerate(awake.minutes_by_hour)
    ]
    return f"<h2>When the warehouse is awake</h2><p>{escape(said)}</p>{_bars(lines)}"


def _bars(lines: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f'<div class="label">{escape(label)}</div><div class="bar">{bar}</div>' for label, bar in lines)
    return f'<div class="bars">{cells}</div>'


def _calibration(answer: Answer) -> str:
    """Show how the model compares with a deployed function."""
    if not (found := answer.calibration):
        return ""
    return (
        f"<h2>Predicted beside real</h2><p>{found.invocations:,} invocations and {found.starts:,} starts; "
        f"the figures above include the corrections.</p>{_rows(('', 'predicted', 'real'), compare_calibration(found))}"
    )
