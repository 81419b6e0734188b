"""The plots of a report as inline SVG: small enough to read on a telephone, drawn in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hrnet_deploy.evaluation.comparison import ClassDelta
from hrnet_deploy.report.content import Report, Row
from hrnet_deploy.report.markup import Markup, element, joined
from hrnet_deploy.report.numbers import interval, milliseconds, percent, points
from hrnet_deploy.report.scale import Scale

WIDTH = 360
MOST_CLASSES = 20
_ROW = 46
_BAR_ROW = 19
_STEP_ROW = 38
_NAME_PX = 104
_NAME_LETTERS = 15
_PLACES = ((0, -19), (20, -8), (-20, -8), (20, 12), (-20, 12), (0, 22), (34, 0), (-34, 0), (38, -20), (-38, -20))


def drop_plot(report: Report) -> Markup:
    """What each candidate loses, with its interval.

    Args:
        report: the report.

    Returns:
        An SVG element.
    """
    drops = [(row, row.contrast.drop) for row in report.candidates if row.contrast]
    values = [0.0]
    for _, drop in drops:
        values += [value for value in (drop.points, drop.low, drop.high) if value is not None]
    scale = Scale.over(values, 34, WIDTH - 20, least=0.5)
    step = min(max(220 / len(drops), _ROW), _ROW * 3 / 2)
    bottom = step * len(drops) + 12
    parts = [_grid(scale, 4, bottom)]
    for index, (row, drop) in enumerate(drops):
        middle = step * index + 34
        text = (
            f"{points(drop.points)}  ({interval(drop.low, drop.high)})" if drop.low is not None else points(drop.points)
        )
        parts.append(_badge(row, 14, middle - 3))
        name = element("text", _short(row.label, 26), x=34, y=middle - 13, class_="name")
        parts.append(joined(name, element("text", text, x=WIDTH - 8, y=middle - 13, class_="figure end")))
        if drop.low is not None and drop.high is not None:
            low, high = scale(drop.low), scale(drop.high)
            parts += [_line(low, middle, high, middle, "whisker")]
            parts += [_line(x, middle - 5, x, middle + 5, "whisker") for x in (low, high)]
        parts.append(_dot(scale(drop.points), middle, row))
    parts.append(_ticks(scale, bottom))
    parts.append(element("text", f"points of {report.metric} lost", x=WIDTH / 2, y=bottom + 32, class_="axis middle"))
    summary = "; ".join(f"{row.label} loses {points(drop.points)}" for row, drop in drops)
    return _svg(bottom + 40, f"Drop per artefact in points of {report.metric}: {summary}", parts)


def scatter_plot(report: Report) -> Markup:
    """Accuracy against latency.

    Args:
        report: the report.

    Returns:
        An SVG element.
    """
    height = 300
    bottom, top = height - 52, 26
    tails = [row.latency.p95_ms or row.latency.median_ms for row in report.rows]
    times = [*tails, *(row.latency.median_ms for row in report.rows)]
    marks = [100 * row.evaluation.metrics.value for row in report.rows]
    across = Scale.over([0.0, *times], 46, WIDTH - 22)
    up = Scale.over(marks, bottom, top, least=0.5)
    parts = [_grid(across, top - 8, bottom)]
    for tick in up.ticks:
        parts.append(_line(46, up(tick), WIDTH - 22, up(tick), "grid"))
        parts.append(element("text", up.written(tick), x=40, y=up(tick) + 4, class_="tick end"))
    taken = [(across(row.latency.median_ms), up(mark)) for row, mark in zip(report.rows, marks, strict=True)]
    for row, tail, (x, y) in zip(report.rows, tails, list(taken), strict=True):
        parts.append(_line(x, y, across(tail), y, "whisker thin"))
        place = _free(x, y, taken, (62, WIDTH - 30, top, bottom - 10))
        taken.append(place)
        parts += [_line(x, y, *place, "leader"), _dot(x, y, row), _badge(row, *place)]
    parts.append(_ticks(across, bottom))
    parts.append(
        element("text", "ms for one image, median; line to p95", x=WIDTH / 2, y=height - 14, class_="axis middle")
    )
    parts.append(element("text", f"{report.metric}, %", x=6, y=14, class_="axis"))
    summary = "; ".join(
        f"{row.label} {percent(row.evaluation.metrics.value)} in {milliseconds(row.latency.median_ms)} ms"
        for row in report.rows
    )
    return _svg(height, f"{report.metric} against latency: {summary}", parts)


def step_plot(report: Report) -> Markup:
    """What each step from the checkpoint to the artefacts takes, from where the one before ended.

    Args:
        report: the report; steps that could not be measured are left out.

    Returns:
        An SVG element.
    """
    steps = [step for step in report.waterfall if step.value is not None]
    scale = Scale.over([0.0, *(step.total for step in steps)], 20, WIDTH - 20, least=0.5)
    bottom = _STEP_ROW * len(steps) + 8
    parts = [_grid(scale, 4, bottom)]
    before = 0.0
    for index, step in enumerate(steps):
        y = _STEP_ROW * index + 20
        left, right = sorted((scale(before), scale(step.total)))
        figure = percent(step.value) if step.drop is None else points(step.drop.points)
        parts.append(element("text", _short(step.name, 40), element("title", step.name), x=10, y=y, class_="name"))
        parts.append(element("text", figure, x=WIDTH - 8, y=y, class_="figure end"))
        if right - left < 1:
            parts.append(_line(right, y + 6, right, y + 17, "zero"))
        else:
            kind = "bar gained" if step.total < before else "bar lost"
            parts.append(element("rect", x=left, y=y + 6, width=right - left, height=11, class_=kind))
        if index + 1 < len(steps):
            parts.append(_line(scale(step.total), y + 17, scale(step.total), y + 6 + _STEP_ROW, "leader"))
        before = step.total
    parts.append(_ticks(scale, bottom))
    axis = f"points of {report.metric} lost since the first step"
    parts.append(element("text", axis, x=WIDTH / 2, y=bottom + 32, class_="axis middle"))
    summary = "; ".join(f"{step.name} {points(step.drop.points)}" for step in steps if step.drop)
    return _svg(bottom + 40, f"Points of {report.metric} lost at each step: {summary}", parts)


def class_plot(report: Report, row: Row) -> Markup:
    """What a candidate loses by class, worst first; every candidate's plot has the same axis.

    Args:
        report: the report.
        row: a candidate of it.

    Returns:
        An SVG element.
    """
    every = [delta.points or 0.0 for each in report.candidates for delta in judged_classes(each)]
    scale = Scale.over([0.0, *every], _NAME_PX + 8, WIDTH - 44, about=4, least=0.5)
    deltas = judged_classes(row)
    shown, hidden = _chosen(deltas)
    parts: list[Markup] = []
    y = 8
    bottom = y + _BAR_ROW * (len(shown) + (1 if hidden else 0)) + 4
    parts.append(_grid(scale, 4, bottom))
    for delta in shown:
        parts.append(_bar(delta, scale, y))
        y += _BAR_ROW
    if hidden:
        parts.append(element("text", f"{hidden} that moved less: report.csv", x=WIDTH - 8, y=y + 13, class_="tick end"))
    parts.append(_ticks(scale, bottom))
    axis = f"points of {_of_class(report)} lost"
    parts.append(element("text", axis, x=(_NAME_PX + WIDTH - 36) / 2, y=bottom + 32, class_="axis middle"))
    summary = "; ".join(f"{delta.name} {points(delta.points)}" for delta in shown[:3])
    return _svg(bottom + 40, f"Loss by class of {row.label}, worst first: {summary}", parts)


def judged_classes(row: Row) -> list[ClassDelta]:
    """The classes with labels in the data, the one that loses most first.

    Args:
        row: a candidate.

    Returns:
        Their deltas.
    """
    deltas = (
        [delta for delta in row.contrast.classes if delta.points is not None and delta.support] if row.contrast else []
    )
    return sorted(deltas, key=lambda delta: (-(delta.points or 0), delta.index))


def _chosen(deltas: Sequence[ClassDelta]) -> tuple[list[ClassDelta], int]:
    """Those to draw, in their order, and how many are left out."""
    most = sorted(deltas, key=lambda delta: -abs(delta.points or 0))[:MOST_CLASSES]
    kept = {delta.index for delta in most}
    return [delta for delta in deltas if delta.index in kept], len(deltas) - len(kept)


def _of_class(report: Report) -> str:
    return "IoU" if report.metric == "mIoU" else report.metric


def _bar(delta: ClassDelta, scale: Scale, y: float) -> Markup:
    value = delta.points or 0.0
    start, end = scale(0), scale(value)
    kind = "bar lost" if value > 0 else "bar gained"
    name = element(
        "text", _short(delta.name, _NAME_LETTERS), element("title", delta.name), x=_NAME_PX, y=y + 13, class_="name end"
    )
    bar = element("rect", x=min(start, end), y=y + 3, width=max(abs(end - start), 0.5), height=13, rx=2, class_=kind)
    return joined(name, bar, element("text", points(value), x=max(start, end) + 5, y=y + 13.5, class_="figure"))


def _svg(height: float, label: str, parts: Sequence[Markup]) -> Markup:
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {height:.0f}", role="img", aria_label=label)


def _grid(scale: Scale, top: float, bottom: float) -> Markup:
    lines = [_line(scale(t), top, scale(t), bottom, "zero" if abs(t) < 1e-12 else "grid") for t in scale.ticks]
    return joined(*lines)


def _ticks(scale: Scale, bottom: float) -> Markup:
    texts = [element("text", scale.written(t), x=scale(t), y=bottom + 15, class_="tick middle") for t in scale.ticks]
    return joined(*texts)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _dot(x: float, y: float, row: Row) -> Markup:
    """Filled where measured, hollow where predicted."""
    return element("circle", cx=x, cy=y, r=5, class_="dot predicted" if row.standing.predicted else "dot")


def _badge(row: Row, x: float, y: float) -> Markup:
    kind = "badge reference" if row.contrast is None else "badge"
    circle = element("circle", cx=x, cy=y, r=9, class_=kind)
    return joined(circle, element("text", row.letter, x=x, y=y + 4, class_="letter middle"))


def _free(
    x: float, y: float, taken: Sequence[tuple[float, float]], inside: tuple[float, float, float, float]
) -> tuple[float, float]:
    """Where a badge covers least, near its dot."""
    left, right, top, bottom = inside

    def cost(place: tuple[float, float]) -> float:
        crowd = sum(max(0.0, 22 - math.dist(place, other)) for other in taken)
        outside = 0.0 if left <= place[0] <= right and top <= place[1] <= bottom else 100.0
        return crowd + outside

    places = [(x + across, y + down) for across, down in _PLACES]
    return min(places, key=cost)


def _short(text: str, letters: int) -> str:
    """As much of a name as fits; the end stays, since names often differ there."""
    if len(text) <= letters:
        return text
    last = letters // 3
    return text[: letters - last - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}" + text[-last:].lstrip()
