"""A report as Markdown for a pull request."""

from __future__ import annotations

import html

from hrnet_deploy.evaluation.comparison import LabelChange
from hrnet_deploy.report import waterfall
from hrnet_deploy.report.content import Report
from hrnet_deploy.report.numbers import percent, points, visible
from hrnet_deploy.report.provenance import model_facts, run_facts
from hrnet_deploy.report.table import cells, headers, left_aligned
from hrnet_deploy.report.verdict import judge

_SPECIAL = "\\`*_{}[]()#+!|~$@"


def as_markdown(report: Report) -> str:
    """Write the report.

    Args:
        report: the report.

    Returns:
        GitHub's Markdown.
    """
    verdict = judge(report)
    titles = headers(report)
    lines = [f"**{escaped(verdict.headline)}**", ""]
    lines += [_row([escaped(title) for title in titles])]
    lines += [_row([":--" if left_aligned(title) else "--:" for title in titles])]
    lines += [_row([escaped(cell) for cell in cells(report, row)]) for row in report.rows]
    lines += ["", "Drop in percentage points, positive is a loss; times for one image."]
    lines += [f"- {escaped(line)}" for line in _changes(report)]
    if report.pairs:
        lines += ["", "| predicted | measured | gap, points |", "| :-- | :-- | --: |"]
        for pair in report.pairs:
            named = [
                f"{escaped(row.label)} {percent(row.evaluation.metrics.value)}"
                for row in (report.rows[pair.predicted], report.rows[pair.measured])
            ]
            lines.append(_row([*named, points(pair.gap)]))
    if report.waterfall:
        titles = waterfall.headers(report.metric)
        lines += ["", "**Step by step from the checkpoint**", "", _row([escaped(title) for title in titles])]
        lines += [_row([":--", *["--:"] * (len(titles) - 1)])]
        lines += [_row([escaped(cell) for cell in waterfall.cells(step)]) for step in report.waterfall]
    if verdict.cautions:
        lines += ["", *[f"> {escaped(caution)}" for caution in verdict.cautions]]
    lines += ["", "<details><summary>Provenance</summary>", ""]
    lines += [f"- {name}: {escaped(text)}" for name, text in run_facts(report)]
    for row in report.rows:
        lines += ["", f"**{row.letter} {escaped(row.label)}**", ""]
        lines += [f"- {name}: {escaped(text)}" for name, text in model_facts(row)]
    return "\n".join([*lines, "", "</details>", ""])


def escaped(text: str) -> str:
    """Foreign text in which Markdown and HTML read nothing.

    Args:
        text: any.

    Returns:
        The text on one line.
    """
    plain = html.escape(visible(text), quote=False)
    return "".join(
        "\\" + sign if sign in _SPECIAL and not _harmless(plain, place) else sign for place, sign in enumerate(plain)
    )


def _harmless(text: str, place: int) -> bool:
    """Signs that mean nothing where they stand, left readable: an underscore in a word, brackets of a sentence."""
    sign = text[place]
    if sign in "()+":
        return True
    inside = 0 < place < len(text) - 1 and text[place - 1].isalnum() and text[place + 1].isalnum()
    return sign == "_" and inside


def _changes(report: Report) -> list[str]:
    total = report.comparison.reference.data.images
    found = []
    for row in report.candidates:
        if row.contrast is None:
            continue
        images = row.contrast.images
        flips = [image for image in images if isinstance(image, LabelChange)]
        if row.contrast.transitions is None:
            lost, gained = (sum(flip.kind == kind for flip in flips) for kind in ("lost", "gained"))
            found.append(f"{row.letter}: {len(flips)} of {total} images flipped, {lost} lost, {gained} gained")
        else:
            found.append(
                f"{row.letter}: pixels changed in {len(images)} of {total} images, {percent(row.contrast.lost)} of the"
                f" judged ones lost, {percent(row.contrast.gained)} gained"
            )
    return found


def _row(texts: list[str]) -> str:
    return "| " + " | ".join(texts) + " |"
