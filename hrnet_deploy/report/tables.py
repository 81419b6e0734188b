"""The tables of a report's page."""

from __future__ import annotations

from hrnet_deploy.report import waterfall
from hrnet_deploy.report.content import Report, Row
from hrnet_deploy.report.markup import Markup, element, joined
from hrnet_deploy.report.numbers import percent, points
from hrnet_deploy.report.plots import judged_classes
from hrnet_deploy.report.table import cells, headers, left_aligned

_CLASS_ROWS = 60
_MERGED = ("", "precision", "95% interval")
"""Columns that stand with others here."""


def figure_table(report: Report) -> Markup:
    """All figures of every artefact.

    Args:
        report: the report.

    Returns:
        The table and what its columns hold.
    """
    titles = [title for title in headers(report) if title not in _MERGED]
    names = [element("th", title, scope="col", class_=_side(title)) for title in titles]
    lines = []
    for row in report.rows:
        texts = dict(zip(headers(report), cells(report, row), strict=True))
        line = [element("th", named(row), scope="row")]
        for title in titles[1:]:
            content: list[str] = [texts[title]]
            if title == "drop" and texts["95% interval"] != "-":
                content.append(element("small", texts["95% interval"]))
            elif title == "runs on" and row.standing.predicted:
                content = [row.standing.runtime, element("small", row.standing.status)]
            line.append(element("td", *content, class_=_side(title)))
        lines.append(element("tr", *line))
    table = element("table", element("thead", element("tr", *names)), element("tbody", *lines))
    note = (
        "Drop in percentage points with its 95% interval, positive is a loss. Times in milliseconds for one image."
        " A prediction has no speed-up: its time here is not its target's."
    )
    return joined(_scroll("all figures", table), element("p", note, class_="note"))


def pair_table(report: Report) -> Markup:
    """Predicted beside measured.

    Args:
        report: the report.

    Returns:
        The table under its title; nothing where there is no such pair.
    """
    if not report.pairs:
        return Markup("")
    titles = ("", "predicted", "measured", "gap, points")
    head = element("tr", *[element("th", title, scope="col") for title in titles])
    rows = []
    for pair in report.pairs:
        predicted, measured = report.rows[pair.predicted], report.rows[pair.measured]
        rows += [
            element(
                "tr",
                element("th", f"{report.metric}, {measured.label}", scope="row"),
                *[element("td", percent(row.evaluation.metrics.value)) for row in (predicted, measured)],
                element("td", points(pair.gap)),
            ),
            element(
                "tr",
                element("th", "drop", scope="row"),
                *[
                    element("td", points(row.contrast.drop.points) if row.contrast else "reference")
                    for row in (predicted, measured)
                ],
                element("td", "-"),
            ),
        ]
    table = element("table", element("thead", head), element("tbody", *rows))
    return joined(element("h3", "Predicted and measured"), _scroll("predicted and measured", table))


def step_table(report: Report) -> Markup:
    """The steps from the checkpoint on.

    Args:
        report: the report.

    Returns:
        The table.
    """
    titles = waterfall.headers(report.metric)
    head = [element("th", title, scope="col", class_="number" if place else None) for place, title in enumerate(titles)]
    lines = []
    for step in report.waterfall:
        name, *figures = waterfall.cells(step)
        texts = [element("td", text, class_="number") for text in figures]
        lines.append(element("tr", element("th", name, scope="row"), *texts))
    table = element("table", element("thead", element("tr", *head)), element("tbody", *lines))
    return _scroll("step by step", table)


def class_table(report: Report) -> Markup:
    """Each class that was labelled, those that moved most where there are many.

    Args:
        report: the report.

    Returns:
        The table and a note.
    """
    moved: dict[int, float] = {}
    for row in report.candidates:
        for delta in judged_classes(row):
            moved[delta.index] = max(moved.get(delta.index, 0.0), abs(delta.points or 0))
    chosen = sorted(sorted(moved, key=lambda index: -moved[index])[:_CLASS_ROWS])
    head = [element("th", "class", scope="col"), element("th", "labelled", scope="col", class_="number")]
    head += [element("th", f"{row.letter} {row.label}", scope="col", class_="number") for row in report.rows]
    values = report.reference.evaluation.metrics
    lines = []
    for index in chosen:
        texts = [f"{int(values.support[index]):,}", percent(float(values.class_values[index]))]
        for row in report.candidates:
            own = row.contrast.classes[index] if row.contrast else None
            texts.append("-" if own is None else f"{percent(own.candidate)} ({points(own.points)})")
        name = element("th", report.reference.evaluation.classes[index], scope="row")
        lines.append(element("tr", name, *[element("td", text, class_="number") for text in texts]))
    table = element("table", element("thead", element("tr", *head)), element("tbody", *lines))
    rest = len(moved) - len(chosen)
    note = f" The {rest} classes that moved least are in report.csv." if rest else ""
    return joined(
        _scroll("figures by class", table),
        element("p", f"In brackets the drop in points.{note}", class_="note"),
    )


def named(row: Row) -> Markup:
    """An artefact by its letter and its file.

    Args:
        row: of a report.

    Returns:
        Both, the letter as a chip.
    """
    return joined(element("span", row.letter, class_="letter-chip"), " ", row.label)


def _scroll(label: str, table: Markup) -> Markup:
    """A table that scrolls by itself where the screen is narrow, with the keyboard too."""
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _side(title: str) -> str | None:
    return None if left_aligned(title) else "number"
