"""A report on disk, in four formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.errors import UsageError
from hrnet_deploy.report.content import Report
from hrnet_deploy.report.markdown import as_markdown
from hrnet_deploy.report.page import as_html
from hrnet_deploy.report.table import as_csv
from hrnet_deploy.report.verdict import judge


def check_folder(folder: Path) -> None:
    """Refuse a place that cannot hold a report, before hours of measuring.

    Args:
        folder: where the report will be written; made if missing.

    Raises:
        UsageError: it is a file or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"report needs a folder, got the file {folder}. Choose another --out.")
    with atomic_output(folder / "report.json") as temporary:
        temporary.touch()
        temporary.unlink()


def record(report: Report) -> dict[str, Any]:
    """What report.json holds.

    Args:
        report: the report.

    Returns:
        Plain values, ready for JSON: the verdict's words, then everything but the pictures.
    """
    verdict = judge(report)
    words = {"headline": verdict.headline, "lines": list(verdict.lines), "cautions": list(verdict.cautions)}
    best = None if verdict.best is None else verdict.best.label
    return {"verdict": {**words, "best": best}, **report.to_dict()}


def write_report(report: Report, folder: Path) -> dict[str, Path]:
    """Write report.html, report.md, report.json and report.csv.

    Args:
        report: the report.
        folder: made if missing; files in it are replaced.

    Returns:
        Path by format: "html", "md", "json", "csv".

    Raises:
        UsageError: the folder cannot be written to.
    """
    content = {
        "html": as_html(report),
        "md": as_markdown(report),
        "json": json.dumps(record(report), ensure_ascii=False, indent=1) + "\n",
        "csv": as_csv(report),
    }
    paths = {}
    for kind, text in content.items():
        paths[kind] = folder / f"report.{kind}"
        with atomic_output(paths[kind]) as temporary:
            # A file name of other bytes than UTF-8 has signs that cannot be written.
            temporary.write_bytes(text.encode("utf-8", errors="replace"))
    return paths
