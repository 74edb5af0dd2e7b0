"""Charts as SVG, drawn from numbers: lines, dots and bars; colours come from the page's CSS. Pure."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 12, 44
FAR_APART = 20
"""Times as large: from here on an axis is logarithmic."""
COLOURS = 8
"""As many as the page's CSS has, from `.c0` on."""

Point = tuple[float, float]


class Series(msgspec.Struct, frozen=True):
    """Points that belong together, in the order in which a line joins them."""

    name: str
    points: tuple[Point, ...]
    line: bool = True
    marks: tuple[str, ...] = ()
    """A label for each point, where they have any."""


class Axis(msgspec.Struct, frozen=True):
    """What an axis shows; logarithmic where its values are far apart."""

    title: str
    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Give a value's place between 0 and 1."""
        if not self.logarithmic:
            return (value - self.low) / (self.high - self.low)
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """Give round values to write at the axis."""
        if self.logarithmic:
            found = [
                mantissa * 10.0**exponent
                for exponent in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                for mantissa in (1, 2, 5)
            ]
            within = [value for value in found if self.low <= value * 1.001 and value <= self.high * 1.001]
            return within[:: max(1, len(within) // 6)]
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def build_axis(title: str, values: Sequence[float], *, from_zero: bool = False) -> Axis:
    """Choose an axis that has room for all values."""
    usable = [value for value in values if math.isfinite(value)] or [1.0]
    low, high = min(usable), max(usable)
    if not from_zero and low > 0 and high / low > FAR_APART:
        return Axis(title, low / 1.1, high * 1.1, logarithmic=True)
    low = 0.0 if from_zero or low < 0.4 * high else low * 0.95
    return Axis(title, low, high * 1.05 if high > low else low + 1.0)


def draw_plot(across: Axis, up: Axis, series: Sequence[Series], show: Callable[[float], str] = "{:g}".format) -> str:
    """Draw lines and dots, with a legend below where there are several series."""

    def x(value: float) -> float:
        return LEFT + across.place(value) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - up.place(value) * (HEIGHT - TOP - BOTTOM)

    parts = [_frame(across.title, up.title)]
    for value in across.ticks():
        parts.append(_text(x(value), HEIGHT - BOTTOM + 16, f"{value:,.10g}", "middle"))
        parts.append(_line(x(value), TOP, x(value), HEIGHT - BOTTOM, "grid"))
    for value in up.ticks():
        parts.append(_text(LEFT - 6, y(value) + 4, show(value), "end"))
        parts.append(_line(LEFT, y(value), WIDTH - RIGHT, y(value), "grid"))
    for number, one in enumerate(series):
        places = [(x(across_value), y(up_value)) for across_value, up_value in one.points]
        if one.line:
            way = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
            parts.append(f'<polyline class="c{number % COLOURS} line" points="{way}"/>')
        for place, (a, b) in enumerate(places):
            title = one.marks[place] if one.marks else one.name
            parts.append(
                f'<circle class="c{number % COLOURS} dot" cx="{a:.1f}" cy="{b:.1f}" r="{3 if one.line else 6}">'
                f"<title>{escape(title)}</title></circle>"
            )
    return _svg(parts, HEIGHT) + _legend([one.name for one in series if one.name])


def draw_bars(names: Sequence[str], stacks: Sequence[dict[str, float]], show: Callable[[float], str]) -> str:
    """Draw one stacked bar for each name, from left to right, and how much each makes in all."""
    height = TOP + 40 * len(names) + 8
    most = max(sum(stack.values()) for stack in stacks) or 1.0
    kinds = list(dict.fromkeys(kind for stack in stacks for kind in stack))
    parts = []
    for row, (name, stack) in enumerate(zip(names, stacks, strict=True)):
        top, at = TOP + 40 * row, 110.0
        parts.append(_text(102, top + 19, name, "end"))
        for kind, value in stack.items():
            wide = value / most * (WIDTH - 110 - 90)
            parts.append(
                f'<rect class="c{kinds.index(kind) % COLOURS} area" x="{at:.1f}" y="{top}" width="{wide:.1f}"'
                f' height="28">'
                f"<title>{escape(kind)}: {escape(show(value))}</title></rect>"
            )
            at += wide
        parts.append(_text(at + 6, top + 19, show(sum(stack.values())), "start"))
    return _svg(parts, height) + _legend(kinds)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _frame(across: str, up: str) -> str:
    middle = (HEIGHT - BOTTOM + TOP) / 2
    return (
        _text((WIDTH + LEFT) / 2, HEIGHT - 6, across, "middle")
        + f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'
        + _line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis")
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def _legend(names: Sequence[str]) -> str:
    if len(names) == 1:
        return ""
    entries = "".join(
        f'<li><i class="c{number % COLOURS}"></i>{escape(name)}</li>' for number, name in enumerate(names)
    )
    return f'<ul class="legend">{entries}</ul>'
