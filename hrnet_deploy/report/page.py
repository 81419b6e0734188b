"""A report as one HTML page: no scripts, nothing fetched, light and dark, wide and narrow, on paper."""

from __future__ import annotations

from importlib.resources import files

from hrnet_deploy.report import waterfall
from hrnet_deploy.report.content import Report, Row
from hrnet_deploy.report.gallery import gallery, legend
from hrnet_deploy.report.markup import Markup, breakable, element, escaped, joined
from hrnet_deploy.report.numbers import interval, megabytes, milliseconds, percent, points, ratio
from hrnet_deploy.report.plots import class_plot, drop_plot, judged_classes, scatter_plot, step_plot
from hrnet_deploy.report.provenance import model_facts, run_facts
from hrnet_deploy.report.table import cells, headers, left_aligned
from hrnet_deploy.report.verdict import judge, keeps_enough
from hrnet_deploy.spec import Task
from hrnet_deploy.version import VERSION

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CLASS_ROWS = 60
_MERGED = ("", "precision", "95% interval")
"""Columns that stand with others here."""
_STILL = 0.005
"""Points that are written as 0.00."""


def as_html(report: Report) -> str:
    """Write the page.

    Args:
        report: the report.

    Returns:
        A whole HTML document.
    """
    # Its own file, so that an editor knows it for what it is.
    style = files("hrnet_deploy.report").joinpath("style.css").read_text(encoding="utf-8")
    title = f"{report.reference.model.card.variant}: what {_kinds(report)} cost"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    sections = (
        _header(report, title),
        element("div", *[_card(report, row) for row in report.rows], class_="cards"),
        _section("Figures", "figures", _table(report), _pairs(report)),
        _section("Drop and speed", "plots", _plots(report)),
        *([_section("Step by step", "waterfall", _waterfall(report))] if report.waterfall else []),
        _section("Where it is lost", "classes", _classes(report)),
        _section("What changed", "gallery", legend(report), *[gallery(report, row) for row in report.candidates]),
        _section("Provenance", "provenance", _provenance(report)),
    )
    foot = element("footer", f"hrnet-report {VERSION}. The same figures are in report.json, report.csv and report.md.")
    body = element("body", element("main", *sections), foot)
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _header(report: Report, title: str) -> Markup:
    verdict = judge(report)
    data = report.comparison.reference.data
    about = (
        f"{data.images} images ({data.layout}) \N{MIDDLE DOT} {report.gpus or report.machine.processor.model}"
        f" \N{MIDDLE DOT} {report.created[:10]}"
    )
    lines = [
        element("li", element("span", row.letter, class_="letter-chip"), " ", line)
        for row, line in zip(report.candidates, verdict.lines, strict=True)
    ]
    return element(
        "header",
        element("p", title, class_="over"),
        element("h1", _whole(verdict.headline, report.metric)),
        element("p", about, class_="about"),
        element("ul", *lines, class_="lines"),
        *[element("p", caution, class_="caution") for caution in verdict.cautions],
    )


def _whole(text: str, word: str) -> Markup:
    """A sentence in which one word is not broken at its hyphen."""
    return Markup(escaped(text).replace(word, element("span", word, class_="whole")))


def _card(report: Report, row: Row) -> Markup:
    contrast = row.contrast
    chips = [element("span", row.model.card.precision.value, class_="chip")]
    status = row.standing.status
    chips.append(element("span", status, class_="chip hollow" if row.standing.predicted else "chip"))
    value = percent(row.evaluation.metrics.value)
    facts = [(report.metric, value)]
    if contrast is None:
        big, small = value, f"{report.metric} of the reference"
        facts = []
    else:
        big, small = points(contrast.drop.points), f"points of {report.metric} lost"
        if contrast.drop.low is not None:
            small += f" ({interval(contrast.drop.low, contrast.drop.high)})"
        answers = "pixels alike" if report.reference.model.card.task is Task.SEGMENTATION else "answers alike"
        facts.append((answers, percent(contrast.agreement)))
        kept = keeps_enough(report, row)
        sign = "\N{CHECK MARK} keeps 99%" if kept else "\N{BALLOT X} below 99%"
        chips.append(element("span", sign, class_="chip good" if kept else "chip bad"))
    speed = "" if contrast is None else f" ({ratio(report.speed_up(row))})" if not row.standing.predicted else " here"
    facts.append(("latency", f"{milliseconds(row.latency.median_ms)} ms{speed}"))
    smaller = None if contrast is None else report.shrinkage(row)
    size = "" if smaller is None else f" (1/{smaller:.1f})"
    facts.append(("size", f"{megabytes(row.model.size_bytes)} MB{size}"))
    return element(
        "article",
        element("h2", element("span", row.letter, class_="letter-chip"), element("span", breakable(row.label))),
        element("p", *chips, class_="chips"),
        element("p", big, class_="big"),
        element("p", small, class_="small"),
        _pairs_of(facts),
        class_="card reference" if contrast is None else "card",
    )


