"""README.md and docs/: commands that their own parsers accept, Python that compiles, and links that lead somewhere."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    """(page, text) of every block of code in that language."""
    pattern = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    return [(page.name, text) for page in PAGES for text in pattern.findall(page.read_text())]


def commands():
    """(page, line) of every command of this package, without its comment and what it is piped to."""
    for page, text in blocks("bash"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.partition(" | ")[0], comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0].startswith("hrnet-"):
                yield page, shlex.join(words)


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_a_command_is_one_that_its_parser_accepts(page, line):
    command, *words = shlex.split(line)
    importlib.import_module(f"hrnet_deploy.cli.{command.removeprefix('hrnet-')}").parse_args(words)


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_compiles(page, text):
    compile(text, page, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_there_are_commands_to_check():
    assert len(list(commands())) > 20
