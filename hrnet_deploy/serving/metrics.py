"""Counters of a server in the text format of Prometheus.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64)
Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Counts of values at most as large as each bound, by labels; not locked by itself."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def add(self, labels: Labels, value: float) -> None:
        """Count a value."""
        counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self, name: str) -> Iterable[str]:
        """Write the samples."""
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip((*map(_number, self._bounds), "+Inf"), counts, strict=True):
                total += count
                yield _sample(f"{name}_bucket", (*labels, ("le", bound)), total)
            yield _sample(f"{name}_sum", labels, self._sums[labels])
            yield _sample(f"{name}_count", labels, total)


class Metrics:
    """Counts of requests, errors, times and batches; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[Labels, int] = {}
        self._seconds = Histogram(_LATENCY_S)
        self._batches = Histogram(_BATCH)
        self._gauges: dict[str, tuple[str, Callable[[], Mapping[Labels, float]]]] = {}

    def add_gauge(self, name: str, text: str, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Add a value that is read when the metrics are written."""
        self._gauges[name] = text, read

    def count_request(self, model: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has its response."""
        with self._lock:
            key = (("model", model), ("route", route), ("status", str(status)))
            self._requests[key] = self._requests.get(key, 0) + 1
            self._seconds.add((("model", model), ("route", route)), seconds)

    def count_batch(self, model: str, images: int) -> None:
        """Count an inference by its number of images."""
        with self._lock:
            self._batches.add((("model", model),), images)

    def text(self) -> str:
        """Write everything."""
        with self._lock:
            lines = [
                *_head("hrnet_requests_total", "counter", "Requests by model, route and status."),
                *(_sample("hrnet_requests_total", labels, count) for labels, count in self._requests.items()),
                *_head("hrnet_request_seconds", "histogram", "Time of a request, its body included."),
                *self._seconds.lines("hrnet_request_seconds"),
                *_head("hrnet_batch_images", "histogram", "Images of an inference."),
                *self._batches.lines("hrnet_batch_images"),
            ]
        for name, (text, read) in self._gauges.items():
            lines += _head(name, "gauge", text)
            lines += [_sample(name, labels, value) for labels, value in read().items()]
        return "\n".join([*lines, ""])


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _sample(name: str, labels: Labels, value: float) -> str:
    """Write one line; values of labels are escaped."""
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{inside}}} {_number(value)}" if labels else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
