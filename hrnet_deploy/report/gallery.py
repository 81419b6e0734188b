"""The images that changed, as figures of a page."""

from __future__ import annotations

from hrnet_deploy.evaluation.comparison import ChangedImage, LabelChange
from hrnet_deploy.imaging.palettes import colors_of
from hrnet_deploy.report.content import Report, Row
from hrnet_deploy.report.markup import Markup, element, joined
from hrnet_deploy.report.numbers import percent
from hrnet_deploy.report.pictures import Exhibit, Panel
from hrnet_deploy.spec import Task

_KINDS = {
    "lost": ("\N{BALLOT X} lost", "only the reference is right"),
    "gained": ("\N{CHECK MARK} gained", "only the candidate is right"),
    "other": ("\N{ALMOST EQUAL TO} both wrong", "two different wrong answers"),
}
_MOVES = 3


def gallery(report: Report, row: Row) -> Markup:
    """What a candidate changed, the worst first.

    Args:
        report: the report.
        row: a candidate of it.

    Returns:
        A heading, a sentence and the figures.
    """
    contrast = row.contrast
    changed = 0 if contrast is None else len(contrast.images)
    total = report.comparison.reference.data.images
    heading = element("h3", element("span", row.letter, class_="letter-chip"), " ", row.label)
    if contrast is None or not changed:
        return joined(heading, element("p", f"No image changed: all {total} are answered as by the reference."))
    if report.reference.model.card.task is Task.SEGMENTATION:
        figures = [_masks(report, exhibit) for exhibit in row.exhibits]
        text = (
            f"Pixels changed in {changed} of {total} images, {percent(1 - contrast.agreement)} of all pixels;"
            f" {percent(contrast.lost)} of the judged pixels lost, {percent(contrast.gained)} gained."
        )
        rest = f" {_shown(len(figures))}" if changed > len(figures) else ""
        return joined(heading, element("p", text + rest), element("div", *figures, class_="scenes"))
    figures = [_flip(report, exhibit) for exhibit in row.exhibits]
    kinds = [image.kind for image in contrast.images if isinstance(image, LabelChange)]
    counts = ", ".join(f"{kinds.count(kind)} {name.split(' ', 1)[1]}" for kind, (name, _) in _KINDS.items())
    text = f"{changed} of {total} images are answered otherwise: {counts}."
    rest = f" {_shown(len(figures))}" if changed > len(figures) else ""
    return joined(heading, element("p", text + rest), element("div", *figures, class_="flips"))


def legend(report: Report) -> Markup:
    """What the colours of the masks and of the changes mean.

    Args:
        report: the report.

    Returns:
        Lists; nothing for classifiers.
    """
    names = report.reference.evaluation.classes
    shown = sorted({index for row in report.candidates for exhibit in row.exhibits for index in exhibit.shown})
    if not shown:
        return Markup("")
    colours = colors_of(report.reference.model.card)
    changes = [
        element("li", element("span", class_=f"swatch {kind}"), f" {text}")
        for kind, text in (
            ("paint-lost", "lost: only the reference is right (solid)"),
            ("paint-gained", "gained: only the candidate is right (striped)"),
            ("paint-other", "changed, but wrong both times or not judged"),
        )
    ]
    classes = []
    for index in shown:
        red, green, blue = (int(value) for value in colours[index])
        swatch = element("span", class_="swatch", style=f"background:rgb({red},{green},{blue})")
        classes.append(element("li", swatch, f" {names[index]}"))
    return joined(element("ul", *changes, class_="legend"), element("ul", *classes, class_="legend"))


def _shown(count: int) -> str:
    return "The worst one is shown." if count == 1 else f"The worst {count} are shown."


def _flip(report: Report, exhibit: Exhibit) -> Markup:
    flip = exhibit.image
    if not isinstance(flip, LabelChange):
        return Markup("")
    names = report.reference.evaluation.classes
    mark, meaning = _KINDS[flip.kind]
    pictures = [_picture(panel) for panel in exhibit.panels]
    lines = [
        _answer(title, names[ranking.top[0]], ranking.scores[0], right=ranking.top[0] == flip.label)
        for title, ranking in (("reference", flip.reference), ("candidate", flip.candidate))
    ]
    caption = element(
        "figcaption",
        element("p", element("span", mark, class_=f"kind {flip.kind}", title=meaning)),
        element("p", "label ", element("b", names[flip.label])),
        *lines,
        element("p", flip.name, class_="file"),
    )
    return element("figure", *pictures, caption, class_="flip")


def _answer(title: str, name: str, score: float, *, right: bool) -> Markup:
    sign = "\N{CHECK MARK}" if right else "\N{BALLOT X}"
    said = element("span", "right" if right else "wrong", class_="unseen")
    bar = element("span", element("span", style=f"width:{100 * min(max(score, 0), 1):.0f}%"), class_="score")
    words = element("span", f"{sign} ", said, element("b", name))
    return element(
        "div",
        element("p", title, class_="who"),
        element("p", words, " ", element("span", f"{score:.2f}"), class_="said"),
        bar,
    )


def _masks(report: Report, exhibit: Exhibit) -> Markup:
    changed = exhibit.image
    if not isinstance(changed, ChangedImage):
        return Markup("")
    names = report.reference.evaluation.classes
    panels = [
        element("div", _picture(panel), element("p", panel.caption, class_="caption")) for panel in exhibit.panels
    ]
    transitions = "; ".join(
        f"{names[a]} \N{RIGHTWARDS ARROW} {names[b]} {pixels:,}" for a, b, pixels in changed.transitions[:_MOVES]
    )
    figures = (
        f"{percent(changed.changed)} of its pixels changed; {percent(changed.lost)} of the judged ones lost,"
        f" {percent(changed.gained)} gained; mIoU of this image {percent(changed.reference_miou)}"
        f" \N{RIGHTWARDS ARROW} {percent(changed.candidate_miou)}."
    )
    caption = element(
        "figcaption",
        element("p", changed.name, class_="file"),
        element("p", figures),
        element("p", f"Most pixels moved: {transitions}.") if transitions else None,
    )
    return element("figure", element("div", *panels, class_="panels"), caption, class_="scene")


def _picture(panel: Panel) -> Markup:
    height, width = panel.size_hw
    return element("img", src=panel.uri, alt=panel.alt, width=width, height=height, loading="lazy")
