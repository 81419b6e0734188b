"""README.md and docs/: every command and every Python block runs, or the page says why not; links lead somewhere."""

import importlib.util
import itertools
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.docs_world import DATA, make_world, run

from hrnet_deploy.system.file_lock import exclusive

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"(?:^[ ]*<!-- (?P<mark>not run|exits with): (?P<value>[^\n]+) -->\n\s*)?"
    r"^(?P<indent>[ ]*)```(?P<language>bash|python)\n(?P<text>.*?)^[ ]*```"
    r"(?:\n\s*```text\n(?P<shown>.*?)^[ ]*```)?",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of code; `mark` is "not run" with its reason, or "exits with" and the exit code.

    `shown` is the text block that follows, which an exit code promises to be printed.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str | None
    value: str | None
    shown: str | None

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page):
    content = page.read_text()
    for match in _BLOCK.finditer(content):
        text = "\n".join(line.removeprefix(match["indent"]) for line in match["text"].split("\n"))
        line = content.count("\n", 0, match.start("language")) + 1
        yield Block(page, line, match["language"], text, match["mark"], match["value"], match["shown"])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def commands():
    """(place, line) of every command of this package, without its comment and what it is piped to."""
    for block in BLOCKS:
        if block.language != "bash":
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.partition(" | ")[0], comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0].startswith("hrnet-"):
                end = next((place for place, word in enumerate(words) if word in {"&", "&&", "||", ">", "2>"}), None)
                yield str(block), shlex.join(words[:end])


@pytest.mark.parametrize(("place", "line"), list(commands()))
def test_a_command_is_one_that_its_parser_accepts(place, line):
    command, *words = shlex.split(line)
    importlib.import_module(f"hrnet_deploy.cli.{command.removeprefix('hrnet-')}").parse_args(words)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_python_compiles(block):
    compile(block.text, str(block), "exec")


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The folder of the pages' files, made by the first of the test runner's processes that needs it."""
    if not DATA.is_dir():
        pytest.skip("the images of ../shared/data are not here")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "docs" / "world"
    folder.parent.mkdir(exist_ok=True)
    with exclusive(folder, "make"):
        if not folder.is_dir():
            fresh = folder.with_name("fresh")
            fresh.mkdir()
            make_world(fresh).rename(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if any(b.mark != "not run" for b in blocks_of(p))], ids=str)
def test_the_blocks_of_a_page_run_in_order(page, world, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(world, folder, copy_function=lambda source, target: Path(target).hardlink_to(source))
    for block in blocks_of(page):
        if block.mark == "not run":
            continue
        done = run(block.text, folder, block.language)
        expected = int(block.value) if block.mark == "exits with" else 0
        printed = done.stdout + done.stderr
        assert done.returncode == expected, f"{block}\n{block.text}\n{printed[-4000:]}"
        if block.mark == "exits with" and block.shown:
            for line in block.shown.splitlines():
                assert line.strip() in " ".join(printed.split()), f"{block} shows: {line}\ngot: {printed}"


def journeys():
    loader = importlib.util.spec_from_file_location("journeys", ROOT / "benchmarks" / "journeys.py")
    module = importlib.util.module_from_spec(loader)
    sys.modules["journeys"] = module  # dataclasses look their module up
    loader.loader.exec_module(module)
    return module.JOURNEYS


@pytest.mark.parametrize("journey", journeys(), ids=lambda journey: journey.title)
def test_each_page_of_a_journey_is_linked_from_the_one_before(journey):
    for page, following in itertools.pairwise(journey.pages):
        links = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text())
        found = {os.path.normpath((ROOT / page).parent / link) for link in links}
        assert os.fspath(ROOT / following) in found, f"{page} must link to {following}"


def test_there_are_blocks_to_run():
    assert sum(block.mark != "not run" for block in BLOCKS) > 40
    assert len(list(commands())) > 100
