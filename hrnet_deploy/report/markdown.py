"""A report as Markdown for a pull request."""

from __future__ import annotations

from hrnet_deploy.report.provenance import model_info, run_info
from hrnet_deploy.report.report import Report
from hrnet_deploy.report.summary import describe_changes, summarize
from hrnet_deploy.report.tables import feature_table, figure_table, prediction_table, waterfall_table
from hrnet_deploy.system.text_table import escape_markdown


def as_markdown(report: Report) -> str:
    """Write the report as GitHub's Markdown, with all foreign text escaped."""
    summary = summarize(report)
    lines = [f"**{escape_markdown(summary.headline)}**", "", *figure_table(report).markdown(), ""]
    lines += ["Drop in percentage points, positive is a loss; times for one image."]
    lines += [f"- {row.letter}: {escape_markdown(describe_changes(report, row))}" for row in report.candidates]
    if report.pairs:
        lines += ["", "**Predicted and measured**", "", *prediction_table(report).markdown()]
    if report.with_features:
        lines += ["", "**Features: cosine similarity to R**", "", *feature_table(report).markdown()]
    if report.waterfall:
        lines += ["", "**Steps from the checkpoint**", "", *waterfall_table(report).markdown()]
    if summary.cautions:
        lines += ["", *[f"> {escape_markdown(caution)}" for caution in summary.cautions]]
    lines += ["", "<details><summary>Provenance</summary>", "", *_list(run_info(report))]
    for row in report.rows:
        lines += ["", f"**{row.letter} {escape_markdown(row.label)}**", "", *_list(model_info(row))]
    return "\n".join([*lines, "", "</details>", ""])


def _list(info: list[tuple[str, str]]) -> list[str]:
    return [f"- {name}: {escape_markdown(text)}" for name, text in info]
