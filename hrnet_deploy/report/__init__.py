"""Reports on what fp16 and int8 cost and gain, as HTML, Markdown, JSON and CSV."""

from hrnet_deploy.report.build import build_report
from hrnet_deploy.report.report import Report, Row
from hrnet_deploy.report.summary import Summary, summarize
from hrnet_deploy.report.write import write_report

__all__ = ["Report", "Row", "Summary", "build_report", "summarize", "write_report"]
