"""The answer as one HTML page that needs nothing else: no scripts, no fonts, no network; light and dark. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec

from fastetl.tune.charts import Series, build_axis, draw_bars, draw_plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.tune.answer import Answer
    from fastetl.tune.calibrate import Calibration
    from fastetl.tune.prediction import Prediction

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5d6675; --paper: #fbfbf9; --card: #fff; --rule: #dcdfe4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ec; --soft: #9aa3b2; --paper: #14171c; --card: #1c2027; --rule: #343a45; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 24px; }
h1 { font-size: 22px; margin: 0; }
h2 { font-size: 16px; margin: 0 0 8px; }
p { color: var(--soft); margin: 4px 0 16px; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 16px; min-width: 0; }
.charts { display: grid; gap: 16px; margin: 16px 0; }
.charts { grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { font-size: 13px; }
th, td { padding: 6px 5px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: var(--soft); }
pre { background: var(--paper); padding: 12px; border-radius: 6px; overflow-x: auto; font-size: 13px; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--rule); stroke-width: .6; } .axis { stroke: var(--soft); }
.line { fill: none; stroke: currentColor; stroke-width: 1.8; } .dot, .area { fill: currentColor; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0; margin: 8px 0 0; }
.legend { font-size: 13px; }
.legend i {
  display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; background: currentColor;
}
.c0 { color: #2f6fde; } .c1 { color: #d9632b; } .c2 { color: #2b9a66; } .c3 { color: #a259c4; }
.c4 { color: #c79a1e; } .c5 { color: #cf3f6b; } .c6 { color: #1f9fb4; } .c7 { color: #7d8590; }
"""


def build_page(answer: Answer) -> str:
    """Build the page. The answer's JSON is in it, as `#answer`."""
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
<body><main><h1>{escape(title)}</h1><p>{escape(said)}</p>
<section><div class="scroll">{_table(answer)}</div></section>
<div class="charts">
<section><h2>What the ingest function costs, by memory</h2>{_memory_chart(answer)}</section>
<section><h2>Cost against freshness</h2>{_frontier_chart(answer)}</section>
<section><h2>Where the money goes</h2>{_money_chart(answer)}</section>
<section><h2>Memory used</h2>{_used_chart(answer)}</section>
</div>
<section><h2>The balanced setting</h2><pre>{escape(answer.configuration)}</pre>
<pre>{escape(answer.parameters)}</pre>
<p><a href="{escape(answer.power_tuning_url)}">Memory and cost on AWS Lambda Power Tuning's page</a></p></section>
{_trust(answer)}
</main><script type="application/json" id="answer">{content}</script></body></html>
"""


COLUMNS = (
    "setting", "memory", "batch size", "window", "factor", "compression", "load at", "or after", "$ per million",
    "$ per day", "p50", "p99", "memory left", "margin", "loads a day",
)  # fmt: skip


def write_row(name: str, prediction: Prediction) -> tuple[str, ...]:
    """Give one setting's figures as text, in the order of `COLUMNS`."""
    settings = prediction.settings
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
        f"{prediction.fresh_p99:,.0f} s",
        f"{prediction.headroom:.0%}",
        f"{prediction.margin:,.1f}",
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
    return _rows(COLUMNS, [write_row(name, prediction) for name, prediction in answer.rows.items()])


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _memory_chart(answer: Answer) -> str:
    series = [
        Series(name, tuple((memory, dollars) for memory, dollars, _ in points))
        for name, points in answer.memory_curves.items()
    ]
    points = [point for one in series for point in one.points]
    across = build_axis("MB given", [memory for memory, _ in points])
    up = build_axis("$ per million changes", [dollars for _, dollars in points])
    return draw_plot(across, up, series)


def _frontier_chart(answer: Answer) -> str:
    frontier = tuple((each.fresh_p99, each.per_million) for each in answer.frontier)
    series = [Series("nothing is both cheaper and fresher", frontier)]
    chosen = {name: (each.fresh_p99, each.per_million) for name, each in answer.rows.items()}
    series += [Series(name, (point,), line=False, marks=(name,)) for name, point in chosen.items()]
    points = [*frontier, *chosen.values()]
    across = build_axis("seconds until 99 of 100 changes are in the warehouse", [seconds for seconds, _ in points])
    return draw_plot(across, build_axis("$ per million changes", [dollars for _, dollars in points]), series)


def _money_chart(answer: Answer) -> str:
    stacks = [each.dollars_per_day for each in answer.rows.values()]
    return draw_bars(list(answer.rows), stacks, lambda dollars: f"${dollars:,.2f} a day")


def _used_chart(answer: Answer) -> str:
    measured = answer.measured[0]
    used = Series("used", tuple((sample.records, sample.memory_mb) for sample in measured.samples))
    first, last = measured.samples[0].records, measured.samples[-1].records
    given = [
        Series(f"given: {name}", ((first, each.settings.memory_mb), (last, each.settings.memory_mb)))
        for name, each in answer.rows.items()
    ]
    across = build_axis("records of an invocation", [first, last])
    points = [point for one in (used, *given) for point in one.points]
    return draw_plot(across, build_axis("MB", [mb for _, mb in points], from_zero=True), [used, *given])


def _trust(answer: Answer) -> str:
    """Say how the model was held against what happens, and what it leaves out."""
    parts = []
    if found := answer.calibration:
        rows = _rows(("", "predicted", "real"), compare_calibration(found))
        parts.append(
            f"<section><h2>Predicted beside real</h2><p>{found.invocations:,} invocations and {found.starts:,} starts; "
            f"the figures above include the corrections.</p>{rows}</section>"
        )
    notes = "".join(f"<li>{escape(note)}</li>" for note in answer.notes)
    parts.append(f"<section><h2>To bear in mind</h2><ul>{notes}</ul></section>")
    return f'<div class="charts">{"".join(parts)}</div>'
