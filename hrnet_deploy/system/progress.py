"""Progress bars on stderr, off under -q and where stderr is no terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from hrnet_deploy.system.text_table import printable


def bar(items: Iterable[Any] | None = None, **options: Any) -> Any:
    """Create a tqdm bar that honors TQDM_DISABLE (which -q sets) and is off where stderr is no terminal."""
    from tqdm import tqdm

    if "desc" in options:
        options["desc"] = printable(options["desc"])

    # None turns the bar off where stderr is no terminal, but overrides the environment, which is read here.
    silent = True if os.environ.get("TQDM_DISABLE") or sys.stderr is None else None
    return tqdm(items, disable=silent, leave=False, file=_RawStderr(), **options)


class _RawStderr:
    """Standard error on which tqdm may move the cursor; its texts are escaped above."""

    def write(self, text: str) -> None:
        """Write a text as it is."""
        getattr(sys.stderr, "write_raw", sys.stderr.write)(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
