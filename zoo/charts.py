"""Curves as inline SVG for a page in HTML. Standard library alone.

Colours and fonts are the page's: a series is drawn in ``var(--series-1)``, ``var(--series-2)`` and so on, all else in
classes that its style sheet knows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

Points = Sequence[tuple[float, float]]  # of a curve: x, y

BUCKETS = 240  # points of a curve that are drawn at most
_WIDTH, _HEIGHT = 480, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 14, 28  # margins around the plot
_LOG_SPAN = 20  # greatest over least value from which a logarithmic axis is worth its trouble


class Bucket(NamedTuple):
    """Neighbouring points of a curve as one.

    Attributes:
        x: the last one's.
        mean: of y.
        low: the least y.
        high: the greatest y.
    """

    x: float
    mean: float
    low: float
    high: float


def line_chart(
    title: str,
    curves: Mapping[str, Points],
    unit: str = "",
    log: bool = False,
    levels: Mapping[str, float] | None = None,
    marks: Mapping[str, float] | None = None,
) -> str:
    """A figure of curves over the same x, which counts updates.

    Of more than ``BUCKETS`` points neighbours are drawn as one: the line is their mean, the band behind it reaches from
    the least to the greatest. Points that aren't finite interrupt a line.

    Args:
        title: of the figure.
        curves: by name.
        unit: of y.
        log: a logarithmic axis, if the values are positive and far enough apart.
        levels: y of horizontal lines to compare with, by name.
        marks: x of vertical lines, by name.

    Returns:
        HTML; empty if there is no finite point.
    """
    buckets = {name: _buckets(points) for name, points in curves.items()}
    finite = [b for points in buckets.values() for b in points if math.isfinite(b.mean)]
    if not finite:
        return ""
    levels = {name: y for name, y in (levels or {}).items() if math.isfinite(y)}
    values = [y for b in finite for y in (b.low, b.high)] + list(levels.values())
    xs = [b.x for b in finite]
    log = log and min(values) > 0 and max(values) >= _LOG_SPAN * min(values)
    y_axis = _Axis.fitting(min(values), max(values), _HEIGHT - _BOTTOM, _TOP, log)
    x_axis = _Axis.spanning(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)

    parts = [_grid(x_axis, y_axis)]
    for name, x in (marks or {}).items():
        if x_axis.low <= x <= x_axis.high:
            parts.append(_mark(name, x_axis(x)))
    parts += _levels(levels, y_axis)
    for number, points in enumerate(buckets.values(), start=1):
        parts += _curve(points, x_axis, y_axis, number)
    names = list(curves)
    legend = "".join(
        f'<li><span class="key" style="background:var(--series-{number})"></span>{escape(name)}</li>'
        for number, name in enumerate(names, start=1)
    )
    last = {
        name: next((b for b in reversed(points) if math.isfinite(b.mean)), None) for name, points in buckets.items()
    }
    newest = f"{number_text(b.mean)}{_spaced(unit)}" if len(names) == 1 and (b := last[names[0]]) else ""
    return (
        f'<figure class="chart" data-points="{escape(json.dumps(_readings(buckets, x_axis, unit)))}">'
        f'<figcaption>{escape(title)}<span class="newest">{escape(newest)}</span></figcaption>'
        + (f'<ul class="legend">{legend}</ul>' if len(names) > 1 else "")
        + f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(_summary(title, finite, unit))}">'
        + "".join(parts)
        + f'<line class="cursor" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" visibility="hidden"/></svg></figure>'
    )


def sparkline(values: Sequence[float], width: int = 120, height: int = 24) -> str:
    """A curve the size of a word; its last point is marked."""
    finite = [(i, y) for i, y in enumerate(values) if math.isfinite(y)]
    if len(finite) < 2:
        return ""
    low, high = min(y for _, y in finite), max(y for _, y in finite)
    x_axis = _Axis(0, len(values) - 1, 2, width - 4)
    y_axis = _Axis(low, high if high > low else low + 1, height - 3, 3)
    points = " ".join(f"{x_axis(i):.1f},{y_axis(y):.1f}" for i, y in finite)
    last = finite[-1]
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
        f'<polyline points="{points}"/><circle cx="{x_axis(last[0]):.1f}" cy="{y_axis(last[1]):.1f}" r="2.5"/></svg>'
    )


def number_text(value: float) -> str:
    """A number as a reader wants it: four digits, thousands apart, no exponent where it can be helped."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 1e-3:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.2e}"


