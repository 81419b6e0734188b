"""The plots of a report as inline SVG, legible on a phone, in the colors of the page's style sheet."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from hrnet_deploy.evaluation.comparison import ClassDelta
from hrnet_deploy.report.axis import Axis
from hrnet_deploy.report.formatting import interval, milliseconds, percent, points
from hrnet_deploy.report.report import Report, Row
from hrnet_deploy.system.text_table import visible

WIDTH = 360
MAX_CLASSES = 20
_ROW = 46
_BAR_ROW = 19
_STEP_ROW = 38
_NAME_PX = 104
_NAME_LETTERS = 15
_BADGE_OFFSETS = (
    *((0, -19), (20, -8), (-20, -8), (20, 12), (-20, 12)),
    *((0, 22), (34, 0), (-34, 0), (38, -20), (-38, -20)),
)


class _Plot:
    """An SVG element under construction; the serializer escapes all text and attributes."""

    def __init__(self, height: float, label: str) -> None:
        box = f"0 0 {WIDTH} {height:.0f}"
        self._svg = ET.Element("svg", {"viewBox": box, "role": "img", "aria-label": visible(label)})

    def __str__(self) -> str:
        return ET.tostring(self._svg, encoding="unicode")

    def add(self, tag: str, class_: str, **attributes: float) -> ET.Element:
        numbers = {name: f"{value:.4g}" for name, value in attributes.items()}
        return ET.SubElement(self._svg, tag, {**numbers, "class": class_})

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        self.add("line", class_, x1=x1, y1=y1, x2=x2, y2=y2)

    def text(self, text: str, x: float, y: float, class_: str, *, max_letters: int | None = None) -> None:
        """Write a text; one above `max_letters` is shortened and has the whole as its tooltip."""
        element = self.add("text", class_, x=x, y=y)
        element.text = whole = visible(text)
        if max_letters and len(whole) > max_letters:
            element.text = _shorten(whole, max_letters)
            ET.SubElement(element, "title").text = whole

    def dot(self, x: float, y: float, row: Row) -> None:
        """Draw a filled dot for a measurement, a hollow one for a prediction."""
        self.add("circle", "dot predicted" if row.runtime_status.predicted else "dot", cx=x, cy=y, r=5)

    def badge(self, row: Row, x: float, y: float) -> None:
        self.add("circle", "badge reference" if row.comparison is None else "badge", cx=x, cy=y, r=9)
        self.text(row.letter, x, y + 4, "letter middle")

    def horizontal_axis(self, axis: Axis, top: float, bottom: float, title: str, title_x: float = WIDTH / 2) -> None:
        for tick in axis.ticks:
            self.line(axis(tick), top, axis(tick), bottom, "zero" if abs(tick) < 1e-12 else "grid")
            self.text(axis.label(tick), axis(tick), bottom + 15, "tick middle")
        self.text(title, title_x, bottom + 32, "axis middle")


def drop_plot(report: Report) -> str:
    """Plot the loss of each candidate with its interval."""
    drops = [(row, row.drop) for row in report.candidates if row.drop]
    values = [value for _, drop in drops for value in (drop.points, drop.low, drop.high) if value is not None]
    axis = Axis.over([0.0, *values], 34, WIDTH - 20, min_span=0.5)
    step = min(max(220 / len(drops), _ROW), _ROW * 3 / 2)
    bottom = step * len(drops) + 12
    losses = "; ".join(f"{row.label} loses {points(drop.points)}" for row, drop in drops)
    plot = _Plot(bottom + 40, f"Drop per artifact in points of {report.metric}: {losses}")
    plot.horizontal_axis(axis, 4, bottom, f"points of {report.metric} lost")
    for index, (row, drop) in enumerate(drops):
        y = step * index + 34
        figure = points(drop.points)
        plot.badge(row, 14, y - 3)
        if drop.low is not None and drop.high is not None:
            figure += f"  ({interval(drop.low, drop.high)})"
            low, high = axis(drop.low), axis(drop.high)
            plot.line(low, y, high, y, "whisker")
            for end in (low, high):
                plot.line(end, y - 5, end, y + 5, "whisker")
        plot.text(row.label, 34, y - 13, "name", max_letters=26)
        plot.text(figure, WIDTH - 8, y - 13, "figure end")
        plot.dot(axis(drop.points), y, row)
    return str(plot)


def scatter_plot(report: Report) -> str:
    """Plot the metric against latency, with a line from the median to the 95th percentile."""
    height, top, bottom = 300, 26, 248
    tails = [row.latency.p95_ms or row.latency.median_ms for row in report.rows]
    x_axis = Axis.over([0.0, *tails, *(row.latency.median_ms for row in report.rows)], 46, WIDTH - 22)
    y_axis = Axis.over([100 * row.value for row in report.rows], bottom, top, min_span=0.5)
    rows = "; ".join(
        f"{row.label} {percent(row.value)} in {milliseconds(row.latency.median_ms)} ms" for row in report.rows
    )
    plot = _Plot(height, f"{report.metric} against latency: {rows}")
    plot.horizontal_axis(x_axis, top - 8, bottom, "ms for one image, median; line to p95")
    plot.text(f"{report.metric}, %", 6, 14, "axis")
    for tick in y_axis.ticks:
        plot.line(46, y_axis(tick), WIDTH - 22, y_axis(tick), "grid")
        plot.text(y_axis.label(tick), 40, y_axis(tick) + 4, "tick end")
    dots = [(x_axis(row.latency.median_ms), y_axis(100 * row.value)) for row in report.rows]
    taken = list(dots)
    for row, tail, (x, y) in zip(report.rows, tails, dots, strict=True):
        plot.line(x, y, x_axis(tail), y, "whisker thin")
        badge = _free_place(x, y, taken, (62, WIDTH - 30, top, bottom - 10))
        taken.append(badge)
        plot.line(x, y, *badge, "leader")
        plot.dot(x, y, row)
        plot.badge(row, *badge)
    return str(plot)


def waterfall_plot(report: Report) -> str:
    """Plot each step from the checkpoint as a bar that starts at the end of the step before."""
    steps = [step for step in report.waterfall if step.value is not None]
    axis = Axis.over([0.0, *(step.total for step in steps)], 20, WIDTH - 20, min_span=0.5)
    bottom = _STEP_ROW * len(steps) + 8
    losses = "; ".join(f"{step.name} {points(step.drop.points)}" for step in steps if step.drop)
    plot = _Plot(bottom + 40, f"Points of {report.metric} lost at each step: {losses}")
    plot.horizontal_axis(axis, 4, bottom, f"points of {report.metric} lost since the first step")
    before = 0.0
    for index, step in enumerate(steps):
        y = _STEP_ROW * index + 20
        left, right = sorted((axis(before), axis(step.total)))
        plot.text(step.name, 10, y, "name", max_letters=40)
        plot.text(points(step.drop.points) if step.drop else percent(step.value), WIDTH - 8, y, "figure end")
        if right - left < 1:
            plot.line(right, y + 6, right, y + 17, "zero")
        else:
            kind = "bar gained" if step.total < before else "bar lost"
            plot.add("rect", kind, x=left, y=y + 6, width=right - left, height=11)
        if index + 1 < len(steps):
            plot.line(axis(step.total), y + 17, axis(step.total), y + 6 + _STEP_ROW, "leader")
        before = step.total
    return str(plot)


def class_plot(report: Report, row: Row) -> str:
    """Plot a candidate's loss by class, largest first, on an axis common to all candidates."""
    losses = [delta.points or 0.0 for each in report.candidates for delta in each.judged_classes]
    axis = Axis.over([0.0, *losses], _NAME_PX + 8, WIDTH - 44, ticks=4, min_span=0.5)
    deltas = row.judged_classes
    most_changed = sorted(deltas, key=lambda delta: -abs(delta.points or 0))[:MAX_CLASSES]
    shown = [delta for delta in deltas if delta in most_changed]
    hidden = len(deltas) - len(shown)
    bottom = 12 + _BAR_ROW * (len(shown) + bool(hidden))
    worst = "; ".join(f"{delta.name} {points(delta.points)}" for delta in shown[:3])
    plot = _Plot(bottom + 40, f"Loss by class of {row.label}, largest first: {worst}")
    plot.horizontal_axis(axis, 4, bottom, f"points of {report.class_metric} lost", (_NAME_PX + WIDTH - 36) / 2)
    for index, delta in enumerate(shown):
        _draw_class(plot, axis, delta, 8 + _BAR_ROW * index)
    if hidden:
        y = 8 + _BAR_ROW * len(shown) + 13
        plot.text(f"{hidden} with smaller changes: report.csv", WIDTH - 8, y, "tick end")
    return str(plot)


