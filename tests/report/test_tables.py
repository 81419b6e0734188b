"""CSV and the terminal's table: a line for everything, figures that come back."""

import csv
import io

import pytest

from hrnet_deploy.report.tables import csv_table, figure_table, waterfall_table

MINUS = "\N{MINUS SIGN}"


def test_csv_has_a_line_for_each_artefact_and_class(any_report):
    lines = list(csv.DictReader(io.StringIO(csv_table(any_report).csv())))
    classes = len(any_report.reference.evaluation.classes)
    assert len(lines) == len(any_report.rows) * (classes + 1)
    for row in any_report.rows:
        own = [line for line in lines if line["artefact"] == row.label]
        assert [line["class_index"] for line in own] == ["", *map(str, range(classes))]
        assert float(own[0]["value"]) == pytest.approx(row.evaluation.metrics.value)
        assert float(own[0]["median_ms"]) == pytest.approx(row.latency.median_ms)


def test_csv_drops_are_the_comparison_s(photos_report):
    lines = list(csv.DictReader(io.StringIO(csv_table(photos_report).csv())))
    row = photos_report.rows[2]
    own = [line for line in lines if line["artefact"] == row.label]
    assert [line["drop_points"] for line in own] == ["25", "100", "0", "0", "0"]
    assert [line["support"] for line in own] == ["12", "3", "3", "3", "3"]
    assert own[0]["agreement"] == "0.75"


def test_csv_text_is_no_formula(photos_report, hostile):
    names = {line["class"] for line in csv.DictReader(io.StringIO(csv_table(photos_report).csv()))}
    assert hostile[3].startswith("=")
    assert "'" + hostile[3] in names
    assert not [name for name in names if name[:1] in {"=", "+", "-", "@"}]


def test_text_names_every_artefact_and_lines_up(any_report):
    lines = "\n".join(figure_table(any_report).text()).splitlines()
    assert len(lines) == len(any_report.rows) + 1
    for row, line in zip(any_report.rows, lines[1:], strict=True):
        assert line.startswith(row.letter)
        assert row.label in line
    start = lines[0].index("artifact")
    assert {line[start - 1] for line in lines} == {" "}


def test_reference_has_no_drop(any_report):
    table = figure_table(any_report)
    texts = dict(zip(table.header, table.rows[0], strict=True))
    assert texts["drop"] == "reference"
    assert {texts[name] for name in ("95% interval", "agreement", "worst class", "speed-up")} == {"-"}


@pytest.mark.slow
def test_top_5_stands_in_every_table_of_more_than_five_classes(pixel_model, photos, photos_report):
    from hrnet_deploy.report import build_report
    from hrnet_deploy.report.html import as_html
    from hrnet_deploy.report.markdown import as_markdown
    from hrnet_deploy.spec import Precision, Task

    names = tuple("abcdefgh")
    models = [
        pixel_model(Task.CLASSIFICATION, classes=names, mistakes=mistakes, precision=precision)
        for mistakes, precision in (({}, Precision.FP32), ({0: 7}, Precision.INT8))
    ]
    report = build_report(models[0], models[1:], photos, seconds=0.01)
    second = report.rows[1]
    assert report.second_metric == "top-5"
    assert second.top5 == second.evaluation.metrics.top5
    lost = 100 * (report.rows[0].top5 - second.top5)
    assert second.top5_drop.points == lost
    for text in ("\n".join(figure_table(report).text()), as_markdown(report), as_html(report)):
        assert "top-5" in text
        assert f"{100 * second.top5:.2f}%" in text
    assert "top-5" not in "\n".join(figure_table(photos_report).text())  # of four classes all are among the five best


def test_one_row_for_each_step(photos_report):
    table = waterfall_table(photos_report)
    assert table.header[1] == "top-1"
    assert table.rows == [
        ("checkpoint <i>w</i>", "100.00%", "-", "-", "-", "-"),
        ("left | out (needs <b>Pillow</b>)", "-", "-", "-", "-", "-"),
        ("FP16", "102.00%", f"{MINUS}2.00", "-", f"{MINUS}2.00", "98.00%"),
        ("INT8", "75.00%", "27.00", "20.00 to 30.00", "25.00", "73.00%"),
    ]


def test_provenance_names_the_preprocessing(photos_report):
    from hrnet_deploy.processing.preprocess import described
    from hrnet_deploy.report.provenance import model_info

    for row in photos_report.rows:
        assert dict(model_info(row))["preprocessing"] == described(row.model.card.preprocessing)
