"""Hooks of the handbook's build: tables of the commands' options and of the zoo, and links to files outside docs/.

A page links to `../benchmarks/results/serving.md` as it does on a code host; the build copies such files beside the
pages and adjusts the links. A link to a file that is not tracked fails the strict build.
"""

from __future__ import annotations

import argparse
import csv
import html
import importlib
import posixpath
import re
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

from mkdocs.structure.files import File, Files

from hrnet_deploy.export.options_text import options_text

_ROOT_PAGES = ("CHANGELOG", "CONTRIBUTING", "SECURITY")
ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = (
    "benchmarks/results",
    "examples",
    "demo",
    "hrnet_deploy/data",
    "calibration/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
)
"""Files and folders outside docs/ that pages may link to."""
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)((?:#[^)\s]*)?\))")
_COMMAND = re.compile(r"<!-- options of (hrnet-\w+) -->")
_ZOO = re.compile(r"<!-- zoo of (\w+), (classification|segmentation) -->")


def on_files(files: Files, config: Any) -> Files:
    """Add the tracked files of `OUTSIDE` to the site, under repository/."""
    listed = subprocess.run(["git", "ls-files", "--", *OUTSIDE], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        files.append(File.generated(config, f"repository/{name}", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Insert the options of commands and the zoo's rows, and adjust the links that leave docs/."""
    markdown = _COMMAND.sub(lambda match: options_table(match[1]), markdown)
    markdown = markdown.replace("<!-- options of export -->", export_options())
    markdown = _ZOO.sub(lambda match: zoo_table(match[1], match[2]), markdown)
    return _LINK.sub(lambda match: f"{match[1]}{_target(match[2], page.file, files)}{match[3]}", markdown)


def _target(link: str, file: File, files: Files) -> str:
    """Return the site's own link for a link between files of the repository."""
    outside = file.src_uri.startswith("repository/")
    home = ROOT / file.src_uri.removeprefix("repository/") if outside else ROOT / "docs" / file.src_uri
    target = (home.parent / link).resolve()
    if not target.is_relative_to(ROOT):
        return link
    name = target.relative_to(ROOT).as_posix()
    uri = name.removeprefix("docs/") if name.startswith("docs/") else f"repository/{name}"
    found = next((name for name in (uri, f"{uri}/README.md") if files.get_file_from_path(name)), None)
    return link if found is None else posixpath.relpath(found, posixpath.dirname(file.src_uri) or ".")


def options_table(command: str) -> str:
    """Write the usage and the options of a command as Markdown, from its own parser."""
    parser = command_parser(command)
    lines = ["```text", parser.format_usage().strip(), "```", ""]
    for group in parser._action_groups:
        rows = [_row(action) for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if rows:
            title = {"positional arguments": "Arguments", "options": "Options"}.get(group.title or "", group.title)
            lines += [f"**{title}**", "", "| name | effect |", "|:--|:--|", *rows, ""]
    return "\n".join(lines)


def command_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    module = importlib.import_module(f"hrnet_deploy.cli.{command.removeprefix('hrnet-')}")
    with mock.patch.object(argparse.ArgumentParser, "parse_args", _caught):
        try:
            module.parse_args([])
        except _CaughtError as caught:
            return caught.parser
    raise LookupError(f"{command} must have a parser")


class _CaughtError(Exception):
    """Carries a command's finished parser out of its `parse_args`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _caught(parser: argparse.ArgumentParser, *_: Any) -> None:
    raise _CaughtError(parser)


def _row(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar or ())
    names = ", ".join(action.option_strings) or metavar or action.dest
    value = f" {metavar or action.dest.upper()}" if action.option_strings and action.nargs != 0 else ""
    text = (action.help or "").replace("%%", "%").replace("|", "\\|").replace("<", "&lt;")
    return f"| `{names}{value}` | {text} |"


def zoo_table(source: str, task: str) -> str:
    """Write the published models of a source as Markdown, from the zoo's own table."""
    with (ROOT / "hrnet_deploy/data/zoo.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == source and row["task"] == task]
    score = "top-1 / top-5, %" if task == "classification" else "mIoU, %"
    lines = [f"| name here | published file | {score} | input | resize, crop, filter |", "|:--|:--|:--|:--|:--|"]
    for row in rows:
        file_name = _breakable(row["filename"], "_")
        file_name = f"[{file_name}]({row['url']})" if row["url"] else file_name
        figures = row["miou"] or " / ".join(filter(None, (row["top1"], row["top5"]))) or "not published"
        prepared = f"{row['resize']}, {row['crop_pct']}, {row['interpolation']}"
        name = _breakable(f"{row['variant']}.{row['tag']}", ".")
        lines.append(f"| <code>{name}</code> | {file_name} | {figures} | {row['height']}x{row['width']} | {prepared} |")
    return "\n".join(lines)


def _breakable(name: str, after: str) -> str:
    """Allow a line break after some characters of a long name in a table."""
    return "<wbr>".join(re.split(f"(?<=[{after}])", html.escape(name))).replace("_", "&#95;")


def export_options() -> str:
    """Write the options of the function `export` as Markdown, from the text of its docstring."""
    lines: list[str] = []
    for line in options_text().splitlines():
        if line.startswith("Options"):
            lines += ["", f"**{line.removeprefix('Options, ').rstrip(':')}**", ""]
        elif line.startswith(" " * 8):
            lines[-1] += f" {html.escape(line.strip())}"
        elif line.strip():
            name, _, text = line.strip().partition(": ")
            lines.append(f"- `{name}`: {html.escape(text)}")
    return "\n".join(lines)
