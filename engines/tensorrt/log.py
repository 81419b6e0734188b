"""TensorRT's log, kept off the terminal and available for error messages."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.errors import one_line

if TYPE_CHECKING:
    import tensorrt as trt

_LOG = logging.getLogger(__name__)
_RING = 50
_LINE_CHARS = 300
_DUMPS = ("Layers:", "Engine Layer Information:")
# Without a GPU, TensorRT-RTX adds to each error one about the driver, which it does not need.
_ECHO = "[checkMacros.cpp::catchCudaError"

_loggers: dict[int, Any] = {}
_listeners: list[BuildLog] = []
_lock = threading.Lock()


class BuildLog:
    """The log of one build or load; a context manager that records while it is open.

    Attributes:
        errors: the last error messages, each on one line, oldest first.
        logger: the ILogger for Builder, OnnxParser and Runtime, which outlives them all.
        layers: the last list of layers; "" without one. Only builds with DETAILED verbosity log it, at VERBOSE level.
    """

    def __init__(self, api: TrtApi) -> None:
        self.layers = ""
        self.errors: deque[str] = deque(maxlen=_RING)
        self._max_error = int(api.module.ILogger.Severity.ERROR)
        self.logger = _logger(api)

    def __enter__(self) -> BuildLog:
        with _lock:
            _listeners.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            _listeners.remove(self)

    def record(self, severity: int, message: str) -> None:
        """Record a message. TensorRT's severity: 0 internal error, 1 error, 2 warning, 3 info, 4 verbose."""
        line = one_line(message) if severity <= self._max_error else ""
        if line and (not self.errors or self.errors[-1] != line):
            self.errors.append(line)
        elif message.startswith(_DUMPS):
            self.layers = message

    def reason(self, lines: int = 3) -> str:
        """Return the last errors on one line, each cut to 300 characters; "no reason" without any."""
        errors = tuple(self.errors)  # other threads may log meanwhile
        reported = [line for line in errors if not line.startswith(_ECHO)] or errors
        last = [line if len(line) <= _LINE_CHARS else f"{line[:_LINE_CHARS]}..." for line in reported[-lines:]]
        return "; ".join(last) or "no reason"


def _logger(api: TrtApi) -> Any:
    """Return the only logger of a module: TensorRT keeps the first one for good, so it must never die."""
    with _lock:
        if id(api.module) not in _loggers:
            _loggers[id(api.module)] = _create(api)
        return _loggers[id(api.module)]


def _create(api: TrtApi) -> Any:
    if not TYPE_CHECKING:
        trt = api.module

    class Logger(trt.ILogger):  # type: ignore[misc, unused-ignore]  # Any without the stubs
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.min_severity = trt.ILogger.Severity.VERBOSE
            self.module = trt  # kept alive: the key of `_loggers` is its id

        def log(self, severity: trt.ILogger.Severity, message: str) -> None:
            level = int(severity)
            for listener in tuple(_listeners):
                listener.record(level, message)
            if _LOG.isEnabledFor(logging.DEBUG):
                _LOG.debug("%s", message)

    return Logger()
