"""The version and its date are the same wherever they are written."""

import re
from pathlib import Path

from hrnet_deploy.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()


def found(pattern, text):
    return re.search(pattern, text, re.MULTILINE).groups()


def test_one_version_and_date_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    newest, date = found(r"^## (\S+) - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text())
    assert found(r'^version = "(\S+)"$', PROJECT) == (VERSION,)
    assert found(r"^version: (\S+)$", citation) == (VERSION,)
    assert newest == VERSION
    assert found(r"^date-released: (\S+)$", citation) == (date,)


def test_classifiers_name_every_python_from_the_oldest_on():
    named = {int(minor) for minor in re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', PROJECT)}
    oldest = int(*found(r'^requires-python = ">=3\.(\d+)"$', PROJECT))
    assert named == set(range(oldest, max(named) + 1))
