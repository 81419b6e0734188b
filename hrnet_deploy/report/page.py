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
from hrnet_deploy.report.tables import class_table, figure_table, named, pair_table, step_table
from hrnet_deploy.report.verdict import judge, keeps_enough
from hrnet_deploy.spec import Task
from hrnet_deploy.version import VERSION

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
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
        _section("Figures", "figures", figure_table(report), pair_table(report)),
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
    if report.second:
        lost = "" if row.top5_drop is None else f" ({points(row.top5_drop.points)} lost)"
        facts.append((report.second, f"{percent(row.top5)}{lost}"))
    if contrast is not None:
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
    caption = element("figcaption", "What each step takes and gives on the way from the checkpoint.")
    return joined(
        step_table(report),
        element("p", waterfall.NOTE, class_="note"),
        element("div", element("figure", step_plot(report), caption), class_="plots"),
    )


def _classes(report: Report) -> Markup:
    moved = [row for row in report.candidates if any(abs(d.points or 0) >= _STILL for d in judged_classes(row))]
    figures = [element("figure", element("h3", named(row)), class_plot(report, row)) for row in moved]
    still = [row.label for row in report.candidates if row not in moved]
    return joined(
        element("div", *figures, class_="plots by-class") if figures else None,
        element("p", f"No class moved in {', '.join(still)}.", class_="note") if still else None,
        element("details", element("summary", "The same as a table"), class_table(report)),
    )


def _provenance(report: Report) -> Markup:
    models = [
        element(
            "div",
            element("h3", named(row)),
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
