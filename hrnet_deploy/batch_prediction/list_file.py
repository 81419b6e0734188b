"""List files: one path a line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hrnet_deploy.errors import UsageError
from hrnet_deploy.limits import LIST_FILE_BYTES
from hrnet_deploy.system.text_file import read_text, split_lines


def read_list(path: Path) -> list[str]:
    """Read the paths of a list file, UTF-8 with one path a line; empty lines are skipped."""
    text = read_text(path, "list file", "a text with one path a line", LIST_FILE_BYTES)
    lines = [line.removesuffix("\r") for line in split_lines(text, f"list file {path}") if line.strip()]
    if not lines:
        raise UsageError(f"list file must name images, got none in {path}. Write one path a line.")
    return lines


def inside(root: str, texts: Iterable[str], origin: str) -> Iterator[str]:
    """Yield paths that a file names, if they lie in a folder; UsageError otherwise, which names the file `origin`.

    Only the text counts: a link inside of the folder may lead out of it, as the folder's owner decided.
    """
    below = os.path.join(root, "")  # noqa: PTH118 - a Path for each of a million files takes seconds
    for text in texts:
        if not os.path.normpath(os.path.join(root, text)).startswith(below):  # noqa: PTH118
            raise UsageError(
                f"paths in {origin} must stay in {root}, got '{text:.200}'. Name a folder above them: --root DIR."
            )
        yield text
