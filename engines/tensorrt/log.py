"""What TensorRT says while it works, kept off the screen and at hand for an error."""

from __future__ import annotations

import logging
import threading
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hrnet_deploy.engines.tensorrt.api import TrtApi

_LOG = logging.getLogger(__name__)
_RING = 50
_LINE_CHARS = 300
_DUMPS = ("Layers:", "Engine Layer Information:")
# TensorRT-RTX follows any error on a machine without a GPU with one about the driver it does not need.
_ECHO = "[checkMacros.cpp::catchCudaError"

_loggers: dict[int, Any] = {}
_listeners: list[BuildLog] = []
_lock = threading.Lock()


class BuildLog:
    """The log of one build or load: a context manager that listens while it is open.

    Attributes:
        layers: the last dump of layers TensorRT wrote, "" while there is none. Only a build with DETAILED verbosity
            writes one, at the VERBOSE level.
    """

    def __init__(self, api: TrtApi) -> None:
        self.layers = ""
        self._errors: deque[str] = deque(maxlen=_RING)
        self._warnings: deque[str] = deque(maxlen=_RING)
        self._logger = _logger(api)
        severity = api.module.ILogger.Severity
        self._error, self._warning = int(severity.ERROR), int(severity.WARNING)

    @property
    def logger(self) -> Any:
        """The ILogger to hand to Builder, OnnxParser and Runtime; it outlives them all."""
        return self._logger

    @property
    def errors(self) -> tuple[str, ...]:
        """The last error messages, each on one line, oldest first."""
        return tuple(self._errors)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The last warnings, likewise."""
        return tuple(self._warnings)

    def __enter__(self) -> BuildLog:
        with _lock:
            _listeners.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:
            _listeners.remove(self)

    def record(self, severity: int, message: str) -> None:
        """Take one message.

        Args:
            severity: TensorRT's: 0 internal error, 1 error, 2 warning, 3 info, 4 verbose.
            message: any number of lines.
        """
        if severity > self._warning:
            if message.startswith(_DUMPS):
                self.layers = message
            return
        line = " ".join(message.split())
        kept = self._errors if severity <= self._error else self._warnings
        if not kept or kept[-1] != line:
            kept.append(line)

    def reason(self, lines: int = 3) -> str:
        """The last errors on one line, for a message.

        Args:
            lines: how many at most.

        Returns:
            The errors, each cut to 300 characters, or "no reason" where TensorRT gave none.
        """
        told = [line for line in self.errors if not line.startswith(_ECHO)] or self.errors
        last = [line if len(line) <= _LINE_CHARS else f"{line[:_LINE_CHARS]}..." for line in told[-lines:]]
        return "; ".join(last) or "no reason"


def _logger(api: TrtApi) -> Any:
    """The one logger of a module: TensorRT keeps the first it is given for all that follows, so it must never die."""
    with _lock:
        if id(api.module) not in _loggers:
            _loggers[id(api.module)] = _make(api)
        return _loggers[id(api.module)]


def _make(api: TrtApi) -> Any:
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = api.module

    class Logger(trt.ILogger):  # type: ignore[misc, unused-ignore]  # Any without the stubs
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.min_severity = trt.ILogger.Severity.VERBOSE
            self.module = trt  # kept alive, or its id could come back for another module

        def log(self, severity: trt.ILogger.Severity, message: str) -> None:
            level = int(severity)
            for listener in tuple(_listeners):
                listener.record(level, message)
            if _LOG.isEnabledFor(logging.DEBUG):
                _LOG.debug("%s", message)

    return Logger()
