"""The description of all export options in a docstring."""

from __future__ import annotations

import textwrap

from hrnet_deploy.export.options import declarations

_WIDTH = 110


def options_text() -> str:
    """Return a description of every option by group, for a docstring."""
    lines: list[str] = []
    group = ""
    for field, found in declarations():
        if found.group != group:
            group = found.group
            lines += ["", f"Options, {group}:"]
        choices = f" {found.metavar}" if isinstance(found.metavar, str) and "{" in found.metavar else ""
        lines += textwrap.wrap(
            f"    {field.name}{choices}: {found.help}.", _WIDTH, subsequent_indent=" " * 8, break_on_hyphens=False
        )
    return "\n".join(lines).strip()
