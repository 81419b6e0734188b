"""examples/README.md lists every example."""

import re

from helpers.example_program import EXAMPLES


def test_the_table_lists_every_example():
    text = (EXAMPLES / "README.md").read_text()
    for entry in EXAMPLES.iterdir():
        if entry.name not in {"README.md", "__pycache__", ".ipynb_checkpoints"} and not entry.name.startswith("."):
            assert f"| [{entry.name}](" in text, entry.name


def test_its_links_lead_to_files():
    targets = re.findall(r"\]\(([^)#]+)\)", (EXAMPLES / "README.md").read_text())
    assert len(targets) > 10
    for target in targets:
        assert (EXAMPLES / target).resolve().is_file(), target
