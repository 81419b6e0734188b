"""A report on disk, in four formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.files import atomic_output, unfinished
from hrnet_deploy.errors import UsageError
from hrnet_deploy.report.html import as_html, page_template
from hrnet_deploy.report.markdown import as_markdown
from hrnet_deploy.report.report import Report
from hrnet_deploy.report.summary import summarize
from hrnet_deploy.report.tables import csv_table
from hrnet_deploy.system.write_errors import writing

_MARKER = "report.json"


def check_output(folder: Path) -> None:
    """Create the folder of a report and check what writing needs, before hours of measuring.

    Raises:
        UsageError: The folder is a file or cannot be written to.
        MissingDependencyError: Jinja2 is not installed.
    """
    page_template()
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"report needs a folder, got the file {folder}. Choose another --out.")
    with unfinished(folder / _MARKER):
        pass


def to_record(report: Report) -> dict[str, Any]:
    """Convert a report to the JSON values of report.json: the summary, then everything but the images."""
    summary = summarize(report)
    words = {"headline": summary.headline, "lines": list(summary.lines), "cautions": list(summary.cautions)}
    best = None if summary.best is None else summary.best.label
    return {"verdict": {**words, "best": best}, **report.to_dict()}


def write_report(report: Report, folder: Path) -> dict[str, Path]:
    """Write report.html, .md, .json and .csv into a folder as one; return their paths by format, such as "html".

    The former report.json is removed first, and the new one comes last: where it is, all four files are of one run.

    Raises:
        UsageError: The folder cannot be written to.
        MissingDependencyError: Jinja2 is not installed.
    """
    content = {
        "html": as_html(report),
        "md": as_markdown(report),
        "json": json.dumps(to_record(report), ensure_ascii=False, indent=1) + "\n",
        "csv": csv_table(report).csv(),
    }
    with atomic_output(folder / _MARKER) as marker:
        for kind, text in content.items():
            # A file name that is not UTF-8 holds characters that cannot be encoded.
            marker.with_suffix(f".{kind}").write_bytes(text.encode("utf-8", errors="replace"))
    return {kind: folder / f"report.{kind}" for kind in content}
