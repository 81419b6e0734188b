"""Progress bars on stderr, off under -q and where stderr is no terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any


def bar(items: Iterable[Any] | None = None, **options: Any) -> Any:
    """Create a tqdm bar that honors TQDM_DISABLE (which -q sets) and is off where stderr is no terminal."""
    from tqdm import tqdm

    # None turns the bar off where stderr is no terminal, but overrides the environment, which is read here.
    silent = True if os.environ.get("TQDM_DISABLE") else None
    return tqdm(items, disable=silent, leave=False, **options)
