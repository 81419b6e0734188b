"""What fp16 and int8 cost, where, and whether it is worth it: evidence as HTML, Markdown, JSON and CSV."""

from hrnet_deploy.report.content import Report, Row
from hrnet_deploy.report.making import make_report
from hrnet_deploy.report.verdict import Verdict, judge
from hrnet_deploy.report.writing import write_report

__all__ = ["Report", "Row", "Verdict", "judge", "make_report", "write_report"]
