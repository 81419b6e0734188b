"""The probe's sections on ONNX Runtime and TensorRT-RTX."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import threading
import time

import numpy as np
from gpu_bench import Bench, max_difference, noise
from gpu_suite import gpus, versions

from hrnet_deploy import Predictor, export
from hrnet_deploy.engines.environment import probe_environment
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.spec import Precision

_LIMITS = {"fp32": 1e-3, "fp16": 2e-2}


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
        path = bench.photos(precision)
        began = time.perf_counter()
        engine, plain = bench.engine(path), OrtEngine(path, device="cpu")
        opened = time.perf_counter() - began
        worst = max_difference(engine, plain, (1, 4, 1, 8))
        bench.note(precision=precision, device=engine.device, open_s=round(opened, 2), cuda_graphs=engine.cuda_graphs)
        bench.note(check=f"{precision} agrees with the CPU", holds=worst <= limit, worst=worst, limit=limit)
        if not bench.dry:
            bench.note(check=f"{precision} is captured at every batch", holds=engine.cuda_graphs == 3)
        engine.close()
        plain.close()


def tensor_cores(bench: Bench) -> None:
    """Measure the gain of FP16, with tensor cores and without."""
    medians = {}
    for name, precision, changes in (
        ("fp16", Precision.FP16, {}),
        ("fp16 with use_tf32=0, as it was", Precision.FP16, {"use_tf32": "0"}),
        ("fp32", Precision.FP32, {}),
        ("fp32 with TF32", Precision.FP32, {"use_tf32": "1"}),
    ):
        session = bench.session(bench.classifier(precision.value), precision, changes, graph=True)
        for batch in (1,) if bench.dry else (1, 8):
            feed = {"input": noise(("N", 3, 64, 64) if bench.dry else ("N", 3, 224, 224), batch)}
            medians[name, batch] = bench.median_ms(lambda session=session, feed=feed: session.run(feed))  # type: ignore[misc]
            bench.note(session=name, batch=batch, median_ms=medians[name, batch], used_mib=bench.used_mib())
        session.close()
    if not bench.dry:
        ratio = medians["fp32", 8] / medians["fp16", 8]
        bench.note(check="fp16 is faster than fp32 at batch 8", holds=ratio > 1.2, ratio=round(ratio, 2))


def tuning(bench: Bench) -> None:
    """Measure the gain of each default in FP16, host to host."""
    path = bench.classifier("fp16")
    for name, changed in (
        ("defaults", {}),
        ("fuse_conv_bias off", {"fuse_conv_bias": False}),
        ("pinned copies off", {"pinned": False}),
        ("channels first", {"prefer_nhwc": False}),
        ("no CUDA graphs", {"cuda_graph": False}),
    ):
        engine = bench.engine(path, **changed)
        for batch in (1,) if bench.dry else (1, 8):
            feed = {"input": noise(engine.inputs[0].shape, batch)}
            bench.note(tuning=name, batch=batch, median_ms=bench.median_ms(lambda e=engine, f=feed: e.run(f)))  # type: ignore[misc]
        engine.close()


def threads(bench: Bench) -> None:
    """Check that calls from new threads neither capture again nor allocate memory."""
    engine = bench.engine(bench.photos("fp16"))
    feed = {"input": noise(engine.inputs[0].shape, 4)}
    wanted = engine.run(feed)["logits"]
    same, before = bench.median_ms(lambda: engine.run(feed)), bench.used_mib()
    times, wrong = [], 0

    def work() -> None:
        nonlocal wrong
        began = time.perf_counter()
        found = engine.run(feed)["logits"]
        times.append(1e3 * (time.perf_counter() - began))
        wrong += not np.array_equal(found, wanted)

    for _ in range(4 if bench.dry else 40):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    grew = bench.used_mib() - before
    bench.note(one_thread_ms=same, new_threads_ms=[round(value, 2) for value in times[:8]], wrong=wrong)
    bench.note(check="new threads take no memory", holds=grew <= 16 and not wrong, grew_mib=grew, calls=len(times))
    engine.close()
    bench.note(used_mib_before=before, used_mib_after_close=bench.used_mib())


def shapes_in_turn(bench: Bench) -> None:
    """Measure the cost of a change of shape, with CUDA graphs and without."""
    path = bench.classifier("fp16")
    for name, graphs in (("with CUDA graphs", None), ("without", False)):
        engine = bench.engine(path, cuda_graph=graphs)
        one, two = ({"input": noise(engine.inputs[0].shape, batch)} for batch in (1, 2))
        same = bench.median_ms(lambda e=engine, f=one: e.run(f))  # type: ignore[misc]
        turn = bench.median_ms(lambda e=engine, f=(one, two): [e.run(x) for x in f])  # type: ignore[misc]
        bench.note(session=name, one_shape_ms=same, two_shapes_in_turn_ms=turn)
        engine.close()


def labels_inside(bench: Bench) -> None:
    """Measure the gain of pixels and labels inside a segmentation graph."""
    size_hw = (64, 128) if bench.dry else (512, 1024)
    image = np.random.default_rng(0).integers(0, 255, (*size_hw, 3), np.uint8)
    for name, more in (("logits", {}), ("labels", {"labels_out": True, "pixels_in": True})):
        path = bench.exported(
            f"street_{name}",
            model="hrnetv2_w18_small_v1" if bench.dry else "hrnetv2_w18_small_v2",
            weights="random",
            imgsz=f"{size_hw[0]}x{size_hw[1]}",
            precision="fp16",
            batch=1,
            **more,
        )
        with Predictor(path, device=bench.device, backend="onnxruntime") as predictor:
            one = predictor.card.inputs[0]
            row = np.zeros([size for size in one.shape if isinstance(size, int)], one.dtype)
            graph = bench.median_ms(lambda p=predictor, x=row: p.infer(x))  # type: ignore[misc]
            whole = bench.median_ms(lambda p=predictor: p.predict(image))  # type: ignore[misc]
        bench.note(outputs=name, host_to_host_ms=graph, image_to_mask_ms=whole)


def tensorrt_rtx(bench: Bench) -> None:
    """Check that TensorRT builds for this GPU and that outputs agree with ONNX Runtime."""
    if bench.dry:
        bench.note(left_out="TensorRT runs on a GPU only")
        return
    path = bench.photos("fp16")
    try:
        engine_path = export(str(path), output=bench.folder / "photos.engine").path
    except HrnetDeployError as error:
        bench.note(left_out=str(error))
        return
    engine, plain = open_engine(engine_path), OrtEngine(path, device="cpu")
    worst = max_difference(engine, plain, (1, 4, 8, 4, 4))
    feed = {"input": noise(plain.inputs[0].shape, 4)}
    bench.note(check="the engine agrees with the CPU", holds=worst <= _LIMITS["fp16"], worst=worst)
    bench.note(backend=engine.backend, median_ms=bench.median_ms(lambda: engine.run(feed)))
    engine.close()


def rtx_plugin(bench: Bench) -> None:
    """Check that ONNX Runtime's TensorRT-RTX plugin opens and agrees with the CPU."""
    if bench.dry or importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None:
        bench.note(left_out="runs on a GPU only" if bench.dry else "not installed: onnxruntime-ep-nv-tensorrt-rtx")
        return
    path = bench.photos("fp16")
    try:
        engine = open_engine(path, backend="onnxruntime-rtx")
    except HrnetDeployError as error:
        if "cannot usefully run" not in str(error):  # the table refuses some GPUs; all else is a finding
            raise
        bench.note(left_out=str(error))
        return
    plain = OrtEngine(path, device="cpu")
    feed = {"input": noise(plain.inputs[0].shape, 4)}
    worst = max_difference(engine, plain, (4,))
    bench.note(check="the plugin agrees with the CPU", holds=worst <= _LIMITS["fp16"], worst=worst)
    plugin = importlib.metadata.version("onnxruntime-ep-nv-tensorrt-rtx")
    bench.note(plugin=plugin, median_ms=bench.median_ms(lambda: engine.run(feed)))
    engine.close()