def _draw_class(plot: _Plot, axis: Axis, delta: ClassDelta, y: float) -> None:
    value = delta.points or 0.0
    start, end = sorted((axis(0), axis(value)))
    plot.text(delta.name, _NAME_PX, y + 13, "name end", max_letters=_NAME_LETTERS)
    kind = "bar lost" if value > 0 else "bar gained"
    plot.add("rect", kind, x=start, y=y + 3, width=max(end - start, 0.5), height=13, rx=2)
    plot.text(points(value), end + 5, y + 13.5, "figure")


def _free_place(
    x: float, y: float, taken: Sequence[tuple[float, float]], inside: tuple[float, float, float, float]
) -> tuple[float, float]:
    """Find the place near a dot where its badge overlaps least."""
    left, right, top, bottom = inside

    def cost(place: tuple[float, float]) -> float:
        overlap = sum(max(0.0, 22 - math.dist(place, other)) for other in taken)
        outside = 0.0 if left <= place[0] <= right and top <= place[1] <= bottom else 100.0
        return overlap + outside

    return min(((x + right_by, y + down_by) for right_by, down_by in _BADGE_OFFSETS), key=cost)


def _shorten(text: str, letters: int) -> str:
    """Omit the middle of a name; names often differ at their ends."""
    last = letters // 3
    return text[: letters - last - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}" + text[-last:].lstrip()
