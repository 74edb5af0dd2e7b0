"""Charts of what was measured, as SVG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OWN, OTHER = "#2f6fde", "#b9c0c9"

mpl.rcParams["svg.fonttype"] = "none"  # text stays text
mpl.rcParams["svg.hashsalt"] = "fastetl"  # the same numbers give the same file


def draw_bars(values: Mapping[str, float], own: Callable[[str], bool], show: Callable[[float], str]) -> str:
    """Draw one bar for each name, those of this project in another colour, each with its value."""
    figure = Figure(figsize=(7, 0.4 * len(values) + 0.2), layout="constrained")
    axes = figure.subplots()
    names = list(values)[::-1]
    bars = axes.barh(names, [values[name] for name in names], color=[OWN if own(name) else OTHER for name in names])
    axes.bar_label(bars, [show(values[name]) for name in names], padding=4)
    axes.margins(x=0.15)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return _write(figure)


def draw_line(points: Sequence[tuple[float, float]], across: str, up: str) -> str:
    """Draw one line through points, over a logarithmic axis."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([x for x, _ in points], [y for _, y in points], marker="o", color=OWN)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.4)
    return _write(figure)


def _write(figure: Figure) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
