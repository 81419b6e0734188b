"""The sections of the probe: ONNX Runtime, TensorRT-RTX, and other users of the GPU in one process."""

from __future__ import annotations

import importlib.util
import platform
import threading
import time
from typing import Any

import numpy as np
from gpu_bench import Bench, noise
from gpu_suite import gpus, versions

from hrnet_deploy import Predictor, export
from hrnet_deploy.engines.environment import probe_environment
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import HrnetDeployError

_LIMITS = {"fp32": 1e-3, "fp16": 2e-2}
_TUNINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "fuse_conv_bias off": {"fuse_conv_bias": False},
    "pinned copies off": {"pinned": False},
    "channels first": {"prefer_nhwc": False},
    "no CUDA graphs": {"cuda_graph": False},
}
_GPU_ONLY = "runs on a GPU only"
_TURNS = 200
_WAIT_CYCLES = 2_000_000
"""About a millisecond."""


def machine(bench: Bench) -> None:
    """Name the GPU and check that the CUDA provider loads."""
    found = probe_environment()
    bench.note(gpus=gpus(), python=platform.python_version(), packages=versions())
    bench.note(providers=dict(found.providers), tensorrt=found.tensorrt, tensorrt_rtx=found.tensorrt_rtx)
    if not bench.dry:
        reason = found.providers.get("CUDA", "not part of this build")
        bench.note(check="the CUDA provider loads", holds=not reason, reason=reason)


def opens_and_agrees(bench: Bench) -> None:
    """Check that every node runs on the GPU and is captured, with the outputs of the CPU."""
    for precision, limit in _LIMITS.items():
        began = time.perf_counter()
        engine = bench.engine(bench.photos(precision))
        opened = round(time.perf_counter() - began, 2)
        bench.agrees(precision, engine, bench.photos(precision), (1, 4, 1, 8), limit)
        bench.note(precision=precision, device=engine.device, open_s=opened, cuda_graphs=engine.cuda_graphs)
        if not bench.dry:
            bench.note(check=f"{precision} is captured at every batch", holds=engine.cuda_graphs == 3)
        engine.close()


def tensor_cores(bench: Bench) -> None:
    """Measure the gain of FP16."""
    times = {}
    for precision in _LIMITS:
        engine = bench.engine(bench.classifier(precision))
        for batch in (1,) if bench.dry else (1, 8):
            times[precision, batch] = bench.run_ms(engine, batch)
            found = {"batch": batch, "median_ms": times[precision, batch], "used_mib": bench.used_mib()}
            bench.note(session=precision, **found)
        engine.close()
    if not bench.dry:
        ratio = times["fp32", 8] / times["fp16", 8]
        bench.note(check="fp16 is faster than fp32 at batch 8", holds=ratio > 1.2, ratio=round(ratio, 2))


def tuning(bench: Bench) -> None:
    """Measure the gain of each default in FP16, host to host."""
    for name, changed in _TUNINGS.items():
        engine = bench.engine(bench.classifier("fp16"), **changed)
        for batch in (1,) if bench.dry else (1, 8):
            bench.note(tuning=name, batch=batch, median_ms=bench.run_ms(engine, batch))
        engine.close()


def threads(bench: Bench) -> None:
    """Check that calls from new threads neither capture again nor allocate memory."""
    engine = bench.engine(bench.photos("fp16"))
    feed = {"input": noise(engine.inputs[0].shape, 4)}
    wanted = engine.run(feed)["logits"]
    same, before = bench.run_ms(engine, 4), bench.used_mib()
    times: list[float] = []
    wrong: list[bool] = []

    def work() -> None:
        began = time.perf_counter()
        found = engine.run(feed)["logits"]
        times.append(1e3 * (time.perf_counter() - began))
        wrong.append(not np.array_equal(found, wanted))

    for _ in range(4 if bench.dry else 40):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    grew = bench.used_mib() - before
    bench.note(one_thread_ms=same, new_threads_ms=[round(value, 2) for value in times[:8]], wrong=sum(wrong))
    holds = grew <= 16 and not any(wrong)
    bench.note(check="new threads take no memory", holds=holds, grew_mib=grew, calls=len(times))
    engine.close()
    bench.note(used_mib_before=before, used_mib_after_close=bench.used_mib())


def shapes_in_turn(bench: Bench) -> None:
    """Measure the cost of a change of shape, with CUDA graphs and without."""
    for name, graphs in (("with CUDA graphs", None), ("without", False)):
        engine = bench.engine(bench.classifier("fp16"), cuda_graph=graphs)
        same, turn = bench.run_ms(engine, 1), bench.run_ms(engine, 1, 2)
        bench.note(session=name, one_shape_ms=same, two_shapes_in_turn_ms=turn)
        engine.close()


def labels_inside(bench: Bench) -> None:
    """Measure the gain of pixels and labels inside a segmentation graph."""
    size_hw = (64, 128) if bench.dry else (512, 1024)
    model = "hrnetv2_w18_small_v1" if bench.dry else "hrnetv2_w18_small_v2"
    image = np.random.default_rng(0).integers(0, 255, (*size_hw, 3), np.uint8)
    for name, more in (("logits", {}), ("labels", {"labels_out": True, "pixels_in": True})):
        options: dict[str, Any] = {"model": model, "weights": "random", "imgsz": size_hw, "batch": 1}
        path = bench.exported(f"street_{name}", **options, precision="fp16", **more)
        with Predictor(path, device=bench.device, backend="onnxruntime") as predictor:
            one = predictor.card.inputs[0]
            row = np.zeros([size for size in one.shape if isinstance(size, int)], one.dtype)
            graph = bench.median_ms(lambda p=predictor, x=row: p.infer(x))  # type: ignore[misc]
            whole = bench.median_ms(lambda p=predictor: p.predict(image))  # type: ignore[misc]
        bench.note(outputs=name, host_to_host_ms=graph, image_to_mask_ms=whole)


