"""SECURITY.md lists every limit with its value and its meaning."""

import ast
import itertools
import re
from pathlib import Path

from hrnet_deploy import limits

ROOT = Path(__file__).resolve().parents[1]


def shown(name, value):
    """A value for people: powers of 1024 where it has them."""
    if name.endswith("BYTES"):
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value % (size >> 2) == 0 and value >= size:
                return f"{value / size:g} {unit}"
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def rows():
    """The rows of the table, from the module's own constants and the texts below them."""
    body = ast.parse(Path(limits.__file__).read_text()).body
    for constant, text in itertools.pairwise(body):
        if isinstance(constant, ast.Assign):
            name = constant.targets[0].id
            meaning = " ".join(ast.literal_eval(text.value).split())
            yield f"| {meaning} | {shown(name, getattr(limits, name))} | `{name}` |"


def test_security_lists_every_limit():
    lines = (ROOT / "SECURITY.md").read_text().splitlines()
    found = [line for line in lines if re.fullmatch(r"\|.*\| `[A-Z_0-9]+` \|", line)]
    assert found == list(rows()), "the table must be:\n" + "\n".join(rows())
