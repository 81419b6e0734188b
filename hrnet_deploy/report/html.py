"""A report as one HTML page without scripts or links, from the Jinja2 templates in `templates/`."""

from __future__ import annotations

import functools
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from hrnet_deploy.errors import MissingDependencyError
from hrnet_deploy.imaging.palettes import colors_of
from hrnet_deploy.report import formatting, svg_plots, tables
from hrnet_deploy.report.provenance import model_info, run_info
from hrnet_deploy.report.report import Report, Row
from hrnet_deploy.report.summary import describe_changes, keeps_enough, summarize
from hrnet_deploy.system.text_table import visible
from hrnet_deploy.version import VERSION

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_UNCHANGED = 0.005
"""Points below this are written as 0.00."""
_FILTERS = (formatting.percent, formatting.points, formatting.milliseconds, formatting.megabytes, formatting.ratio)


def as_html(report: Report) -> str:
    """Write the page; all text from names and files is escaped."""
    precisions = list(dict.fromkeys(row.model.card.precision.value for row in report.candidates))
    return page_template().render(
        title=f"{report.reference.model.card.variant}: cost of {formatting.join_words(precisions)}",
        policy=_POLICY,
        version=VERSION,
        report=report,
        summary=summarize(report),
        changed_rows=[row for row in report.candidates if _has_changed_class(row)],
        legend=_legend(report),
        run_info=run_info(report),
    )


@functools.cache
def page_template() -> Template:
    """Load the template of the page, which needs Jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingDependencyError(f"a report needs Jinja2, got: {error}. pip install jinja2.") from error

    def visible_text(value: Any) -> Any:
        """Replace invisible characters in foreign text; markup of the plots and templates has none."""
        return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)

    def plot(name: str, *args: Report | Row) -> Markup:
        """Draw a plot of `svg_plots`, whose serializer escapes all text."""
        return Markup(getattr(svg_plots, f"{name}_plot")(*args))  # noqa: S704

    environment = Environment(
        loader=PackageLoader("hrnet_deploy.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible_text,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in _FILTERS}
    environment.filters["name_parts"] = _name_parts
    environment.globals |= {
        "style": Markup(files("hrnet_deploy.report").joinpath("templates/style.css").read_text("utf-8")),  # noqa: S704
        "plot": plot,
        "zip": zip,
        "tables": tables,
        "interval": formatting.interval,
        "describe_changes": describe_changes,
        "keeps_enough": keeps_enough,
        "model_info": model_info,
    }
    return environment.get_template("page.html")


def _name_parts(name: str) -> list[str]:
    """Split a file name where a narrow column may break it: after underscores, hyphens and slashes."""
    return re.split(r"(?<=[_/-])", name)


def _has_changed_class(row: Row) -> bool:
    return any(abs(delta.points or 0) >= _UNCHANGED for delta in row.judged_classes)


def _legend(report: Report) -> list[tuple[str, str]]:
    """Pair each class of the masks with its CSS color; empty for classifiers."""
    shown = sorted({index for row in report.candidates for example in row.examples for index in example.shown_classes})
    if not shown:
        return []
    colors = colors_of(report.reference.model.card)
    names = report.reference.evaluation.classes
    return [(names[index], f"rgb({','.join(str(int(value)) for value in colors[index])})") for index in shown]
