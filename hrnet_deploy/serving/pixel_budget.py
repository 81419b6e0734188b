"""Memory for decoded images, shared by all requests."""

from __future__ import annotations

import threading


class PixelBudget:
    """Pixels that may be decoded at a time; safe to use from several threads."""

    def __init__(self, pixels: int) -> None:
        self._total = self._left = pixels
        self._changed = threading.Condition()

    def acquire(self, pixels: int) -> None:
        """Wait until the pixels are free; an image beyond the budget waits for all of it."""
        needed = min(pixels, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= needed)
            self._left -= needed

    def release(self, pixels: int) -> None:
        """Give the pixels back."""
        with self._changed:
            self._left += min(pixels, self._total)
            self._changed.notify_all()
