"""The version and its date are the same wherever they are written."""

import re
import tomllib
from pathlib import Path

from hrnet_deploy.version import VERSION

ROOT = Path(__file__).resolve().parents[1]


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    newest, date = re.search(
        r"^## (\S+) - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    ).groups()
    assert {project["version"], newest, re.search(r"^version: (\S+)$", citation, re.MULTILINE)[1]} == {VERSION}
    assert re.search(r"^date-released: (\S+)$", citation, re.MULTILINE)[1] == date


def test_classifiers_name_every_python_of_the_matrix():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {int(name.rpartition(".")[2]) for name in project["classifiers"] if " :: 3." in name}
    oldest = int(project["requires-python"].removeprefix(">=3."))
    assert named == set(range(oldest, max(named) + 1))