def tensorrt_rtx(bench: Bench) -> None:
    """Check that TensorRT builds for this GPU and that outputs agree with ONNX Runtime."""
    path = bench.photos("fp16")
    try:
        engine = None if bench.dry else open_engine(export(str(path), output=bench.folder / "photos.engine").path)
    except HrnetDeployError as error:
        bench.note(left_out=str(error))
        return
    if engine is None:
        bench.note(left_out=f"TensorRT {_GPU_ONLY}")
        return
    bench.agrees("the engine", engine, path, (1, 4, 8, 4, 4), _LIMITS["fp16"])
    bench.note(backend=engine.backend, median_ms=bench.run_ms(engine, 4))
    engine.close()


def rtx_plugin(bench: Bench) -> None:
    """Check that ONNX Runtime's TensorRT-RTX plugin opens and agrees with the CPU."""
    if bench.dry or importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None:
        bench.note(left_out=_GPU_ONLY if bench.dry else "not installed: onnxruntime-ep-nv-tensorrt-rtx")
        return
    path = bench.photos("fp16")
    try:
        engine = open_engine(path, backend="onnxruntime-rtx")
    except HrnetDeployError as error:
        if "cannot usefully run" not in str(error):  # the table refuses some GPUs; all else is a finding
            raise
        bench.note(left_out=str(error))
        return
    bench.agrees("the plugin", engine, path, (4,), _LIMITS["fp16"])
    bench.note(plugin=versions()["onnxruntime-ep-nv-tensorrt-rtx"], median_ms=bench.run_ms(engine, 4))
    engine.close()


def readers(bench: Bench) -> None:
    """Check that a slow reader on another stream never reads the next result."""
    torch = _torch(bench)
    if torch is None:
        return
    engine = bench.engine(bench.photos("fp16"))
    one, two = (torch.from_numpy(noise(engine.inputs[0].shape, 4) * scale).cuda() for scale in (1, 3))
    wanted = torch.from_dlpack(engine.run({"input": one})["logits"]).cpu().numpy()
    side = torch.cuda.Stream()
    readings = {"from_dlpack": torch.from_dlpack, "as_tensor": lambda array: torch.as_tensor(array, device="cuda")}
    for name, read in readings.items():
        wrong = 0
        for _ in range(_TURNS):
            found = engine.run({"input": one})["logits"]
            with torch.cuda.stream(side):
                shared = read(found)
                torch.cuda._sleep(_WAIT_CYCLES)  # noqa: SLF001 - as torch's own tests do
                copied = shared.clone()
            del found, shared
            engine.run({"input": two})
            side.synchronize()
            wrong += not np.allclose(copied.cpu().numpy(), wanted, atol=2e-2 * np.abs(wanted).max())
        bench.note(check=f"{name} on another stream reads its own result", holds=not wrong, wrong=wrong, turns=_TURNS)
    copies = {"device_to_device_ms": one, "host_to_host_ms": one.cpu().numpy()}
    bench.note(**{name: bench.median_ms(lambda x=x: engine.run({"input": x})) for name, x in copies.items()})  # type: ignore[misc]
    engine.close()


def capture_beside_allocations(bench: Bench) -> None:
    """Check a capture while another thread allocates on the GPU."""
    torch = _torch(bench)
    if torch is None:
        return
    engine = bench.engine(bench.photos("fp16"))
    shape = engine.inputs[0].shape
    engine.run({"input": noise(shape, 1)})
    stop = threading.Event()
    faults: list[str] = []
    runs: list[int] = []

    def allocate() -> None:
        try:
            while not stop.is_set():
                torch.empty(1 << 24, device="cuda").fill_(1)
                torch.cuda.synchronize()
                torch.cuda.empty_cache()  # so that the next one is a cudaMalloc
        except Exception as error:  # noqa: BLE001 - any failure is the finding
            faults.append(" ".join(str(error).split())[:200])

    other = threading.Thread(target=allocate)
    other.start()
    try:
        for batch in range(2, 8):
            engine.run({"input": noise(shape, batch)})
            runs.append(batch)
    except HrnetDeployError as error:
        faults.append(str(error)[:200])
    finally:
        stop.set()
        other.join()
    bench.note(check="runs survive a capture that another thread ends", holds=len(runs) == 6, batches=runs)
    bench.note(cuda_graphs=engine.cuda_graphs, faults=faults or "none")
    engine.close()


def _torch(bench: Bench) -> Any:
    """Return torch with CUDA, or record the reason for its absence."""
    reason = "needs a GPU"
    if not bench.dry:
        try:
            import torch
        except ImportError as error:
            reason = f"not installed: {error}"
        else:
            if torch.cuda.is_available():
                return torch
            reason = f"torch {torch.__version__} has no CUDA here"
    bench.note(left_out=reason)
    return None
