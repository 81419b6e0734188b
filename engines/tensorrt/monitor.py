"""The progress of a build as one bar with an ETA, and its cancellation."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.system.progress import bar

_TICKS = 1000
_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class BuildMonitor:
    """Collects TensorRT's progress reports; a context manager that shows a bar while it is open.

    TensorRT calls it from several threads. Its methods must not raise: an exception would cross C++.
    """

    def __init__(self, title: str, *, shown: bool = True) -> None:
        self._visible = shown
        self._title = title
        self._phases: dict[str, _Phase] = {}
        self._shown = 0
        self._bar: Any = None
        self._cancelled = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> BuildMonitor:
        if self._visible:
            self._bar = bar(total=_TICKS, desc=self._title, bar_format=_FORMAT)
        return self

    def __exit__(self, *_: object) -> None:
        # An abandoned build may still report, without a bar then.
        with self._lock:
            closing, self._bar = self._bar, None
        if closing is not None:
            closing.close()

    @property
    def cancelled(self) -> bool:
        """Whether the build is cancelled."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the build at its next step."""
        self._cancelled.set()

    def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
        """Record the start of a phase of `steps` steps, itself a step of `parent` where that is given."""
        with self._lock:
            self._phases[phase] = _Phase(parent or None, max(1, steps))

    def step_complete(self, phase: str, step: int) -> bool:
        """Record the end of a step and return whether to continue."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase].done = max(self._phases[phase].done, step + 1)
            self._show()
        return not self.cancelled

    def phase_finish(self, phase: str) -> None:
        """Record the end of a phase, complete or not."""
        with self._lock:
            if phase in self._phases:
                self._phases[phase].done = self._phases[phase].steps
                self._show()
                del self._phases[phase]

    def _show(self) -> None:
        ticks = int(self._done_below(None) * _TICKS) - self._shown
        if ticks <= 0:
            return
        self._shown += ticks
        if self._bar is not None:
            try:
                self._bar.update(ticks)
            except Exception:  # noqa: BLE001 - a lost terminal must not fail the build
                self._bar.disable = True

    def _done_below(self, parent: str | None) -> float:
        """Return the share that is done of the phase that has advanced most: its steps, and the present one's share."""
        inner = {name: phase for name, phase in self._phases.items() if phase.parent == parent and name != parent}
        shares = ((phase.done + self._done_below(name)) / phase.steps for name, phase in inner.items())
        return min(1.0, max(shares, default=0.0))


def bind(api: TrtApi, monitor: BuildMonitor) -> Any:
    """Wrap a monitor as an IProgressMonitor, which must be referenced until the build is done."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = api.module

    # TensorRT 8 lacks the base class, so the class is created here.
    class Bound(trt.IProgressMonitor):  # type: ignore[misc, unused-ignore]  # Any without the stubs
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            monitor.phase_start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return monitor.step_complete(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            monitor.phase_finish(phase_name)

    return Bound()
