"""Threads and memory that all models of a server share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.serving.pixel_budget import PixelBudget

Resolve = Callable[[Any], None]
"""Receives a result or an error, from any thread."""


@dataclass(frozen=True)
class Workers:
    """Threads around the streams.

    Attributes:
        reading: decodes and preprocesses; its threads may wait for `pixels`.
        writing: postprocesses and encodes; its threads never wait, so that pixels come free.
    """

    reading: ThreadPoolExecutor
    writing: ThreadPoolExecutor
    pixels: PixelBudget


def settle(resolve: Resolve, work: Callable[[], Any]) -> None:
    """Hand over the result of some work, or its error."""
    try:
        outcome = work()
    except Exception as error:  # noqa: BLE001 - handed to the request
        outcome = error
    resolve(outcome)
