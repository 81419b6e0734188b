"""The page is whole, fetches nothing, runs nothing, and names everything."""

import dataclasses
import itertools
import re
import sys
from collections import Counter
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from hrnet_deploy.errors import MissingDependencyError
from hrnet_deploy.report import build_report
from hrnet_deploy.report.html import as_html, page_template
from hrnet_deploy.spec import Precision, Task

_VOID = {"img", "meta", "br", "wbr"}


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts, self.crossed = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)


@pytest.fixture
def page(any_report):
    return Page(as_html(any_report))


@pytest.mark.slow
def test_elements_are_nested_and_closed(page):
    assert page.open == []
    assert page.crossed == []


def test_ids_are_unique(page):
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert ids
    assert set(ids.values()) == {1}


def test_nothing_is_fetched(page):
    for tag, attributes in page.elements:
        assert tag not in {"script", "iframe", "object", "embed", "link", "base", "form"}, tag
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
    style = page.text
    assert "url(" not in style
    assert "@import" not in style


def test_nothing_runs(page):
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_names_are_text(any_report, page):
    for row in any_report.rows:
        assert row.label in page.text
    assert "<script>alert(1)</script>" in page.text or any(
        "<script>alert(1)</script>" in str(attributes.get("aria-label")) for _, attributes in page.elements
    )
    assert "alert" not in "".join(tag for tag, _ in page.elements)


def test_images_and_plots_have_a_description(page):
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert images
    assert all(attributes["alt"].strip() for attributes in images)
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(drawings) >= 3
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)


def test_headings_have_one_top_and_leave_out_no_level(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_both_outputs_of_a_changed_image_are_shown(photos_report, hostile):
    text = Page(as_html(photos_report)).text
    assert "The class changed in 3 of 12 images: 3 lost, 0 gained, 0 wrong both times." in text
    assert "No image changed: all 12 outputs equal the reference's." in text
    assert hostile[0] in text
    assert hostile[1] in text
    assert "\N{BALLOT X} lost" in text


def test_changed_scenes_have_three_panels(street_report):
    page = Page(as_html(street_report))
    scenes = [a for t, a in page.elements if a.get("class") == "scene"]
    assert 1 <= len(scenes) <= 3
    assert sum(tag == "img" for tag, _ in page.elements) == 3 * len(scenes)
    assert "lost: only the reference is right (solid)" in page.text


@pytest.mark.slow
def test_of_many_classes_those_with_the_largest_changes_are_drawn(tmp_path, pixel_model):
    names = tuple(f"class with a rather long name {index}" for index in range(30))
    for index in range(60):
        path = tmp_path / f"{index % 30}/{index}.png"
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), np.full((4, 4), index % 30, np.uint8))
    task = Task.CLASSIFICATION
    other = pixel_model(task, classes=names, mistakes={7: 8, 29: 8}, precision=Precision.INT8)
    text = Page(as_html(build_report(pixel_model(task, classes=names), [other], tmp_path, seconds=0.01))).text
    assert "10 with smaller changes: report.csv" in text
    assert text.count("class with\N{HORIZONTAL ELLIPSIS}") + text.count("class wit\N{HORIZONTAL ELLIPSIS}") == 20
    assert "report.csv" in text


@pytest.mark.slow
def test_one_image_has_no_interval(photos, pixel_model):
    task = Task.CLASSIFICATION
    report = build_report(
        pixel_model(task), [pixel_model(task, precision=Precision.INT8)], photos, limit=1, seconds=0.01
    )
    assert "One image gives no intervals" in Page(as_html(report)).text


@pytest.mark.slow
def test_without_photos_no_image_of_a_classifier_is_embedded(photos, pixel_model):
    models = [
        pixel_model(Task.CLASSIFICATION),
        pixel_model(Task.CLASSIFICATION, mistakes={0: 1}, precision=Precision.INT8),
    ]
    page = Page(as_html(build_report(models[0], models[1:], photos, photos=False, seconds=0.01)))
    assert "img" not in [tag for tag, _ in page.elements]
    assert "The class changed in 3 of 12 images" in page.text


@pytest.mark.slow
def test_without_photos_masks_are_shown_alone(scenes, pixel_model):
    models = [pixel_model(Task.SEGMENTATION), pixel_model(Task.SEGMENTATION, mistakes={0: 1}, precision=Precision.INT8)]
    with_photos, without = (
        build_report(models[0], models[1:], scenes, photos=photos, seconds=0.01) for photos in (True, False)
    )
    panels = [[p.uri for p in r.candidates[0].examples[0].panels] for r in (with_photos, without)]
    assert len(panels[1]) == 3
    assert set(panels[0]).isdisjoint(panels[1])


def _luminance(color):
    """Relative luminance. Source: WCAG 2.2."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("number", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(photos_report, number):
    block = re.findall(r":root \{(.*?)\}", Page(as_html(photos_report)).text, re.DOTALL)[number]
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    pairs = [(ink, ground) for ink in ("ink", "soft", "lost", "gained") for ground in ("paper", "sheet")]
    pairs += [("on-accent", "accent"), ("on-accent", "soft"), ("good", "faint"), ("bad", "faint"), ("accent", "paper")]
    for ink, ground in pairs:
        dark, light = sorted((_luminance(colors[ink]), _luminance(colors[ground])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_steps_from_the_checkpoint_stand_in_it_where_they_were_measured(photos_report, street_report):
    assert 'id="waterfall"' in as_html(photos_report)
    assert "checkpoint &lt;i&gt;w&lt;/i&gt;" in as_html(photos_report)
    assert 'id="waterfall"' not in as_html(street_report)


def test_without_jinja2_the_error_names_the_package(photos_report, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    page_template.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"a report needs Jinja2, got: .*\. pip install jinja2\."):
        as_html(photos_report)


def test_invisible_characters_are_replaced(photos_report):
    page = as_html(dataclasses.replace(photos_report, command="a\u202eb\x1b"))
    assert "a\ufffdb\ufffd" in page
    assert "\u202e" not in page


def test_light_and_dark_and_print_are_styled(page):
    for words in ("prefers-color-scheme: dark", "@media print", "max-width: 560px"):
        assert words in page.text
