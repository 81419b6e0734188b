"""The words of docs/glossary.md: those that it replaces are gone from code, templates and documents."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("hrnet_deploy", "exporters", "engines", "calibration", "benchmarks", "demo", "tests/helpers")
FILE_FORMATS = {
    "hrnet_deploy/report/tables.py": {"artefact"},  # a column of report.csv
}
"""Words that a file format keeps, by file."""


def gone_words():
    """The last column of the glossary's tables."""
    rows = [
        line.strip("| \n").split("|") for line in (ROOT / "docs/glossary.md").read_text().splitlines() if "|" in line
    ]
    return {word.strip() for row in rows for word in row[-1].split(",") if re.fullmatch(r"[a-z]+", word.strip())}


def files():
    found = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".html", ".md"}]
    found += [ROOT / "README.md", ROOT / "install.py"]
    return [path for path in found if "results" not in path.parts]


def words(text):
    """Every word, those inside of identifiers too: `open_engine` and `OpenEngine` are open, engine."""
    return (word.lower() for word in re.findall(r"[A-Z]?[a-z]+", text))


def test_the_glossary_names_words():
    assert {"net", "picture", "artefact", "colour"} <= gone_words()
    assert gone_words() & set(words("An answer of the NetPicture")) == {"answer", "picture"} | {"net"}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_gone_words_are_gone(path):
    name = str(path.relative_to(ROOT))
    found = gone_words() & set(words(path.read_text(encoding="utf-8"))) - FILE_FORMATS.get(name, set())
    lines = [
        f"{name}:{number}: {line.strip()[:100]}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if found & set(words(line))
    ]
    assert not lines, "\n".join([f"gone: {sorted(found)}", *lines])
