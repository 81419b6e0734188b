"""Progress bars: on stderr, gone when done, off under -q and where nobody watches."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any


def bar(items: Iterable[Any] | None = None, **options: Any) -> Any:
    """A tqdm bar that honours TQDM_DISABLE (which -q sets) as well as a stderr that is no terminal.

    Args:
        items: what to count; None where the caller updates by hand.
        options: tqdm's own.

    Returns:
        The bar, iterable and a context manager.
    """
    from tqdm import tqdm

    # An explicit None means "off where stderr is no terminal", but overrides the environment; hence the question.
    silent = True if os.environ.get("TQDM_DISABLE") else None
    return tqdm(items, disable=silent, leave=False, **options)