def _table(report: Report) -> Markup:
    titles = [title for title in headers(report) if title not in _MERGED]
    names = [element("th", title, scope="col", class_=_side(title)) for title in titles]
    lines = []
    for row in report.rows:
        texts = dict(zip(headers(report), cells(report, row), strict=True))
        line = [element("th", _named(row), scope="row")]
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


def _named(row: Row) -> Markup:
    return joined(element("span", row.letter, class_="letter-chip"), " ", row.label)


def _scroll(label: str, table: Markup) -> Markup:
    """A table that scrolls by itself where the screen is narrow, with the keyboard too."""
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _side(title: str) -> str | None:
    return None if left_aligned(title) else "number"


def _pairs(report: Report) -> Markup:
    """Predicted beside measured."""
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


def _plots(report: Report) -> Markup:
    hollow = any(row.standing.predicted for row in report.rows)
    note = "A hollow dot is a prediction: its accuracy carries over to the target, its time does not." if hollow else ""
    return joined(
        element(
            "div",
            element(
                "figure", drop_plot(report), element("figcaption", "What each artefact loses, with its 95% interval.")
            ),
            element(
                "figure", scatter_plot(report), element("figcaption", "Accuracy against time: up and left is better.")
            ),
            class_="plots",
        ),
        element("p", note, class_="note") if note else None,
    )


def _waterfall(report: Report) -> Markup:
    titles = waterfall.headers(report.metric)
    head = [element("th", title, scope="col", class_="number" if place else None) for place, title in enumerate(titles)]
    lines = []
    for step in report.waterfall:
        name, *figures = waterfall.cells(step)
        texts = [element("td", text, class_="number") for text in figures]
        lines.append(element("tr", element("th", name, scope="row"), *texts))
    table = element("table", element("thead", element("tr", *head)), element("tbody", *lines))
    caption = element("figcaption", "What each step takes and gives on the way from the checkpoint.")
    return joined(
        _scroll("step by step", table),
        element("p", waterfall.NOTE, class_="note"),
        element("div", element("figure", step_plot(report), caption), class_="plots"),
    )


def _classes(report: Report) -> Markup:
    moved = [row for row in report.candidates if any(abs(d.points or 0) >= _STILL for d in judged_classes(row))]
    figures = [element("figure", element("h3", _named(row)), class_plot(report, row)) for row in moved]
    still = [row.label for row in report.candidates if row not in moved]
    return joined(
        element("div", *figures, class_="plots by-class") if figures else None,
        element("p", f"No class moved in {', '.join(still)}.", class_="note") if still else None,
        element("details", element("summary", "The same as a table"), _class_table(report)),
    )


def _class_table(report: Report) -> Markup:
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


def _provenance(report: Report) -> Markup:
    models = [
        element(
            "div",
            element("h3", _named(row)),
            _pairs_of(model_facts(row)),
        )
        for row in report.rows
    ]
    return joined(_pairs_of(run_facts(report)), element("div", *models, class_="models"))


def _pairs_of(facts: list[tuple[str, str]]) -> Markup:
    return element("dl", *[joined(element("dt", name), element("dd", text)) for name, text in facts])


def _section(title: str, name: str, *content: Markup) -> Markup:
    return element("section", element("h2", title), *content, id=name)


def _kinds(report: Report) -> str:
    kinds = list(dict.fromkeys(row.model.card.precision.value for row in report.candidates))
    return " and ".join([", ".join(kinds[:-1]), kinds[-1]]) if len(kinds) > 1 else kinds[0]
