"""Building a TensorRT plan from an ONNX graph."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hrnet_deploy.engines.tensorrt import timing_cache
from hrnet_deploy.engines.tensorrt.api import TrtApi
from hrnet_deploy.engines.tensorrt.builder_config import (
    BuildRequest,
    Typing,
    check_request,
    configure,
    constrain,
    creation_flags,
    require,
    set_profile,
)
from hrnet_deploy.engines.tensorrt.layers import Layer, layers_from_inspector, layers_from_log
from hrnet_deploy.engines.tensorrt.log import BuildLog
from hrnet_deploy.engines.tensorrt.monitor import BuildMonitor, bind
from hrnet_deploy.errors import BuildError, UsageError, one_line

if TYPE_CHECKING:
    # Checked against the published stubs (tensorrt-stubs, 10.13) where mypy is given them; see tests/engines/tensorrt.
    import tensorrt as trt

__all__ = ["BuildRequest", "BuiltPlan", "Typing", "build", "inspect"]

_POLL_S = 0.2
_LOG_HINT = "-v shows the whole log."


@dataclass(frozen=True)
class BuiltPlan:
    """A finished build.

    Attributes:
        plan: the serialized engine.
        layers: its kernels by the log; () where the log has none, and `inspect` on a GPU lists them.
    """

    plan: bytes = field(repr=False)
    layers: tuple[Layer, ...]
    seconds: float


def build(api: TrtApi, request: BuildRequest) -> BuiltPlan:
    """Build an engine with progress on stderr; Ctrl-C ends it at TensorRT's next step.

    A separate thread builds: Python handles no signal while its main thread is inside TensorRT.

    Returns:
        The plan and its layers. Only the timing cache is written to disk.

    Raises:
        UsageError: the request contradicts itself or needs a feature that this TensorRT lacks.
        BuildError: TensorRT refused the graph or built no engine; with the last lines of its log.
        KeyboardInterrupt: the user ended it.
    """
    check_request(api, request)
    started = time.perf_counter()
    outcome: list[bytes | BaseException] = []
    with BuildLog(api) as log, BuildMonitor(f"building {request.name}", shown=api.progress_monitor) as monitor:
        begun, done = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            try:
                outcome.append(_build(api, request, log, monitor))
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                outcome.append(error)
            done.set()

        worker = threading.Thread(target=work, name="tensorrt-build", daemon=True)
        try:
            worker.start()
        except KeyboardInterrupt:
            monitor.cancel()
            if not begun.wait(_POLL_S):
                raise
        _wait(done, monitor, patient=api.progress_monitor)
        if monitor.cancelled:
            raise KeyboardInterrupt
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return BuiltPlan(result, layers_from_log(log.layers), time.perf_counter() - started)


def inspect(api: TrtApi, plan: bytes) -> tuple[Layer, ...]:
    """List the kernels of a serialized engine in order; needs a GPU it was built for, current in this thread.

    Raises:
        BuildError: it does not load here, or cannot be inspected.
    """
    if not TYPE_CHECKING:
        trt = api.module
    with BuildLog(api) as log:
        runtime = require(trt.Runtime(log.logger), "runtime", api, log)
        engine = require(runtime.deserialize_cuda_engine(plan), "engine", api, log)
        inspector = require(engine.create_engine_inspector(), "engine inspector", api, log)
        text = require(inspector.get_engine_information(trt.LayerInformationFormat.JSON), "layer list", api, log)
    return layers_from_inspector(text)


def _wait(done: threading.Event, monitor: BuildMonitor, *, patient: bool) -> None:
    """Wait for the build; the first Ctrl-C cancels it, a second one (or one without `patient`) abandons it."""
    while True:
        try:
            while not done.wait(_POLL_S):
                pass
        except KeyboardInterrupt:  # noqa: PERF203 - it waits anyway
            if monitor.cancelled or not patient:
                monitor.cancel()
                raise
            monitor.cancel()
        else:
            return


def _build(api: TrtApi, request: BuildRequest, log: BuildLog, monitor: BuildMonitor) -> bytes:
    if request.activate is not None:
        request.activate()
    if not TYPE_CHECKING:
        trt = api.module
    try:
        builder = require(trt.Builder(log.logger), "builder", api, log)
        network = require(builder.create_network(creation_flags(api, request)), "network", api, log)
        parser = require(trt.OnnxParser(network, log.logger), "ONNX parser", api, log)
        _parse(parser, request, log)
        if request.network_name:
            network.name = request.network_name
            if network.name != request.network_name:
                raise BuildError(f"network name must be accepted, got: {log.reason()}. Shorten it.")
        config = require(builder.create_builder_config(), "builder configuration", api, log)
        configure(api, config, request)
        constrain(api, network, config, request)
        set_profile(api, builder, config, request, log)
        cache = timing_cache.attach(api, config, request.timing_cache)
        bound = bind(api, monitor) if api.progress_monitor else None
        if bound is not None:
            config.progress_monitor = bound
        if monitor.cancelled:
            raise KeyboardInterrupt
        memory: Any = builder.build_serialized_network(network, config)
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        # BuildError is a RuntimeError and already complete.
        if isinstance(error, (BuildError, UsageError)):
            raise
        raise BuildError(f"{request.name} must build with {api.label}, got: {one_line(error)}. {_LOG_HINT}") from error
    if monitor.cancelled:
        raise KeyboardInterrupt
    if request.calibrator is not None:
        request.calibrator.raise_if_failed()
    if memory is None:
        raise BuildError(f"{request.name} must build with {api.label}, got: {log.reason()}. {_advice(request, log)}")
    if request.timing_cache is not None and cache is not None:
        timing_cache.save(cache, request.timing_cache)
    return bytes(memory)


def _parse(parser: trt.OnnxParser, request: BuildRequest, log: BuildLog) -> None:
    parsed: Any = parser.parse(request.graph)  # the stubs confuse its bool with their DataType.bool
    if parsed:
        return
    errors = [one_line(parser.get_error(i)) for i in range(parser.num_errors)]
    raise BuildError(
        f"{request.name} must be a graph that TensorRT can parse, got: {'; '.join(errors) or log.reason()}. "
        "Export it again, or with another --opset."
    )


def _advice(request: BuildRequest, log: BuildLog) -> str:
    text = log.reason().lower()
    if "optimization profile" in text:
        return "Give the range of its sizes (--batch MIN:OPT:MAX, --imgsz)."
    if "cuda driver" in text or "cudaerror" in text or "no cuda" in text:
        return "It needs a GPU and its driver" + ("." if request.targets else ", or TensorRT-RTX and a --target.")
    if "memory" in text:
        return "Free GPU memory." if request.workspace_bytes is None else "Allow more with --workspace."
    return _LOG_HINT