class _Axis(NamedTuple):
    """Values from ``low`` to ``high`` on pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def fitting(cls, low: float, high: float, start: float, end: float, log: bool) -> _Axis:
        """With some room at both ends."""
        if log:
            room = (high / low) ** 0.04
            return cls(low / room, high * room, start, end, True)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(low - room, high + room, start, end)

    @classmethod
    def spanning(cls, low: float, high: float, start: float, end: float) -> _Axis:
        """From the first to the last; a single one lies at the start."""
        return cls(low, high if high > low else low + 1, start, end)

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Four to eight round values."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1.0,) if len(decades) > 4 else (1.0, 3.0) if len(decades) > 3 else (1.0, 2.0, 5.0)
            ticks = [step * 10.0**power for power in decades for step in steps]
        else:
            step = _round_step((self.high - self.low) / 5)
            ticks = [k * step for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [tick for tick in ticks if self.low <= tick <= self.high]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def _buckets(points: Points) -> list[Bucket]:
    """Points in order of x, neighbours joined where there are too many."""
    size = math.ceil(len(points) / BUCKETS) or 1
    buckets = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        ys = [y for _, y in part if math.isfinite(y)]
        x = part[-1][0]
        buckets.append(Bucket(x, math.fsum(ys) / len(ys), min(ys), max(ys)) if ys else Bucket(x, *[math.nan] * 3))
    return buckets


def _runs(points: Sequence[Bucket]) -> list[list[Bucket]]:
    """The parts of a curve between what isn't finite."""
    runs: list[list[Bucket]] = [[]]
    for point in points:
        if math.isfinite(point.mean):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _curve(points: Sequence[Bucket], x_axis: _Axis, y_axis: _Axis, number: int) -> list[str]:
    parts = []
    for run in _runs(points):
        line = " ".join(f"{x_axis(b.x):.1f},{y_axis(b.mean):.1f}" for b in run)
        if any(b.high > b.low for b in run):
            edges = [(b.x, b.high) for b in run] + [(b.x, b.low) for b in reversed(run)]
            band = " ".join(f"{x_axis(x):.1f},{y_axis(y):.1f}" for x, y in edges)
            parts.append(f'<polygon class="band" points="{band}" style="fill:var(--series-{number})"/>')
        parts.append(f'<polyline class="curve" points="{line}" style="stroke:var(--series-{number})"/>')
        if len(points) <= 60:  # few enough to be told apart
            radius = 3 if len(points) <= 20 else 2
            parts += [
                f'<circle cx="{x_axis(b.x):.1f}" cy="{y_axis(b.mean):.1f}" r="{radius}" '
                f'style="fill:var(--series-{number})"/>'
                for b in run
            ]
    return parts


def _grid(x_axis: _Axis, y_axis: _Axis) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for tick in y_axis.ticks():
        y = y_axis(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 3.5:.1f}" text-anchor="end">{_tick(tick)}</text>')
    for tick in x_axis.ticks():
        if tick == int(tick):  # there is no half an update
            x = x_axis(tick)
            parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_tick(tick)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    return "".join(parts)


def _mark(name: str, x: float) -> str:
    side, shift = ("end", 1) if x > _WIDTH * 0.75 else ("start", -1)
    return (
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text class="note" x="{x + shift:.1f}" y="{_TOP - 2}" text-anchor="{side}">{escape(name)}</text>'
    )


def _levels(levels: Mapping[str, float], y_axis: _Axis) -> list[str]:
    """Lines with their names at the right end, which are kept from lying over each other."""
    lines, names = [], []
    last = math.inf
    for name, level in sorted(levels.items(), key=lambda item: item[1]):  # from the lowest up
        y = y_axis(level)
        last = text = min(y - 4, last - 12)
        lines.append(f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        names.append(
            f'<text class="note" x="{_WIDTH - _RIGHT - 2}" y="{text:.1f}" text-anchor="end">'
            f"{escape(name)} {number_text(level)}</text>"
        )
    return lines + names  # no line strikes a name through


def _readings(buckets: Mapping[str, Sequence[Bucket]], x_axis: _Axis, unit: str) -> list[list[object]]:
    """What the pointer reads: place in the drawing, x, and each curve's name and value there."""
    at: dict[float, list[list[str]]] = {}
    for name, points in buckets.items():
        for b in points:
            text = number_text(b.mean) if math.isfinite(b.mean) else "not finite"
            at.setdefault(b.x, []).append([name, f"{text}{_spaced(unit)}"])
    return [[round(x_axis(x), 1), f"{x:,.0f}", values] for x, values in sorted(at.items())]


def _summary(title: str, points: Sequence[Bucket], unit: str) -> str:
    low, high = min(b.low for b in points), max(b.high for b in points)
    ends = f"from step {min(b.x for b in points):,.0f} to {max(b.x for b in points):,.0f}"
    return f"{title}, {ends}: least {number_text(low)}{_spaced(unit)}, greatest {number_text(high)}{_spaced(unit)}"


def _tick(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (1 if letter == "M" else 10):
            return f"{value / size:g}{letter}"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    mantissa, power = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(power)}"


def _spaced(unit: str) -> str:
    return f" {unit}" if unit else ""
